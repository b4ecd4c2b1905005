"""What every family promises, one suite over all of them: torch, compiled engine, logging engine and file agree.

Oracles: PyTorch for numbers, autograd for causality, the formula for bytes; for counted models `ngram.score` and
`ops.infinigram`.
Tolerances: two implementations add float32 numbers in another order, which on losses of a few nats shows at 1e-5;
a cache in bf16 or int8 may in rare cases round such a difference to the next code, which shows at 1e-3, and at 3e-2 in
the state of a recurrence, from which the next one is made (how it rounds: tests/layers/test_linear_attention.py).
What a trained part says beside counts is rounded to 1/256 of a logit at a dozen nodes, and all behind it is in whole
numbers: where the rounding turns, nats move by some 1/256 (tests/program/test_inside.py counts how often).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contract.cases import ALL, CASES, REMEMBERED, TRAINED, TURNED, Bench, bench, first_ones, lively_parameters
from contract.references import reference_nats

from weightless.layers.layer import Record
from weightless.models.catalog import families, family
from weightless.program.cost import touched_by_formula
from weightless.train.initialise import initial_parameters


def over(cases):
    return pytest.mark.parametrize("b", cases, indirect=True, ids=["-".join(case) for case in cases])


@pytest.fixture
def b(request) -> Bench:
    return bench(*request.param)


def tolerance(b: Bench) -> float:
    if b.name == "mixture" and b.config.mixes:
        return 3e-2
    if b.rounds_recurrence:
        return 3e-2
    if b.rounds_activations:
        return TURNED
    cache = {t.format for t in b.program.tensors if t.component in REMEMBERED}
    return 1e-6 if b.name in ("ngram", "infinigram") else 1e-4 if cache == {"f32"} else 1e-3


def test_every_family_has_cases():
    assert set(CASES) == set(families()), "add small configurations of the new family to tests/contract/configurations"


@over(TRAINED)
def test_1_shapes_and_finite(b):
    model, p = b.family.Model(b.config), b.rounded()
    n, v = len(b.tokens), b.config.vocab_size
    nats, log_p = model.losses(p, *b.batch), model.log_probs(p, b.batch[0])
    assert nats.shape == (1, n) and log_p.shape == (1, n, v) and nats.dtype == log_p.dtype == torch.float32
    assert torch.isfinite(nats).all() and torch.isfinite(log_p).all()
    torch.testing.assert_close(-log_p[0, torch.arange(n), b.batch[1][0]], nats[0], rtol=0, atol=2e-5)


def reach(b: Bench) -> int:
    """How many positions back a model sees: all, but where every block has a window or nothing to look back with."""
    if b.name != "feather" or set(b.config.kinds) & {"A", "S"}:
        return len(b.tokens)
    return b.config.kinds.count("W") * ((b.config.window or 1) - 1)


@over(TRAINED)
def test_2_causal_by_gradient(b, monkeypatch):
    """d nats[t] / d (rows looked up at position s) is exactly 0 for s > t, and not for those that t can see.

    As in training, where every position goes through every layer.
    """
    looked_up, embedding = [], F.embedding

    def recorded(*args, **kwargs):
        looked_up.append(embedding(*args, **kwargs).detach().requires_grad_())
        return looked_up[-1]

    monkeypatch.setattr(F, "embedding", recorded)
    nats_T = b.family.Model(b.config).losses(b.rounded(), *b.batch, record=Record())[0]
    assert looked_up
    for t in (0, 1, len(nats_T) // 2, len(nats_T) - 1):
        for gradient_BTD in torch.autograd.grad(nats_T[t], looked_up, retain_graph=True):
            size_T = gradient_BTD[0].abs().sum(-1)
            first = max(0, t - reach(b))
            assert torch.all(size_T[t + 1 :] == 0) and torch.all(size_T[:first] == 0)
            assert torch.all(size_T[first : t + 1] > 0)


@over(TRAINED)
def test_2_later_tokens_change_nothing(b):
    """Also the addresses that are computed from tokens; sums inside a fixed shape do not depend on later positions."""
    cut, (tokens, targets) = len(b.tokens) // 2, b.batch
    changed = tokens.clone()
    changed[:, cut:] = (changed[:, cut:] + 17) % b.config.vocab_size
    model, p = b.family.Model(b.config), b.rounded()
    before, after = (model.losses(p, x, targets)[0] for x in (tokens, changed))
    torch.testing.assert_close(after[:cut], before[:cut], rtol=0, atol=1e-5)
    assert (after[cut:] - before[cut:]).abs().min() > 0


@pytest.mark.parametrize("b", first_ones(ALL, quick=4), indirect=True)
def test_2_the_engine_cannot_see_the_future(b):
    cut = len(b.tokens) // 2
    changed = b.stream.copy()
    changed[cut + 1 :] = (changed[cut + 1 :] + 17) % b.config.vocab_size
    before = b.engine().score_stream(b.tokens, b.targets)
    after = b.engine().score_stream(changed[:-1], changed[1:])
    assert np.array_equal(before[:cut], after[:cut]) and not np.array_equal(before, after)


@over(ALL)
def test_3_engine_equals_reference_at_every_position(b):
    wanted, have = reference_nats(b), b.engine().score_stream(b.tokens, b.targets)
    assert have.shape == wanted.shape == (b.config.context,)
    np.testing.assert_allclose(have, wanted, rtol=tolerance(b) / 10, atol=tolerance(b))


@over(ALL)
def test_3_logging_engine_equals_compiled_engine(b):
    compiled, logging = b.engine(), b.audit_engine()
    have, wanted = (engine.score_stream(b.tokens, b.targets) for engine in (logging, compiled))
    np.testing.assert_allclose(have, wanted, rtol=tolerance(b) / 10, atol=tolerance(b))
    np.testing.assert_allclose(logging.distribution(), compiled.distribution(), rtol=2 * tolerance(b), atol=1e-9)


@over(TRAINED)
def test_4_batch_of_two_is_two_batches_of_one(b):
    """Products of another shape may add in another order: float32 rounding, not more."""
    model, p, (x, y) = b.family.Model(b.config), b.rounded(), b.batch
    other_x, other_y = x.flip(1), y.flip(1)
    both = model.losses(p, torch.cat([x, other_x]), torch.cat([y, other_y]))
    alone = torch.cat([model.losses(p, x, y), model.losses(p, other_x, other_y)])
    torch.testing.assert_close(both, alone, rtol=0, atol=tolerance(b))


@over(ALL)
def test_4_windows_do_not_know_of_each_other(b):
    engine = b.engine()
    first = engine.score_stream(b.tokens, b.targets)
    engine.reset()
    engine.score_stream(b.targets, b.tokens)
    engine.reset()
    assert np.array_equal(engine.score_stream(b.tokens, b.targets), first)


@over(TRAINED)
def test_7_one_batch_can_be_overfitted(b):
    """From about ln V = 5.7 nats to under 0.5 within 80 steps of Adam: random text can only be memorised."""
    torch.manual_seed(0)
    model = b.family.Model(b.config)
    p = initial_parameters(model.tensors(), seed=1)
    constants = {name: torch.from_numpy(a) for name, a in b.arrays.items() if name not in p}
    x, y = torch.randint(b.config.vocab_size, (2, 2, 15)).unbind(0)
    optimizer = torch.optim.Adam(p.values(), lr=0.02)
    first = last = math.nan
    for step in range(80):
        record = Record()
        nats = model.losses(p | constants, x, y, record=record).mean()
        first, last = (nats.item() if step == 0 else first), nats.item()
        optimizer.zero_grad()
        (nats + sum(record.auxiliary)).backward()
        for tensor in p.values():
            tensor.grad = tensor.grad.to_dense()
        optimizer.step()
        if last < 0.5:
            break
    assert 4.5 < first < 9 and last < 0.5, (first, last)


@over(TRAINED)
def test_8_same_seed_same_bits(b):
    text = np.random.default_rng(0).integers(0, b.config.vocab_size, 3000)
    one, two = (lively_parameters(b.family.Model(b.config), text) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) and one[name].dtype == two[name].dtype for name in one | two)
    assert np.array_equal(reference_nats(b), reference_nats(b))
    specs = b.family.Model(b.config).tensors()
    drawn = [spec.name for spec in specs if isinstance(spec.init, float)]
    here, there = (initial_parameters(specs, seed) for seed in (1, 2))
    assert drawn and not any(torch.equal(here[name], there[name]) for name in drawn)


@over(ALL)
def test_8_the_engine_repeats_itself(b):
    one, two = (b.engine(poison) for poison in (True, False))
    assert np.array_equal(one.score_stream(b.tokens, b.targets), two.score_stream(b.tokens, b.targets))
    assert np.array_equal(one.distribution(), two.distribution())
    uniforms = np.random.default_rng(0).random((20, b.program.n_uniforms))
    assert [one.sample(u) for u in uniforms] == [two.sample(u) for u in uniforms]


@pytest.mark.parametrize("name", sorted({name for name, _ in TRAINED}))
def test_9_the_dial_turns_one_way(name):
    """Bytes touched and bytes stored both grow with size; 16 positions tell, at every step of the dial."""
    programs = [family(name).decode_program(family(name).Config.at(size)) for size in range(1, 8)]
    touched = [touched_by_formula(program, positions=16).T.mean for program in programs]
    stored = [sum(tensor.nbytes for tensor in program.stored()) for program in programs]
    assert all(small < large for values in (touched, stored) for small, large in zip(values, values[1:], strict=False))


@over(ALL)
def test_10_probabilities_sum_to_one_and_score_is_their_logarithm(b):
    engine, picks = b.engine(), np.random.default_rng(1).integers(0, b.config.vocab_size, len(b.tokens))
    for token, target in zip(b.tokens, picks, strict=True):
        engine.feed(int(token))
        p = engine.distribution()
        assert p.shape == (b.config.vocab_size,) and (p >= 0).all() and abs(p.sum(dtype=np.float64) - 1) < 1e-5
        # float32 probabilities and float32 nats: 2^-24 of numbers up to 16, three times
        assert engine.score(int(target)) == pytest.approx(-math.log(p[target]), abs=4e-6)


@over(TRAINED)
def test_10_log_probs_sum_to_one_in_torch_and_equal_the_engine(b):
    log_p = b.family.Model(b.config).log_probs(b.rounded(), b.batch[0])[0]
    sums_T = log_p.double().exp().sum(-1)
    torch.testing.assert_close(sums_T, torch.ones_like(sums_T), atol=1e-5, rtol=0)
    engine = b.engine()
    engine.score_stream(b.tokens, b.targets)
    np.testing.assert_allclose(np.log(engine.distribution()), log_p[-1].numpy(), atol=tolerance(b), rtol=tolerance(b))


@over(ALL)
def test_11_sampling_follows_the_distribution(b):
    """Chi-square over 4,000 draws, cells of at least 8 expected; six standard deviations above its mean fails."""
    engine, n = b.engine(), 4000
    engine.score_stream(b.tokens, b.targets)
    p = engine.distribution().astype(np.float64)
    drawn = np.bincount(
        [engine.sample(u) for u in np.random.default_rng(2).random((n, b.program.n_uniforms))], minlength=len(p)
    )
    expected, rare = n * p / p.sum(), n * p < 8
    cells = [(drawn[~rare], expected[~rare]), (drawn[rare].sum(), max(expected[rare].sum(), 1e-9))]
    chi_square = sum(float(np.sum((have - want) ** 2 / want)) for have, want in cells)
    freedom = int((~rare).sum())
    assert freedom >= 10 and chi_square < freedom + 6 * (2 * freedom) ** 0.5


@over(ALL)
def test_11_both_engines_draw_the_same_words(b):
    compiled, logging = b.engine(), b.audit_engine()
    compiled.score_stream(b.tokens, b.targets)
    logging.score_stream(b.tokens, b.targets)
    n = b.program.n_uniforms
    uniforms = np.random.default_rng(3).random((60, n))
    edges = [np.zeros(n), np.full(n, np.nextafter(1.0, 0.0))]
    same = [compiled.sample(u) == logging.sample(u) for u in [*uniforms, *edges]]
    # A draw within 1e-5 of the border between two words may fall on either side.
    assert np.mean(same) > 0.98
