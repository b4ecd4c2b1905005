"""What lm-eval is told of a packed model, without lm-eval: log-probabilities, greedy continuations, drawn texts.

Oracles: the engine's `score_stream`; `evals.evaluate`, which `weightless eval` prints; `decode.generate`.
Tolerance 1e-9 nats: the same engine adds the same float64 nats, in another order at most.
"""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.decode.generate import generate, token_stream
from weightless.decode.sampling import Sampling
from weightless.evals.bits_per_byte import evaluate
from weightless.serve.harness_settings import Settings, sampling_of
from weightless.serve.scored_texts import ScoredTexts

TEXT = "The old fox saw the moon in the well, naïve as ever. "
SETTINGS = Settings("model.wl", seed=5)


@pytest.fixture(scope="module", params=["dense", "ngram"])
def texts(request, packed):
    return ScoredTexts(packed[request.param], threads=2)


def judged(texts, pairs):
    found = {}
    said = texts.judged(pairs, lambda i, value: found.update({i: value}))
    assert found == dict(enumerate(said)), "every result is handed on once, under its own number"
    return said


def test_pairs_of_every_length_are_judged_as_the_engine_scores_them(texts):
    ids = texts.ids(TEXT * 20)[: texts.context + 6]
    pairs = [(ids[:n], ids[n : n + m]) for n, m in ((1, 1), (1, 7), (3, 2), (len(ids) - 5, 5), (len(ids) - 20, 20))]
    pairs.append((ids[: len(ids) - texts.context], ids[len(ids) - texts.context :]))
    for (before, behind), (log_p, _) in zip(pairs, judged(texts, pairs), strict=True):
        seen = np.array([*before, *behind][-texts.context - 1 :])  # of a context that is too long, its end
        nats = texts.packed.engine().score_stream(seen[:-1], seen[1:])[-len(behind) :]
        assert log_p == pytest.approx(-nats.sum(), abs=1e-9)


def test_greedy_is_what_greedy_decoding_writes(texts):
    prompt = texts.ids("Once upon a")
    settings = Sampling(temperature=0, max_tokens=6, stop_at_end=False)
    written = list(token_stream(texts.packed, prompt[1:], settings))
    others = [[*written[:k], (written[k] + 1) % 7, *written[k + 1 :]] for k in (0, 3, 5)]
    said = judged(texts, [(prompt, written), (prompt, written[:1]), *((prompt, other) for other in others)])
    assert [greedy for _, greedy in said] == [True, True, False, False, False]


def test_documents_cost_what_eval_says(texts):
    documents = ["A crow", TEXT, TEXT * 8, "", "The name <|endoftext|> is text here."]
    for document, log_p in zip(documents, texts.rolled(documents), strict=True):
        ids = [texts.mark, *texts.packed.tokenizer.encode_ordinary_array(document)]
        told = evaluate(texts.packed, ids, None, n_threads=1, path="stepped").nats if len(ids) > 1 else 0.0
        assert log_p == pytest.approx(-told, abs=1e-9)
    assert len(texts.ids(TEXT * 8)) > texts.context + 1, "one document has several windows"
    assert texts.rolled([]) == [] and texts.rolled([""]) == [0.0]


def test_texts_are_what_generate_writes(texts):
    for how in ({"temperature": 0}, {"temperature": 0.8, "do_sample": True, "until": ["q", "the"]}):
        sampling = sampling_of({**how, "max_tokens": 12}, SETTINGS)
        assert sampling.seed == 5 and sampling.top_p == 1
        assert texts.written("Once", sampling) == generate(texts.packed, "Once", sampling)["text"]


def test_pairs_without_a_number_are_refused(texts):
    for n_context, n_continuation, told in ((1, 0, "adds no token"), (0, 1, "nothing stands"), (1, 9999, "looks at")):
        with pytest.raises(ConfigError, match=told):
            texts.check_pair(n_context, n_continuation, "a long story " * 30)
    with pytest.raises(ConfigError, match="threads 0"):
        ScoredTexts(texts.packed, threads=0)
    with pytest.raises(ConfigError, match="'steped'.*stepped"):
        ScoredTexts(texts.packed, "steped")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"path": "m.wl", "max_gen_tok": 3}, "no option 'max_gen_tok', did you mean 'max_gen_toks'"),
        ({"pretrained": "m.wl"}, "no option 'pretrained'"),
        ({}, "give path=model.wl"),
        ({"path": "m.wl", "seed": -1}, "seed should be a whole number of at least 0, not -1"),
        ({"path": "m.wl", "threads": 0}, "threads should be a whole number of at least 1"),
        ({"path": "m.wl", "batch_size": "large"}, "batch_size should be a positive number or auto"),
    ],
)
def test_arguments_of_a_model_are_checked(given, told):
    with pytest.raises(ConfigError) as refused:
        Settings.of(given)
    assert told in str(refused.value)


def test_what_lm_eval_adds_changes_nothing():
    added = {"batch_size": "auto:4", "max_batch_size": None, "device": "cuda:0"}
    assert Settings.of({"path": "m.wl", "seed": "7", **added}) == Settings("m.wl", seed=7)


@pytest.mark.parametrize(
    ("wanted", "drawn"),
    [
        ({}, {"temperature": 0.0, "max_tokens": 256, "seed": 5}),
        ({"do_sample": False, "temperature": 0.7, "max_gen_toks": 3}, {"temperature": 0.0, "max_tokens": 3}),
        ({"temperature": 0.7, "top_k": 4, "seed": 9}, {"temperature": 0.7, "top_k": 4, "seed": 9}),
        ({"until": "\n", "max_tokens": 4, "num_beams": 1}, {"stop": ("\n",), "max_tokens": 4}),
        ({"until": ["a", ""], "max_new_tokens": 4, "max_gen_toks": 2}, {"stop": ("a",), "max_tokens": 2}),
    ],
)
def test_how_a_task_wants_its_texts(wanted, drawn):
    found = sampling_of(wanted, SETTINGS)
    assert {name: getattr(found, name) for name in drawn} == drawn


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"temperatur": 1}, "no setting 'temperatur', did you mean 'temperature'"),
        ({"num_beams": 4}, "num_beams can only be 1, not 4"),
        ({"until": [3]}, "until holds 3"),
        ({"top_p": "much"}, "top_p should be a number"),
        ({"temperature": -1}, "temperature -1"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(wanted, told):
    with pytest.raises(ConfigError) as refused:
        sampling_of(wanted, SETTINGS)
    assert told in str(refused.value)
