"""The operators of a window cache over memory that holds anything: the counts are those of dictionaries.

Oracle: `ops/window_cache.py`, from the tokens of the window alone.  Tolerance: float32 nats, 2^-24 of numbers up to 16.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from contract.cases import lively_weights, packed_bytes

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.models import ngram
from weightless.models.catalog import families, family
from weightless.ops.window_cache import WindowCounts, cached_distribution, cached_nats
from weightless.program.cached import CACHE_WEIGHTS, MAX_ORDERS
from weightless.program.cost import step_bytes
from weightless.program.engine import AuditEngine, Engine
from weightless.program.program import Program


@cache
def model(vocab_size: int, orders: int, context: int = 700) -> tuple[Program, np.ndarray, np.ndarray, Engine]:
    """(program, its weights, the weights of its cache, an engine of the model without the cache)."""
    config = ngram.Config(vocab_size, 1, context, window_cache=orders)
    text = (np.random.default_rng(1).zipf(1.3, 3000) - 1) % vocab_size
    config, arrays = ngram.FAMILY.count(config, text)
    arrays[CACHE_WEIGHTS] = lively_weights(orders)
    program = ngram.FAMILY.decode_program(config)
    weights = packed_bytes(program, arrays)
    own = Engine(ngram.FAMILY.uncached(config), weights)
    return program, weights, arrays[CACHE_WEIGHTS][0], own


def own_nats(engine: Engine, stream: np.ndarray) -> np.ndarray:
    engine.reset()
    return engine.score_stream(stream[:-1], stream[1:])


@pytest.mark.parametrize("orders", range(1, MAX_ORDERS + 1))
@pytest.mark.parametrize("vocab_size", [3, 40])
def test_windows_one_after_another_in_memory_that_nobody_clears(vocab_size, orders):
    """Ten windows of other lengths over what the ones before have left; with 40 words lists are full, with 3 few."""
    program, weights, lam, own = model(vocab_size, orders)
    engines, rng = [Engine(program, weights), AuditEngine(program, weights, poison=True)], np.random.default_rng(2)
    for window in range(10):
        n = int(rng.integers(2, 90)) if window else 400
        stream = (rng.zipf(1.2, n + 1) - 1) % vocab_size
        wanted = cached_nats(own_nats(own, stream), stream[:-1].tolist(), stream[1:].tolist(), lam)
        for engine in engines[: 2 if window < 4 and n < 90 else 1]:
            engine.reset()
            np.testing.assert_allclose(engine.score_stream(stream[:-1], stream[1:]), wanted, rtol=3e-7, atol=2e-6)


def test_memory_that_holds_plausible_numbers():
    """Positions, counts and rows as an earlier window could have left them: none is taken for this one's."""
    program, weights, lam, own = model(40, 4)
    engine, rng = Engine(program, weights), np.random.default_rng(3)
    stream = (rng.zipf(1.2, 121) - 1) % 40
    wanted = cached_nats(own_nats(own, stream), stream[:-1].tolist(), stream[1:].tolist(), lam)
    for most in (1, 3, 60, 2**32 - 1):
        engine.reset()
        engine.S.view(np.uint32)[:] = rng.integers(0, most, len(engine.S) // 4, endpoint=True)
        np.testing.assert_allclose(engine.score_stream(stream[:-1], stream[1:]), wanted, rtol=3e-7, atol=2e-6)


def test_a_word_that_goes_on_for_ever():
    """600 times the same: counts stop at 255, and nothing wraps around."""
    program, weights, lam, own = model(40, 3)
    stream = np.array([5] * 600 + [6, 5, 5, 6, 5])
    wanted = cached_nats(own_nats(own, stream), stream[:-1].tolist(), stream[1:].tolist(), lam)
    engine = Engine(program, weights, poison=True)
    np.testing.assert_allclose(engine.score_stream(stream[:-1], stream[1:]), wanted, rtol=3e-7, atol=2e-6)


def test_probabilities_sum_to_what_the_models_own_do_at_a_thousand_positions():
    """In float64 from the model's float32 to 1e-9; in the engine's float32 every p is rounded, to 2^-24 of it."""
    program, weights, lam, own = model(300, 4)
    engine, rng, n = Engine(program, weights, poison=True), np.random.default_rng(4), 0
    while n < 1000:
        engine.reset()
        own.reset()
        counts = WindowCounts(4)
        for token in ((rng.zipf(1.1, 500) - 1) % 300).tolist():
            engine.feed(token)
            own.feed(token)
            counts.enter(token)
            p_V, own_V = engine.distribution(), own.distribution()
            exact = cached_distribution(own_V, counts, lam)
            rest, added = counts.mixture(lam)
            total = rest * own_V.sum(dtype=np.float64) + sum(added.values())
            assert abs(rest + sum(added.values()) - 1) < 1e-12 and abs(exact.sum() - total) < 1e-9
            np.testing.assert_allclose(p_V, exact, rtol=4e-7)
            assert abs(p_V.sum(dtype=np.float64) - total) < 3e-7
            n += 1


def test_a_draw_touches_what_a_score_does_at_every_step():
    program, weights, _, _ = model(40, 4)
    engine, rng = AuditEngine(program, weights, poison=True), np.random.default_rng(5)
    for token in ((rng.zipf(1.2, 150) - 1) % 40).tolist():
        engine.feed(token)
        costs = []
        for run in (lambda: engine.score(int(rng.integers(40))), lambda: engine.sample(rng.random(9))):
            engine.steps = []
            run()
            costs.append({name: b.T for name, b in step_bytes(program, [engine.steps[-1][1]]).items()})
        assert costs[0] == costs[1]


@pytest.mark.parametrize("name", families())
def test_every_family_takes_the_field(name):
    """One field, whatever the kind: the program ends in the cache's operators, and is the family's own before them."""
    room = family(name)
    config = room.Config(window_cache=3)
    cached, own = room.decode_program(config), room.decode_program(dataclasses.replace(config, window_cache=0))
    assert own == room.uncached(config)
    assert [op.name for op in cached.body] == [*(op.name for op in own.body), "cache_update"]
    for head in ("score", "sample", "full"):
        assert [op.name for op in cached.heads[head]] == [*(op.name for op in own.heads[head]), f"cache_{head}"]
    same = {name: place.offset for name, place in own.layout.places.items() if place.tensor.kind != "state"}
    assert {name: cached.layout.places[name].offset for name in same} == same
    assert (own.n_uniforms, cached.n_uniforms) == (8, 9)
    for wrong in (-1, MAX_ORDERS + 1):
        with pytest.raises(ConfigError, match=f"window_cache = {wrong} is not in 0..{MAX_ORDERS}"):
            room.Config(window_cache=wrong)


def test_too_few_random_numbers_are_refused():
    """With eight of nine the cache would always choose by zero."""
    program, weights, _, _ = model(40, 4)
    for engine in (Engine(program, weights), AuditEngine(program, weights)):
        engine.feed(3)
        with pytest.raises(ConfigError, match="8 uniform numbers are given, and a draw of this model takes 9"):
            engine.sample(np.zeros(8))


def spoil(program: Program, state: np.ndarray, rng: np.random.Generator, most: int) -> None:
    """Noise in a third of all numbers of the cache's memory."""
    for name in ("window.words", "window.known", "window.lines"):
        offset, tensor = program.layout.places[name]
        numbers = state[offset : offset + tensor.nbytes].view(np.uint32)
        at = np.flatnonzero(rng.random(len(numbers)) < 0.3)
        numbers[at] = rng.integers(0, most, len(at), np.uint32)


def test_numbers_that_no_window_leaves_are_refused_or_stay_within_bounds():
    """A program of a stranger may write anything into this memory: noise between two steps, in either engine."""
    program, weights, _, _ = model(40, 4, 60)
    rng, refused = np.random.default_rng(6), 0
    for trial in range(300):
        compiled, readable = Engine(program, weights), AuditEngine(program, weights)
        for engine, state in ((compiled, compiled.S), (readable, readable.arena.state)):
            engine.score_stream(rng.integers(0, 40, 20), rng.integers(0, 40, 20))
            spoil(program, state, rng, (40, 2**8, 2**16, 2**32)[trial % 4])
            try:
                engine.feed(int(rng.integers(40)))
                engine.score(3)
                engine.sample(rng.random(9))
                assert engine.distribution().shape == (40,)
            except CorruptFileError:
                refused += 1
    assert 100 < refused < 600
