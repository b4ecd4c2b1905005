"""Many tokens at once against the compiled engine, fed one after the other: nats, and the memory that is left behind.

Tolerances: 2e-5 nats where nothing is rounded in between (sums of some tens of float32 terms, a few of them relative to
a nat); where caches or states are rounded, a sum in another order may end in the next code, which moves single tokens
of these small random models by up to 0.03 nats.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from contract.cases import CASES, bench
from contract.configurations.shared import V

from weightless.base.errors import ConfigError
from weightless.models.catalog import Trained, family
from weightless.ops.attention import decode_attention
from weightless.ops.cross_entropy import nll
from weightless.program import blocked, blocked_attention
from weightless.program.arena import Arena
from weightless.program.blocked import Blocked, why_not
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine

SCORED = [
    ("dense", "tied_mha_swiglu_f32"),
    ("dense", "untied_mqa_relu2_bf16"),
    ("dense", "tied_mqa_swiglu_int8"),
    ("dense", "untied_mha_swiglu_int4"),
    ("dense", "sandwich_learned_positions"),
    ("dense", "interleaved_weighted_qk_norm_gains"),
    ("dense", "factorised_tied_softcap_windows"),
    ("dense", "class_head_without_norm"),
    ("dense", "three_levels"),
    ("feather", "as_it_comes"),
    ("feather", "window_then_nothing_three_levels"),
    ("golf", "five_blocks_two_skips_bf16"),
    ("gpt2", "tied_t2"),
    ("llama", "stretched_f32"),
    ("qwen3", "untied_mha_biases_int2"),
    ("recurrent", "one_block_three_passes"),
    ("scan", "diagonal_hybrid_conv"),
    ("scan", "gated_hybrid_bf16_state"),
    ("scan", "delta_f32_conv"),
]
CHOOSING = [("experts", "one_of_three_sigmoid_bias_untied"), ("memory", "all_half_keys_of_neurons")]
FED = [*SCORED, *CHOOSING, ("dense", "cached"), ("ngram", "order_1")]


def room(model) -> float:
    states = {name for op in model.program.body for name in op.kept()}
    return 2e-5 if all(model.program.by_name[name].format in ("f32", "u32") for name in states) else 0.03


def poisoned(model) -> np.ndarray:
    return Engine(model.program, model.weights, poison=True).S


@pytest.mark.parametrize("name, case", [*SCORED, *CHOOSING])
def test_blocks_score_as_the_engine_does(name, case):
    """Chunks of 5 leave a rest, 512 takes all; the targets before `first` are fed and not scored."""
    model = bench(name, case)
    wanted = model.engine().score_stream(model.tokens, model.targets)
    for chunk, first in ((5, 0), (512, 0), (7, 9)):
        run = Blocked(model.program, model.weights, state=poisoned(model), chunk=chunk)
        nats = run.score(model.tokens, model.targets, first)
        assert nats.dtype == np.float64 and run.position == len(model.tokens)
        np.testing.assert_allclose(nats, wanted[first:], rtol=0, atol=room(model))


@pytest.mark.parametrize("case", ["tied_mha_swiglu_f32", "factorised_tied_softcap_windows", "untied_gqa_silu_f32"])
def test_a_head_by_tiles_is_the_head(monkeypatch, case):
    """301 words in tiles of 64, the last of 45; logits of +-90, whose exponentials no float32 holds."""
    model = bench("dense", case)
    wanted = model.engine().score_stream(model.tokens, model.targets)
    monkeypatch.setattr(blocked, "TILE", 64)
    found = Blocked(model.program, model.weights).score(model.tokens, model.targets)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=room(model))
    z_NV = np.random.default_rng(2).uniform(-90, 90, (7, V)).astype(np.float32)
    rows = SimpleNamespace(target_N=np.array([0, 63, 64, 300, 299, 128, 5]))
    product = SimpleNamespace(
        inputs=lambda rows: z_NV,
        matrix=lambda rows: np.zeros((V, 1)),
        outputs=lambda rows, h, W, part: h[:, part].copy(),
    )
    found = blocked._nats_by_tiles(product, rows)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, nll(z_NV.astype(np.float64), rows.target_N), rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("name, case", FED)
def test_the_engine_goes_on_where_blocks_stop_and_the_other_way_round(name, case):
    """Oracle: the engine alone.  Blocks, 3 tokens stepped, blocks again, the rest stepped: all in one memory, NaN at
    first, so that whatever is missing shows."""
    model = bench(name, case)
    n, alone = len(model.tokens), model.engine()
    wanted = alone.score_stream(model.tokens, model.targets)
    engine = Engine(model.program, model.weights, poison=True)
    run = Blocked(model.program, model.weights, state=engine.S, chunk=6)
    run.feed(model.tokens[: n - 14])
    engine.resume(n - 14)
    found = [engine.score_stream(model.tokens[n - 14 : n - 11], model.targets[n - 14 : n - 11])]
    run.take_over(model.tokens[n - 14 : n - 11])
    run.feed(model.tokens[n - 11 : n - 4])
    engine.resume(run.position)
    found.append(engine.score_stream(model.tokens[n - 4 :], model.targets[n - 4 :]))
    np.testing.assert_allclose(
        np.concatenate(found), wanted[[*range(n - 14, n - 11), *range(n - 4, n)]], atol=room(model)
    )
    for state in {state for op in model.program.body for state in op.kept()}:
        left, right = (_rows(model, memory, state) for memory in (engine.S, alone.S))
        if left.dtype.kind == "u":
            np.testing.assert_array_equal(left, right)
        elif room(model) < 1e-3:
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name, case", FED)
def test_blocks_go_on_where_an_engine_began(name, case):
    """Oracle: the engine alone.  Nothing has been fed in blocks before: what the engine left is all that there is."""
    model = bench(name, case)
    wanted = model.engine().score_stream(model.tokens, model.targets)
    engine = Engine(model.program, model.weights, poison=True)
    run = Blocked(model.program, model.weights, state=engine.S)
    for begin, stop in ((0, 6), (11, 17)):
        run.feed(model.tokens[run.position : begin])
        engine.resume(begin)
        nats = engine.score_stream(model.tokens[begin:stop], model.targets[begin:stop])
        np.testing.assert_allclose(nats, wanted[begin:stop], rtol=0, atol=room(model))
        run.take_over(model.tokens[begin:stop])


def _rows(model, memory: np.ndarray, state: str) -> np.ndarray:
    arena = Arena(model.program.layout, model.weights)
    arena.state[:] = memory[: len(arena.state)]
    rows = arena.rows(state)
    return rows[:, : len(model.tokens)] if state == "history" else rows


def test_every_trained_family_is_scored_in_blocks_or_says_why_not():
    """A program needs no weights to be asked; of what is counted one case each is in `test_what_cannot_be_fed`."""
    rooms = {name: family(name) for name in CASES}
    told = {
        name: {why_not(room.decode_program(config), scoring=True) for config in CASES[name].values()}
        for name, room in rooms.items()
        if isinstance(room, Trained)
    }
    assert {name for name in told if "" not in told[name]} == {"experts", "memory"}
    assert all("chooses by comparing sums" in " ".join(told[name]) for name in ("experts", "memory"))
    dense = {case: family("dense").decode_program(config) for case, config in CASES["dense"].items()}
    assert "'exit_test' ends each token where the data say" in why_not(dense["exits_after_two_blocks"], scoring=False)
    assert "'cache_score' has no form for many tokens" in why_not(dense["cached"], scoring=True)
    assert not why_not(dense["cached"], scoring=False)


def test_what_cannot_be_fed_is_refused_and_nothing_has_been_fed():
    model = bench("dense", "tied_mha_swiglu_f32")
    run = Blocked(model.program, model.weights)
    for tokens, targets in (([3, 301], [1, 2]), ([3, 4], [-1, 2])):
        with pytest.raises(ConfigError, match="outside the model's vocabulary"):
            run.score(np.array(tokens), np.array(targets))
    with pytest.raises(ConfigError, match="one target per token"):
        run.score(np.array([1, 2]), np.array([1]))
    with pytest.raises(ConfigError, match="do not fit the model's context"):
        run.feed(np.zeros(model.program.context + 1, np.int64))
    run.feed(np.zeros(0, np.int64))
    assert run.position == 0
    counts = bench("ngram", "order_2")
    with pytest.raises(ConfigError, match="cannot be fed in blocks: 'ngram_context' has no form"):
        Blocked(counts.program, counts.weights)


def test_weights_without_room_are_decoded_again_and_are_the_same():
    model = bench("dense", "tied_mqa_swiglu_int8")
    arena = Arena(model.program.layout, model.weights)
    full, none = (Decoded(model.program.layout, model.weights, room=room) for room in (1e9, 0))
    assert Decoded(model.program.layout, model.weights).room > 1e6
    for tensor in model.program.stored():
        if tensor.format not in ("u16", "u32"):
            for found in (full.whole(tensor.name), none.whole(tensor.name)):
                np.testing.assert_array_equal(found, arena.rows(tensor.name))
            at = np.array([tensor.shape[0] - 1, 0, 0])
            np.testing.assert_array_equal(full.rows(tensor.name, at), arena.rows(tensor.name)[at])
    assert full.nbytes > 0 == none.nbytes
    nats = [Blocked(model.program, model.weights, d).score(model.tokens, model.targets) for d in (full, none)]
    np.testing.assert_array_equal(nats[0], nats[1])


def test_float32_weights_are_looked_at_where_they_lie():
    model = bench("dense", "tied_mha_swiglu_f32")
    decoded = Decoded(model.program.layout, model.weights)
    names = [t.name for t in model.program.stored() if t.format == "f32"]
    assert names and all(np.shares_memory(decoded.whole(name), model.weights) for name in names)
    assert decoded.nbytes == 0


@pytest.mark.parametrize("window", [0, 1, 9, 200])
@pytest.mark.parametrize("shared, scores", [(1, 1 << 22), (3, 1 << 22), (3, 4000)])
def test_attention_of_a_chunk_is_that_of_each_position(monkeypatch, window, shared, scores):
    """Oracle: `ops.attention`.  75 positions behind 38 others, so in two blocks; with few scores at once in many."""
    monkeypatch.setattr(blocked_attention, "SCORES", scores)
    rng, first, n, G, K = np.random.default_rng(5), 38, 75, 2, 10
    q, kv = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, G * shared, K), (first + n, 2 * G * K)))
    made: dict = {}
    once = lambda key, make: made[key] if key in made else made.setdefault(key, make())  # noqa: E731
    found = blocked_attention.attend_chunk(q, kv, first, G, window, once)
    for i in range(n):
        seen = kv[max(0, first + i + 1 - window) if window else 0 : first + i + 1].reshape(-1, 2 * G, K)
        wanted = decode_attention(q[i], seen[:, :G], seen[:, G:]).reshape(-1)
        np.testing.assert_allclose(found[i], wanted, rtol=1e-5, atol=3e-6)
