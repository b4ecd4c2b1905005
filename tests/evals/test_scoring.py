"""Windows scored in blocks beside the same windows stepped: the engine is the oracle, target by target.

Tolerances: 2e-5 nats per token in float32; where the cache is rounded, single tokens of these small random models move
by up to 0.03 nats when a code does, and the mean over 1,100 targets by less than 1e-5 nats.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import bench

from weightless.base.errors import ConfigError, WeightlessError
from weightless.cli.main import main
from weightless.evals import scoring
from weightless.evals.bits_per_byte import chosen_windows, evaluate
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.program.blocked import Blocked
from weightless.program.decoded import Decoded

V = 301


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{case: an opened artifact} in float32, with a bf16 cache, and of the families that are not scored in blocks."""
    folder, found = tmp_path_factory.mktemp("packed"), {}
    for name, case in (
        ("dense", "untied_gqa_silu_f32"),
        ("dense", "untied_mqa_relu2_bf16"),
        ("dense", "cached"),
        ("experts", "two_of_five_swiglu"),
        ("ngram", "order_2"),
    ):
        b = bench(name, case)
        pack(folder / f"{case}.wl", name, b.config, b.arrays)
        found[case] = open_packed(folder / f"{case}.wl")
    return found


def stream(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, n)


@pytest.mark.parametrize("stride, limit, stretch", [(None, 0, 0), (5, 0, 0), (None, 60, 20), (3, 40, 50), (33, 1, 0)])
@pytest.mark.parametrize("case", ["untied_gqa_silu_f32", "untied_mqa_relu2_bf16"])
def test_blocks_give_the_nats_of_every_target(models, case, stride, limit, stretch):
    packed, tokens = models[case], stream(151)
    context = packed.program.context
    todo = chosen_windows(len(tokens), context, min(stride or context, context), limit, stretch)
    blocked, stepped = (
        scoring.score_windows(packed, tokens, todo, 2, "testing", path) for path in ("blocked", "stepped")
    )
    assert (blocked.path, stepped.path) == ("blocked", "stepped")
    np.testing.assert_allclose(blocked.nats, stepped.nats, rtol=0, atol=2e-5 if "f32" in case else 0.03)
    np.testing.assert_array_equal(blocked.positions, stepped.positions)
    np.testing.assert_array_equal(blocked.paths, stepped.paths)
    assert not blocked.data.any() and not stepped.data.any()


@pytest.mark.parametrize("case", ["untied_gqa_silu_f32", "untied_mqa_relu2_bf16"])
def test_long_texts_take_blocks_by_themselves_and_the_mean_is_the_same(models, case):
    tokens, pieces = stream(scoring.FEWEST_BLOCKED + 77), [b"ab"] * V
    auto = evaluate(models[case], tokens, pieces, n_threads=2)
    stepped = evaluate(models[case], tokens, pieces, n_threads=2, path="stepped")
    assert (auto.path, stepped.path) == ("blocked", "stepped")
    assert auto.nats_per_token == pytest.approx(stepped.nats_per_token, abs=1e-5)
    assert auto.n_bytes == stepped.n_bytes and auto.n_tokens == stepped.n_tokens
    plain = auto.to_plain()
    assert plain["scored_by"] == "blocked" and plain["scoring_tokens_per_second"] == auto.tokens_per_second
    assert plain["decode_tokens_per_second"] == auto.decoded_per_second > 0
    plain = stepped.to_plain()
    assert plain["decode_tokens_per_second"] == plain["scoring_tokens_per_second"] == stepped.tokens_per_second
    short = evaluate(models[case], tokens[: scoring.FEWEST_BLOCKED], pieces)
    assert short.path == "stepped", "too few targets to decode the weights for"


def test_the_speed_of_decoding_is_that_of_the_engine_alone(models, monkeypatch):
    """Oracle: an engine that takes 10 ms more for every call: eight stretches of 16 tokens in a window of 130 or more,
    one of all 33 in this one."""
    import time

    from weightless.program.engine import Engine

    original = Engine.score_stream

    def slow(self, tokens, targets):
        time.sleep(0.3)
        return original(self, tokens, targets)

    monkeypatch.setattr(Engine, "score_stream", slow)
    found = evaluate(models["untied_gqa_silu_f32"], stream(300), None, n_threads=1, path="blocked")
    assert 33 / 0.6 < found.decoded_per_second < 33 / 0.3
    assert found.tokens_per_second > 2 * found.decoded_per_second


def test_what_cannot_be_scored_in_blocks_is_stepped_or_refused_by_name(models):
    tokens = stream(scoring.FEWEST_BLOCKED + 50)
    for case, told in (
        ("cached", "dense cannot be scored in blocks, because 'cache_score' has no form"),
        ("order_2", "ngram cannot be scored in blocks, because 'ngram_context' has no form"),
    ):
        assert evaluate(models[case], tokens, None).path == "stepped"
        with pytest.raises(ConfigError, match=told):
            evaluate(models[case], tokens, None, path="blocked")
    experts = models["two_of_five_swiglu"]
    assert evaluate(experts, tokens, None).path == "stepped", "another order of sums may choose another expert"
    assert evaluate(experts, tokens[:200], None, path="blocked").path == "blocked"
    with pytest.raises(ConfigError, match="path 'blokced': did you mean 'blocked'"):
        evaluate(experts, tokens, None, path="blokced")


@pytest.mark.parametrize("case", ["untied_gqa_silu_f32", "untied_mqa_relu2_bf16"])
def test_stretches_all_along_a_window_are_stepped_and_believed(models, monkeypatch, case):
    """Three stretches of four tokens, blocks between them: what is stepped is what the engine alone says there."""
    monkeypatch.setattr(scoring, "STRETCHES", 3)
    monkeypatch.setattr(scoring, "STRETCH_TOKENS", 4)
    packed, tokens = models[case], stream(150, 3)
    decoded = Decoded(packed.program.layout, packed.weights)
    at, nats, _ = scoring._step_stretches(packed, decoded, tokens, (40, 41, 72))
    wanted = packed.engine().score_stream(tokens[40:71], tokens[41:72])
    assert at.tolist() == [*range(41, 45), *range(54, 58), *range(68, 72)]
    np.testing.assert_allclose(nats, wanted[at - 41], rtol=0, atol=2e-5 if "f32" in case else 0.03)


def test_blocks_that_give_other_nats_are_not_believed(models, monkeypatch):
    packed, tokens = models["untied_gqa_silu_f32"], stream(scoring.FEWEST_BLOCKED + 50)
    right = evaluate(packed, tokens, None, path="stepped")
    original = Blocked.score
    monkeypatch.setattr(Blocked, "score", lambda *given: original(*given) + 0.05)
    assert (found := evaluate(packed, tokens, None)).path == "stepped" and found.nats == right.nats
    with pytest.raises(WeightlessError, match="are not those of its engine"):
        evaluate(packed, tokens, None, path="blocked")


def test_foreign_ids_are_told_before_and_after(models):
    for at in (3, 1050):
        tokens = stream(scoring.FEWEST_BLOCKED + 50)
        tokens[at] = V
        with pytest.raises(ConfigError, match="vocabulary"):
            evaluate(models["untied_gqa_silu_f32"], tokens, None)


def test_an_unknown_path_is_told_before_anything_is_opened(capsys):
    assert main(["eval", "no.wl", "--path", "bloked"]) == 2
    assert "path 'bloked': did you mean 'blocked'?" in capsys.readouterr().err
