"""Oracles: the nucleus worked out by hand, argmax of the model's own distribution, and frequencies of draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.cases import bench
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.decode.answers import answered, beams, speculated
from weightless.decode.generate import Sampling, adjusted, end_ids, generate, next_token, prompt_ids, token_stream
from weightless.decode.speculate import Speculation
from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed

HAND = np.array([0.1, 0.4, 0.2, 0.3])


class Letters:
    """Token i is the character i + 256; 0 ends a text."""

    end_of_text = 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 256 for letter in text]

    def decode(self, ids) -> str:
        return "".join(chr(i + 256) for i in ids)

    def stream_decoder(self):
        return self

    def push(self, token: int) -> str:
        return self.decode([token])

    def finish(self) -> str:
        return ""


@pytest.fixture(
    params=[("dense", "tied_mha_swiglu_f32"), ("feather", "as_it_comes"), ("ngram", "order_4")], ids="-".join
)
def packed(request, tmp_path, monkeypatch):
    monkeypatch.setattr(Packed, "tokenizer", Letters())
    b = bench(*request.param)
    pack(tmp_path / "model.wl", b.name, b.config, b.arrays)
    return open_packed(tmp_path / "model.wl")


def tokens(packed, prompt, **sampling) -> list[int]:
    return list(token_stream(packed, prompt, Sampling(stop_at_end=False, **sampling)))


@pytest.mark.parametrize(
    ("temperature", "top_p", "wanted"),
    [
        (1, 1, HAND),
        (0, 1, [0, 1, 0, 0]),
        (0, 0.1, [0, 1, 0, 0]),
        (1, 0.7, [0, 4 / 7, 0, 3 / 7]),
        (1, 0.71, [0, 4 / 9, 2 / 9, 3 / 9]),
        (1, 0.01, [0, 1, 0, 0]),
        (0.5, 1, HAND**2 / 0.3),
        (0.5, 0.6, [0, 16 / 25, 0, 9 / 25]),
        (2, 1, HAND**0.5 / (HAND**0.5).sum()),
    ],
)
def test_temperature_and_nucleus_by_hand(temperature, top_p, wanted):
    """0.4 + 0.3 = 0.7: two words reach a top_p of 0.7, three are needed for 0.71; squares are 1, 16, 4 and 9 of 30."""
    np.testing.assert_allclose(adjusted(HAND, temperature, top_p), wanted, rtol=1e-12, atol=0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.floats(0.01, 5), st.floats(0.01, 1))
def test_adjusted_is_a_distribution_that_keeps_the_order(weights, temperature, top_p):
    p = np.array([*weights, 0.5]) / (sum(weights) + 0.5)
    q = adjusted(p, temperature, top_p)
    assert q.sum() == pytest.approx(1, abs=1e-12) and (q >= 0).all() and q[np.argmax(p)] > 0
    kept = q > 0
    assert not kept.any() or p[kept].min() >= p[~kept].max(initial=0)
    assert (q[p == 0] == 0).all()


def test_temperature_zero_takes_the_most_probable_word(packed):
    out, engine = tokens(packed, [5, 9], temperature=0, max_tokens=8), packed.engine()
    for token in (0, 5, 9):
        engine.feed(token)
    for token in out:
        assert token == int(np.argmax(engine.distribution()))
        engine.feed(token)
    assert out == tokens(packed, [5, 9], temperature=0, max_tokens=8, seed=99)


def test_a_seed_decides_everything(packed):
    for style in ({"temperature": 1, "top_p": 1}, {"temperature": 0.8, "top_p": 0.9}):
        first, again, other = (tokens(packed, [5], seed=s, max_tokens=20, **style) for s in (1, 1, 2))
        assert first == again != other


def test_generation_goes_on_when_the_context_is_full(packed):
    """Far more words than the context holds; the words after it depend on its second half alone."""
    context = packed.program.context
    out = tokens(packed, [5], temperature=0, max_tokens=3 * context)
    assert len(out) == 3 * context
    history, engine = [0, 5, *out[: context - 1]], packed.engine()
    for token in history[-(context // 2) - 1 :]:
        engine.feed(token)
    assert int(np.argmax(engine.distribution())) == out[context - 1]


@pytest.mark.parametrize("surplus", [-2, -1, 0, 1, 50])
def test_a_prompt_of_any_length_can_be_continued(packed, surplus):
    prompt = [7] * (packed.program.context + surplus)
    assert len(tokens(packed, prompt, temperature=0, max_tokens=5)) == 5


def test_a_context_of_one_can_be_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(Packed, "tokenizer", Letters())
    b = bench("dense", "tied_mha_swiglu_f32")
    pack(tmp_path / "one.wl", "dense", dataclasses.replace(b.config, context=1), b.arrays)
    assert len(tokens(open_packed(tmp_path / "one.wl"), [5, 9], temperature=0, max_tokens=4)) == 4


@pytest.mark.parametrize(("temperature", "top_p"), [(1, 1), (0.7, 0.9)])
def test_frequencies_follow_the_adjusted_distribution(packed, temperature, top_p):
    """2,000 draws: total variation of that many from V cells is about sqrt(V_kept / (2 pi n)), doubled for safety."""
    engine, sampling, n = packed.engine(), Sampling(temperature, top_p), 2000
    for token in (0, 5, 9):
        engine.feed(token)
    rng = np.random.default_rng(0)
    drawn = np.bincount([next_token(engine, sampling, rng) for _ in range(n)], minlength=packed.program.vocab_size)
    p = adjusted(engine.distribution(), temperature, top_p)
    assert (drawn[p == 0] == 0).all()
    spread = 0.5 * np.sqrt(2 * p * (1 - p) / (np.pi * n)).sum()
    assert 0.5 * np.abs(drawn / n - p).sum() < 1.5 * spread + 0.01


def test_the_text_stops_before_its_end(packed):
    """With the same seed the text is the same, up to the first <|endoftext|>, which is not part of it."""
    style, ended = {"temperature": 1, "top_p": 1, "max_tokens": 200}, 0
    for seed in range(8):
        whole = tokens(packed, [5], seed=seed, **style)
        cut = list(token_stream(packed, [5], Sampling(seed=seed, **style)))
        assert cut == whole[: whole.index(0)] if 0 in whole else cut == whole
        ended += 0 in whole
    assert ended


def test_generate_tells_what_it_did(packed):
    said = generate(packed, "ąć", Sampling(temperature=1, top_p=1, seed=4, max_tokens=5, stop_at_end=False))
    assert said["n_tokens"] == len(said["text"]) == 5 and said["mode"] == "S" and said["prompt"] == "ąć"
    full = generate(packed, "ąć", Sampling(temperature=0, max_tokens=5, stop_at_end=False))
    assert full["mode"] == "F" and full["bytes_per_token"] >= said["bytes_per_token"] > 0
    assert generate(packed, "", Sampling(max_tokens=0))["text"] == ""


@pytest.mark.parametrize(
    "odd", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"max_tokens": -1}]
)
def test_odd_sampling_is_refused(odd):
    with pytest.raises(ConfigError):
        Sampling(**odd)


class Bytes(Letters):
    """Takes bytes as well, and gives one id per byte."""

    def encode(self, text):
        return list(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))


def test_bytes_of_a_prompt_that_are_no_text_are_fed_as_they_are():
    """Python hands over the command line's byte 0xEF as U+DCEF (PEP 383)."""

    class Fake:
        tokenizer = Bytes()

    assert prompt_ids(Fake, "na\udcefve é") == list(b"na\xefve \xc3\xa9")
    assert prompt_ids(Fake, "plain") == list(b"plain")
    assert prompt_ids(Fake, "\ud800") == [ord("?")]


