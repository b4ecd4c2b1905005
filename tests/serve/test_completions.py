"""Completions over a real socket.

Oracles: `decode.generate` with the same seed (exactly: the same engine draws); the engine fed token by token for
log-probabilities (exactly, but for the text form of a float); the same request not streamed, for streams.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serve.small_server import ask, complete, events_of, everything, metric, posted, raw, until

from weightless.decode.generate import document_ids, generate, mean_cost, prompt_ids, token_stream
from weightless.decode.sampling import Sampling
from weightless.program.cost import formula

WAYS = {
    "plain": {},
    "nucleus": {"temperature": 0.8, "top_p": 0.9},
    "greedy": {"temperature": 0},
    "cut": {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.2},
}


def written(packed, prompt="Once upon", seed=3, max_tokens=24, **how):
    stop_at_end = not how.pop("ignore_eos", False)
    sampling = Sampling(
        **{"temperature": 1.0, "top_p": 1.0, **how}, seed=seed, max_tokens=max_tokens, stop_at_end=stop_at_end
    )
    return generate(packed, prompt, sampling)


def log_ps(packed, ids: list[int]) -> np.ndarray:
    """log p after each token [n, V], from an engine fed one after the other."""
    engine, rows = packed.engine(), []
    for token in ids:
        engine.feed(token)
        rows.append(engine.distribution().astype(np.float64))
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


@pytest.mark.parametrize("name", ["dense", "ngram"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_what_generate_writes(port, packed, name, way):
    told = complete(port, model=name, prompt="Once upon", max_tokens=24, seed=3, **WAYS[way]).json
    wanted = written(packed[name], **WAYS[way])
    (choice,) = told["choices"]
    assert choice["text"] == wanted["text"] and choice["index"] == 0 and choice["logprobs"] is None
    assert choice["finish_reason"] == ("length" if wanted["n_tokens"] == 24 else "stop")
    n_prompt = len(prompt_ids(packed[name], "Once upon"))
    usage = {"prompt_tokens": n_prompt, "completion_tokens": wanted["n_tokens"]}
    assert told["usage"] == {**usage, "total_tokens": sum(usage.values())}
    assert told["object"] == "text_completion" and told["model"] == name


def test_past_the_context_the_window_slides_as_in_generate(port, packed):
    """Three times the context, so it slides more than once."""
    n = 3 * packed["dense"].program.context
    told = complete(port, model="dense", prompt="Once", max_tokens=n, seed=5, ignore_eos=True).json
    assert told["choices"][0]["text"] == written(packed["dense"], "Once", 5, n, ignore_eos=True)["text"]
    assert told["usage"]["completion_tokens"] == n


def test_what_else_is_written_changes_nothing(port, packed):
    """Twelve texts of two models at once over four places, each with a length and seed of its own."""
    asked = [
        {"model": ("dense", "ngram")[i % 2], "prompt": "Once upon a time"[:i], "seed": i, "max_tokens": 10 + 9 * i}
        for i in range(12)
    ]
    with ThreadPoolExecutor(12) as pool:
        found = list(
            pool.map(lambda values: complete(port, **values, ignore_eos=True).json["choices"][0]["text"], asked)
        )
    for values, text in zip(asked, found, strict=True):
        wanted = written(
            packed[values["model"]], values["prompt"], values["seed"], values["max_tokens"], ignore_eos=True
        )
        assert text == wanted["text"]


def test_prompts_and_choices_come_in_order(port, packed):
    told = complete(port, model="dense", prompt=["Once", "The fox"], n=2, seed=7, max_tokens=9).json
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]
    wanted = [written(packed["dense"], p, seed, 9)["text"] for p in ("Once", "The fox") for seed in (7, 8)]
    assert [choice["text"] for choice in told["choices"]] == wanted


def test_ids_are_taken_as_they_are(port, packed):
    """With the mark before them or not, and the same as their text."""
    ids = [int(i) for i in packed["ngram"].tokenizer.encode("The fox")]
    mark = packed["ngram"].tokenizer.end_of_text
    for prompt in (ids, [ids], [mark, *ids], "The fox"):
        told = complete(port, model="ngram", prompt=prompt, seed=1, max_tokens=9).json
        assert told["choices"][0]["text"] == written(packed["ngram"], "The fox", 1, 9)["text"]
        assert told["usage"]["prompt_tokens"] == len(ids) + (prompt == [mark, *ids])


def test_stop_strings(port, packed):
    whole = written(packed["dense"], max_tokens=60, ignore_eos=True)["text"]
    stop = whole[20:23]
    told = complete(port, model="dense", prompt="Once upon", seed=3, max_tokens=60, stop=stop, ignore_eos=True).json
    (choice,) = told["choices"]
    assert choice["text"] == whole[: whole.index(stop)] and choice["finish_reason"] == "stop"
    wanted = written(packed["dense"], max_tokens=60, stop=(stop,), ignore_eos=True)
    assert told["usage"]["completion_tokens"] == wanted["n_tokens"] < 60


@pytest.mark.parametrize(("name", "way"), [("ngram", "plain"), ("dense", "plain"), ("dense", "nucleus")])
def test_bytes_touched_are_those_of_the_draws(port, packed, name, way):
    """Position by position, by the formula of the head that draws; where the text decides, by `mean_cost` of generate,
    which is the mean over these very draws."""
    told = complete(port, model=name, prompt="Once", seed=2, max_tokens=12, ignore_eos=True, **WAYS[way]).json
    model, costs = packed[name], []
    sampling = Sampling(**{"temperature": 1, "top_p": 1, **WAYS[way]}, seed=2, max_tokens=12, stop_at_end=False)
    list(token_stream(model, prompt_ids(model, "Once"), sampling, costs))
    wanted = 12 * mean_cost(model.program, sampling.mode, costs)
    if name == "dense":
        steps = [formula(model.program, position, sampling.mode) for position, _, _ in costs]
        wanted = sum(part.T for step in steps for part in step.values())
    assert told["weightless"]["bytes_touched"] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", ["dense", "ngram"])
def test_log_probabilities_of_prompt_and_text(port, packed, name):
    model = packed[name]
    asked = {"model": name, "prompt": "The old fox", "seed": 4, "max_tokens": 6, "ignore_eos": True}
    (choice,) = complete(port, **asked, logprobs=3, echo=True).json["choices"]
    (plain,) = complete(port, **asked).json["choices"]
    assert choice["text"] == "The old fox" + plain["text"], "asking for log-probabilities changes no draw"
    prompt = document_ids(model, prompt_ids(model, "The old fox"))
    drawn = list(token_stream(model, prompt[1:], Sampling(1, 1, 4, 6, stop_at_end=False)))
    ids = [*prompt, *drawn]
    rows = log_ps(model, ids[:-1])
    told = choice["logprobs"]
    assert told["token_logprobs"] == [max(row[token], -9999) for row, token in zip(rows, ids[1:], strict=True)]
    for row, top, token in zip(rows, told["top_logprobs"], ids[1:], strict=True):
        assert max(top.values()) == row.max() and len(top) in (3, 4) and max(row[token], -9999) in top.values()
    assert told["text_offset"][0] == 0 and told["text_offset"] == sorted(told["text_offset"])
    assert len(told["tokens"]) == len(ids) - 1


def test_what_lm_eval_asks_for_gives_the_nats_of_eval(port, packed):
    """local-completions sends context and continuation as ids, asks for one token, takes [ctxlen:-1] of the lists."""
    model = packed["dense"]
    context, continuation = (list(map(int, model.tokenizer.encode(text))) for text in ("The fox saw", " the moon"))
    asked = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    told = complete(port, model="dense", prompt=[context + continuation], **asked).json["choices"][0]["logprobs"]
    ids = document_ids(model, context + continuation)
    engine = model.engine()
    nats = engine.score_stream(np.array(ids[:-1]), np.array(ids[1:]))[len(context) :]
    found = told["token_logprobs"][len(context) : -1]
    np.testing.assert_allclose(-np.array(found), nats, rtol=1e-5)  # float32 in two heads
    tops = told["top_logprobs"][len(context) : -1]
    greedy = [log_p == max(top.values()) for log_p, top in zip(found, tops, strict=True)]
    assert greedy == [
        int(row.argmax()) == token for row, token in zip(log_ps(model, ids[:-1])[len(context) :], continuation)
    ]


def test_a_text_that_ends_has_an_entry_for_its_end(port, packed):
    """Else [ctxlen:-1] would lose a token of the continuation: there is one entry for every draw."""
    model = packed["dense"]
    lengths = (len(list(token_stream(model, [5, 6], Sampling(1, 1, seed, 40)))) for seed in range(400))
    seed, n = next((seed, n) for seed, n in enumerate(lengths) if n < 40)
    told = complete(port, model="dense", prompt=[5, 6], seed=seed, max_tokens=40, logprobs=1, echo=True).json
    (choice,) = told["choices"]
    assert choice["finish_reason"] == "stop" and told["usage"]["completion_tokens"] == n
    assert len(choice["logprobs"]["tokens"]) == 2 + n + 1 and choice["logprobs"]["tokens"][-1] == "<|endoftext|>"
    assert "<|endoftext|>" not in choice["text"]


def test_no_tokens_and_an_echo_score_a_text(port, packed):
    told = complete(port, model="dense", prompt="The fox", max_tokens=0, echo=True, logprobs=0).json
    (choice,) = told["choices"]
    ids = document_ids(packed["dense"], prompt_ids(packed["dense"], "The fox"))
    assert (
        choice["text"] == "The fox" and choice["finish_reason"] == "length" and told["usage"]["completion_tokens"] == 0
    )
    rows = log_ps(packed["dense"], ids[:-1])
    assert choice["logprobs"]["token_logprobs"] == [row[token] for row, token in zip(rows, ids[1:], strict=True)]


@pytest.mark.parametrize("more", [{}, {"logprobs": 2}, {"logprobs": 1, "echo": True, "n": 2}, {"stop": ["e"]}])
def test_a_stream_adds_up_to_the_answer(port, more):
    asked = {"model": "dense", "prompt": "Once é", "seed": 9, "max_tokens": 40, "ignore_eos": True, **more}
    whole = complete(port, **asked).json
    *events, last = complete(port, **asked, stream=True, stream_options={"include_usage": True}).events
    assert last["choices"] == [] and last["usage"] == whole["usage"] and last["weightless"] == whole["weightless"]
    for wanted in whole["choices"]:
        mine = [e["choices"][0] for e in events if e["choices"][0]["index"] == wanted["index"]]
        assert "".join(choice["text"] for choice in mine) == wanted["text"]
        assert [choice["finish_reason"] for choice in mine] == [None] * (len(mine) - 1) + [wanted["finish_reason"]]
        if "logprobs" in more:
            for part, values in wanted["logprobs"].items():
                assert [value for choice in mine for value in choice["logprobs"][part]] == values
                assert len(wanted["logprobs"]["tokens"]) == len(values)
    assert {event["id"] for event in events} == {last["id"]} and all(event["usage"] is None for event in events)
    assert len(events) > 3 and "usage" not in complete(port, **asked, stream=True).events[0]


def test_without_a_seed_answers_differ_and_tell_theirs(port, packed):
    first, second = (complete(port, model="dense", prompt="", max_tokens=30).json for _ in range(2))
    assert first["choices"][0]["text"] != second["choices"][0]["text"]
    wanted = written(packed["dense"], "", first["weightless"]["seed"], 30)
    assert first["choices"][0]["text"] == wanted["text"]


def test_a_reader_that_goes_away_frees_its_place(port):
    """Four streams of 20,000 tokens fill all places; when their lines are cut, they end long before that."""
    names = ("weightless_cancelled_total", "weightless_generated_tokens_total")
    cancelled, drawn = (metric(port, name) for name in names)
    endless = {"model": "dense", "prompt": "x", "max_tokens": 20_000, "ignore_eos": True}
    lines = [raw(port, posted({**endless, "stream": True})) for _ in range(3)]
    for line in lines:
        assert line.recv(15) == b"HTTP/1.1 200 OK"
    lines.append(raw(port, posted(endless)))
    until(lambda: metric(port, "weightless_active_texts") == 4)
    for line in lines:
        line.close()
    until(lambda: metric(port, "weightless_active_texts") == 0)
    assert metric(port, names[0]) == cancelled + 4
    assert metric(port, names[1]) - drawn < 40_000, "half of what was asked for"


def test_a_slow_reader_holds_up_nobody(port, packed):
    slow = raw(
        port,
        posted({"model": "ngram", "prompt": "x", "max_tokens": 300, "seed": 1, "ignore_eos": True, "stream": True}),
    )
    told = complete(port, model="ngram", prompt="Once", seed=3, max_tokens=5).json
    assert told["choices"][0]["text"] == written(packed["ngram"], "Once", 3, 5)["text"]
    until(lambda: metric(port, "weightless_active_texts") == 0)
    head, _, body = everything_chunked(slow)
    assert (
        "".join(e["choices"][0]["text"] for e in events_of(body))
        == written(packed["ngram"], "x", 1, 300, ignore_eos=True)["text"]
    )


def everything_chunked(line) -> tuple[bytes, bytes, bytes]:
    """Headers and the chunks of a body, put together."""
    import http.client

    response = http.client.HTTPResponse(line)
    response.begin()
    body = response.read()
    line.close()
    return b"", b"", body


def test_tokens_for_those_who_have_no_tokenizer(port, packed):
    """What lm-eval's remote tokenizer asks for."""
    tokenizer = packed["dense"].tokenizer
    ids = [int(i) for i in tokenizer.encode("The fox é")]
    told = ask(port, "POST", "/tokenize", {"prompt": "The fox é", "add_special_tokens": False}).json
    assert told == {"tokens": ids, "count": len(ids), "max_model_len": packed["dense"].program.context - 1}
    assert ask(port, "POST", "/detokenize", {"tokens": ids, "model": "ngram"}).json == {"prompt": "The fox é"}
    about = ask(port, "GET", "/tokenizer_info").json
    assert about["eos_token"] == about["bos_token"] == "<|endoftext|>"
    assert ask(port, "POST", "/tokenize", {"prompt": about["eos_token"]}).json["tokens"] == [tokenizer.end_of_text]


