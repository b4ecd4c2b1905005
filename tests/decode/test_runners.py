"""The batched runner and the engine's runner against the compiled engine fed one token at a time.

Tolerance 2e-3 with low-bit caches (a sum in another order may round a cached value to the next code), 3e-5 without.
"""

import numpy as np
import pytest
from contract.cases import CASES, bench
from contract.configurations.shared import V

from weightless.base.errors import ConfigError
from weightless.decode.answers import prefix_model
from weightless.decode.batch_runner import BatchRunner, Work
from weightless.decode.engine_runner import EngineRunner, runner_for

FAMILIES = ("dense", "scan", "feather", "memory", "recurrent", "ngram")
ALL = [(name, case) for name in FAMILIES for case in CASES[name] if CASES[name][case].vocab_size >= 280]
BATCHED = [(name, case) for name, case in ALL if name != "ngram"]


def by_engine(model, tokens) -> np.ndarray:
    """log p after each token, from a fresh engine."""
    engine = model.engine()
    rows = []
    for token in tokens:
        engine.feed(int(token))
        rows.append(engine.distribution())
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


EXACT, ROUNDED, WHOLE = 3e-5, 2e-3, 0.4
"""Of probabilities: sums in another order; a cache's number on the other side of a half; an activation there."""


def same(found: np.ndarray, wanted: np.ndarray, rtol: float) -> None:
    np.testing.assert_allclose(np.exp(found), np.exp(wanted), rtol=rtol, atol=1e-7 if rtol == EXACT else 1e-5)


def runner_of(model, **options) -> BatchRunner | EngineRunner:
    return runner_for(model.program, model.weights, **options)


def tolerance(model) -> float:
    if model.rounds_activations:
        return WHOLE
    is_rounded = any(t.kind == "state" and t.format in ("bf16", "int8") for t in model.program.tensors)
    return ROUNDED if is_rounded else EXACT


def some_tokens(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 280, n).tolist()


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("name, case", ALL)
def test_ragged_batches_give_what_each_sequence_gives_alone(name, case, paged):
    model = bench(name, case)
    runner = runner_of(model, paged=paged)
    texts = [some_tokens(n, n) for n in (5, 11, 1)]
    wanted = [by_engine(model, text) for text in texts]
    a, b, c = (runner.begin() for _ in texts)
    first = runner.forward([Work(a, texts[0]), Work(b, texts[1][:4])])
    rest = runner.forward([Work(b, texts[1][4:]), Work(c, texts[2])])
    same(first[0], wanted[0], tolerance(model))
    same(np.concatenate((first[1], rest[0])), wanted[1], tolerance(model))
    same(rest[1], wanted[2], tolerance(model))
    assert runner.tokens(b) == texts[1]


@pytest.mark.parametrize("name, case", ALL)
def test_a_tree_gives_what_each_path_gives_and_keeps_what_is_accepted(name, case):
    model = bench(name, case)
    runner = runner_of(model)
    prompt, nodes, parents = some_tokens(6), some_tokens(6, 9), [-1, -1, 0, 0, 3, 1]
    sequence = runner.begin()
    runner.forward([(sequence, prompt)])
    (log_p,) = runner.forward([(sequence, nodes, parents)])
    paths = []
    for node, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), nodes[node]])
    for path, row in zip(paths, log_p):
        same(row, by_engine(model, [*prompt, *path])[-1], tolerance(model))
    runner.keep(sequence, 6, [6, 9, 10])
    assert runner.tokens(sequence) == [*prompt, *paths[4]]
    (after,) = runner.forward([(sequence, [3, 1])])
    same(after, by_engine(model, [*prompt, *paths[4], 3, 1])[-2:], tolerance(model))


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("name, case", [ALL[0], BATCHED[-2], ALL[-1]])
def test_forks_go_their_own_ways(name, case, paged):
    model = bench(name, case)
    runner = runner_of(model, paged=paged)
    prompt = some_tokens(7)
    first = runner.begin()
    runner.forward([(first, prompt)])
    empty = runner.fork(runner.begin())
    second = runner.fork(first)
    one, two, three = runner.forward([(first, [4]), (second, [5]), (empty, [6])])
    same(one, by_engine(model, [*prompt, 4])[-1:], tolerance(model))
    same(two, by_engine(model, [*prompt, 5])[-1:], tolerance(model))
    same(three, by_engine(model, [6]), tolerance(model))
    runner.free(first)
    (on,) = runner.forward([(second, [9])])
    same(on, by_engine(model, [*prompt, 5, 9])[-1:], tolerance(model))


