"""weightless generate: every way of decoding says what plain decoding says, where it must."""

from __future__ import annotations

import json

import pytest

MODELS = ("dense", "feather", "ngram")
GREEDY = ("--temperature", "0", "--max_tokens", "30", "--prompt", "Once upon a time a hen, a time a hen")


def artifact(small_run, model):
    return small_run[0] / f"models/{model}/model.wl"


@pytest.mark.parametrize("model", MODELS)
def test_speculation_writes_what_plain_decoding_writes(command, small_run, model):
    path = artifact(small_run, model)
    plain = command("generate", path, *GREEDY)[1]
    for drafter in ("ngram", artifact(small_run, "ngram")):
        code, out, err = command("generate", path, *GREEDY, "--speculate", drafter, "--tree", "2x3")
        assert code == 0 and out == plain
        assert "tokens per cycle" in err
    drawn = json.loads(command("generate", path, *GREEDY, "--speculate", "ngram", "--json")[1])
    assert drawn["prompt"] + drawn["text"] + "\n" == plain
    assert drawn["tokens_per_cycle"] >= 1


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_the_text(command, small_run, model):
    path = artifact(small_run, model)
    whole = command("generate", path, "--prompt", "Once", "--seed", "4", "--max_tokens", "25")[1]
    assert command("generate", path, "--prompt", "Once", "--seed", "4", "--max_tokens", "25", "--stream")[1] == whole


@pytest.mark.parametrize("model", MODELS)
def test_beams_come_best_first_and_one_beam_is_greedy(command, small_run, model):
    path = artifact(small_run, model)
    options = ("--prompt", "The fox", "--max_tokens", "9", "--json")
    beams = json.loads(command("generate", path, "--beam", "3", *options)[1])["beams"]
    scores = [beam["score"] for beam in beams]
    assert len(beams) == 3 and scores == sorted(scores, reverse=True)
    single = json.loads(command("generate", path, "--beam", "1", "--alpha", "0", *options)[1])["beams"][0]["text"]
    assert single == json.loads(command("generate", path, "--temperature", "0", *options)[1])["text"]


@pytest.mark.parametrize("model", MODELS)
def test_a_file_of_prompts_gives_each_line_its_own_text(command, small_run, tmp_path, model):
    path, prompts = artifact(small_run, model), ["Once", "The fox said", "A hen", "So they", "Then"]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n")
    options = ("--temperature", "0", "--max_tokens", "12", "--json")
    lines = command("generate", path, "--prompts", tmp_path / "prompts.txt", "--batch", "2", *options)[1].splitlines()
    for prompt, line in zip(prompts, lines, strict=True):
        alone = json.loads(command("generate", path, "--prompt", prompt, *options)[1])
        assert json.loads(line) == {"prompt": prompt, "text": alone["text"]}


def test_stop_strings_end_the_text(command, small_run):
    path = artifact(small_run, "ngram")
    options = ("--prompt", "Once", "--seed", "1", "--max_tokens", "60", "--json")
    whole = json.loads(command("generate", path, *options)[1])["text"]
    stop = whole[9:11]
    cut = json.loads(command("generate", path, *options, "--stop", stop)[1])["text"]
    assert cut == whole[: whole.index(stop)]


BAD = [
    (("--beam", "2", "--speculate", "ngram"), "--beam and --speculate do not go together"),
    (("--stream", "--json"), "--stream prints one text"),
    (("--speculate", "nothing.wl"), "no drafter 'nothing.wl': give ngram, or the path of an artifact"),
    (("--speculate", "ngram", "--tree", "big"), "a tree is BRANCHESxLENGTH such as 4x3"),
    (("--beam", "2", "--max_tokens", "500"), "exceed the context of 64"),
    (("--prompts", "nowhere.txt"), "nowhere.txt cannot be read"),
    (("--top_k", "-1"), "top_k -1"),
    (("--temprature", "1"), "temperature"),
]


@pytest.mark.parametrize("options, message", BAD)
def test_bad_options_are_one_line(command, small_run, options, message):
    code, out, err = command("generate", artifact(small_run, "dense"), *options)
    assert code == 2 and out == "" and message in err and "Traceback" not in err


def test_beams_end_at_stop_strings(command, small_run):
    """One beam without a length penalty is the most probable token each time: greedy text, cut by the same string."""
    path = artifact(small_run, "dense")
    options = ("--prompt", "The fox", "--max_tokens", "12", "--json")
    whole = json.loads(command("generate", path, "--temperature", "0", *options)[1])["text"]
    stop = whole[4:6]
    greedy = json.loads(command("generate", path, "--temperature", "0", "--stop", stop, *options)[1])
    (beam,) = json.loads(command("generate", path, "--beam", "1", "--alpha", "0", "--stop", stop, *options)[1])["beams"]
    assert beam["text"] == greedy["text"] == whole[: whole.index(stop)]
    assert beam["n_tokens"] == greedy["n_tokens"] < 12
    for found in json.loads(command("generate", path, "--beam", "4", "--stop", "e", *options)[1])["beams"]:
        assert "e" not in found["text"]


def test_prompts_are_told_apart_by_line_feeds_only(command, small_run, tmp_path):
    """Oracle: each prompt by itself, as --prompt gives it; an empty line is an empty prompt."""
    prompts = ["The fox\u2028and\x0cthe\x85crow", "Once\x1cupon", "", "A hen"]
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(prompts).encode() + b"\n")
    options = ("--temperature", "0", "--max_tokens", "5", "--json")
    path = artifact(small_run, "dense")
    lines = command("generate", path, "--prompts", tmp_path / "prompts.txt", *options)[1].splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["prompt"] for line in found] == prompts
    for line in found:
        alone = json.loads(command("generate", path, "--prompt", line["prompt"], *options)[1])
        assert line["text"] == alone["text"]