def test_an_imported_model_ends_where_its_own_configuration_says(tmp_path, monkeypatch):
    """Oracle: the same greedy draws without an end, cut before the first of the tokens named."""
    monkeypatch.setattr(Packed, "tokenizer", Letters())
    b = bench("dense", "tied_mha_swiglu_f32")
    pack(tmp_path / "plain.wl", b.name, b.config, b.arrays)
    greedy, plain = {"temperature": 0, "max_tokens": 12}, open_packed(tmp_path / "plain.wl")
    runs = ([i, *tokens(plain, [i], **greedy)] for i in range(1, 60))
    first, *free = next(run for run in runs if len({*run[1:4]}) == 3 and 0 not in run)
    wanted, end, prompt = free[:2], free[2], chr(256 + first)
    notes = {"imported": {"eos_token_id": [end, 10**9, "x"]}}
    pack(tmp_path / "ends.wl", b.name, b.config, b.arrays, notes=notes)
    packed = open_packed(tmp_path / "ends.wl")
    assert end_ids(packed) == {0, end} and packed.imported_ends == (end,)
    assert list(token_stream(packed, [first], Sampling(**greedy))) == wanted
    assert answered(packed, [prompt], Sampling(**greedy)) == [Letters().decode(wanted)]
    found = [token for token, _ in speculated(packed, prompt, Sampling(**greedy), None, Speculation()) if token >= 0]
    assert found == wanted
    (best,) = beams(packed, prompt, 1, 12, 0.0)
    assert best["text"] == Letters().decode(wanted) and best["n_tokens"] == len(wanted) + 1
    for odd in (7, None, True, [], {}, "imported"):
        pack(tmp_path / "odd.wl", b.name, b.config, b.arrays, notes={"imported": odd})
        assert open_packed(tmp_path / "odd.wl").imported_ends == ()