def test_float64_agrees_far_below_float32():
    """The same program in both precisions: float32 sums of 40 terms are off by a few 1e-7."""
    model = bench("dense", "tied_mha_swiglu_f32")
    rows = [BatchRunner(model.program, model.weights, dtype) for dtype in (np.float32, np.float64)]
    text = some_tokens(20)
    single, double = (runner.forward([(runner.begin(), text)])[0] for runner in rows)
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=2e-5)
    assert abs(np.exp(double).sum(1) - 1).max() < 1e-12


RECURRENT = [("scan", case) for case in ("diagonal_hybrid_conv", "delta_f32_conv", "gated_hybrid_bf16_state")]


@pytest.mark.parametrize("name, case", RECURRENT)
def test_a_recurrence_returns_to_any_node_of_a_tree_and_to_where_a_chain_began(name, case):
    """Oracle: the engine, fed what is kept.  A long chain has no snapshot in its middle, and says so."""
    model = bench(name, case)
    runner, prompt, tree = runner_of(model), some_tokens(7), some_tokens(4, 9)
    assert isinstance(runner, BatchRunner)
    sequence = runner.begin()
    runner.forward([(sequence, prompt)])
    for _ in range(2):  # a drafter goes back to the same place again and again
        runner.forward([(sequence, tree, [-1, 0, 0, 2])])
        runner.keep(sequence, 7)
    runner.forward([(sequence, [3, 1, 2])])
    with pytest.raises(ConfigError, match="recurrent state after token 7 of sequence 0 is gone: feed tokens .* tree"):
        runner.keep(sequence, 8)
    assert runner.tokens(sequence) == [*prompt, 3, 1, 2], "a refused return changes nothing"
    runner.keep(sequence, 7)
    held = runner.nbytes
    twin = runner.fork(sequence)
    assert runner.nbytes > held
    one, two = runner.forward([(sequence, [5]), (twin, [6])])
    same(one, by_engine(model, [*prompt, 5])[-1:], tolerance(model))
    same(two, by_engine(model, [*prompt, 6])[-1:], tolerance(model))
    for number in (sequence, twin):
        runner.free(number)
    assert runner.nbytes == 0


@pytest.mark.parametrize("name, case", RECURRENT)
def test_a_recurrence_fed_in_one_piece_or_in_many(name, case):
    """One token after the other beside all at once: the same states, to the order of sums."""
    model = bench(name, case)
    runner, text = runner_of(model), some_tokens(20)
    whole, single = runner.begin(), runner.begin()
    (wanted,) = runner.forward([(whole, text)])
    found = np.concatenate([runner.forward([(single, [token])])[0] for token in text])
    same(found, wanted, tolerance(model))


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("name, case", [("scan", "diagonal_hybrid_conv"), ("scan", "delta_f32_conv")])
def test_beams_of_a_recurrence_have_states_of_their_own(name, case, paged):
    """Prefixes as beam search asks for them: two go on from one, one is dropped, and one comes back."""
    model = bench(name, case)
    runner = runner_of(model, paged=paged)
    log_probs = prefix_model(runner)
    steps = [
        [[5, 9]],
        [[5, 9, 1], [5, 9, 2]],
        [[5, 9, 2, 7], [5, 9, 2, 8], [5, 9, 1, 7]],
        [[5, 9, 2, 8, 3], [5, 9, 2, 8, 4]],
        [[5, 9, 1, 7, 6]],
    ]
    for prefixes in steps:
        for row, prefix in zip(log_probs(prefixes), prefixes, strict=True):
            same(row, by_engine(model, prefix)[-1], tolerance(model))
    assert len(runner._recurrent._places) == 1


def test_bad_input_is_named():
    model = bench("dense", "tied_mha_swiglu_f32")
    runner = runner_of(model)
    sequence = runner.begin()
    with pytest.raises(ConfigError, match="24 tokens do not fit the model's context of 23"):
        runner.forward([(sequence, [1] * 24)])
    with pytest.raises(ConfigError, match=f"token id {V} is outside"):
        runner.forward([(sequence, [V])])
    with pytest.raises(ConfigError, match="at least one token"):
        runner.forward([(sequence, [])])
    with pytest.raises(ConfigError, match="a step feeds each sequence once"):
        runner.forward([(sequence, [1]), (sequence, [2])])
    assert runner.tokens(sequence) == []


def test_a_refused_step_has_fed_nobody():
    """The good half of a bad step leaves no trace: the sequence goes on as a fresh one does."""
    model = bench("dense", "tied_mha_swiglu_f32")
    runner = runner_of(model)
    good, bad = runner.begin(), runner.begin()
    with pytest.raises(ConfigError, match=f"token id {V} is outside"):
        runner.forward([(good, [5, 9]), (bad, [V])])
    assert runner.tokens(good) == []
    same(runner.forward([(good, [5, 9])])[0], by_engine(model, [5, 9]), tolerance(model))