def test_models_and_metrics(port, packed):
    told = ask(port, "GET", "/v1/models").json
    assert [model["id"] for model in told["data"]] == ["dense", "ngram"]
    assert ask(port, "GET", "/v1/models/ngram").json == told["data"][1]
    assert told["data"][0]["context"] == packed["dense"].program.context
    names = (
        "weightless_generated_tokens_total",
        "weightless_first_token_seconds_count",
        "weightless_bytes_touched_total",
    )
    before = [metric(port, name) for name in names]
    answer = complete(port, model="ngram", prompt="x", max_tokens=5, ignore_eos=True).json
    after = [metric(port, name) for name in names]
    assert [b - a for a, b in zip(before, after)] == [5, 1, answer["weightless"]["bytes_touched"]]
    text = ask(port, "GET", "/metrics").body.decode()
    buckets = [line for line in text.splitlines() if line.startswith('weightless_token_seconds_bucket{model="ngram"')]
    counts = [float(line.split()[1]) for line in buckets]
    assert counts == sorted(counts) and math.isclose(
        counts[-1], float(text.split('weightless_token_seconds_count{model="ngram"} ')[1].split()[0])
    )


def test_json_that_is_answered_is_json(port):
    """Text of any kind goes through as it is."""
    prompt = "<b>é\u2028</b>\x00\n"
    told = complete(port, model="dense", prompt=prompt, max_tokens=0, echo=True)
    assert told.headers["content-type"] == "application/json" and told.headers["x-content-type-options"] == "nosniff"
    assert json.loads(told.body)["choices"][0]["text"] == prompt
    assert everything(raw(port, posted({"model": "dense", "prompt": "x"})[:-3])).startswith(b"HTTP/1.1 4")
