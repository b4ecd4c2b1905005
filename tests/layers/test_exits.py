"""Leaving early: what a layer that holds a test does in training, and what it leaves behind where a token exits.

Oracles: the same stack without tests; one that ends at the exit; autograd for what is kept; the counters of `verify`;
for the loss of a test, sums over the whole vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from contract.cases import bench
from lab.test_accounting import T, kept_by_autograd
from layers.test_combinators import around, block

from weightless.audit.counters.subjects import of_configuration
from weightless.audit.counters.verify import verify
from weightless.base.errors import ConfigError
from weightless.decode.batch_runner import BatchRunner
from weightless.decode.engine_runner import EngineRunner, runner_for
from weightless.lab.accounting import family_model
from weightless.layers import functions as L
from weightless.layers.exits import NEVER, THRESHOLD, EarlyExit, ExitAfter
from weightless.layers.feedforward import FeedForward
from weightless.layers.layer import Layer, Record, register
from weightless.layers.repeat import Repeat
from weightless.layers.stack import Stack, StackModel
from weightless.layers.unet import unet
from weightless.models import dense, experts
from weightless.models.catalog import Trained
from weightless.program.program import Program
from weightless.program.tensor import Tensor
from weightless.train.initialise import initial_parameters

CONFIG = dense.Config(61, 24, 2, n_heads=2, d_ff=30, context=19, weight_format="f32", kv_format="f32")
EXITS = dataclasses.replace(CONFIG, n_layers=4, exit_after=(1, 3), exit_threshold=0.5)


def leaving(layers: tuple[Layer, ...], behind: tuple[Layer, ...], name: str = "exit") -> ExitAfter:
    return ExitAfter(layers, dense.stack(CONFIG).head, 0.5, behind, name, CONFIG.d_model, CONFIG.eps, 0.3)


STACKS = {
    "before a repeat": lambda c: around(leaving(block(0), (Repeat(block(1), 2, 24, "f32"),))),
    "before a unet": lambda c: around(leaving(block(0), (unet((block(1),), (block(2),), 24),))),
    "inside a repeat": lambda c: around(Repeat((leaving(block(0), block(1)),), 2, 24, "f32")),
    "inside a unet": lambda c: around(unet((block(0),), ((leaving((), block(1)),), block(2)), 24)),
    "one behind the other": lambda c: around(leaving((), block(0), "exit.a"), leaving((), block(1), "exit.b")),
}


@pytest.mark.parametrize("made", STACKS.values(), ids=STACKS)
def test_all_counters_agree_and_engines_give_the_same_nats(monkeypatch, made):
    monkeypatch.setattr(dense, "FAMILY", Trained(dense.Config, made))
    subject = of_configuration("dense", CONFIG)
    found = verify(subject, trials=60)
    assert found.ok, found.counters
    model, x, y = StackModel(made(CONFIG)), subject.tokens, subject.targets
    with torch.no_grad():
        nats = model.losses(subject.parameters(), torch.from_numpy(x)[None], torch.from_numpy(y)[None])[0]
    engine = subject.engine()
    np.testing.assert_allclose(engine.score_stream(x, y), nats.numpy(), atol=2e-5)
    assert len(np.unique(engine.paths)) > 1


def losses(stack: Stack, p: dict[str, torch.Tensor], record: Record | None = None) -> torch.Tensor:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 61, (2, 17)))
    return StackModel(stack).losses(p, tokens[:, :-1], tokens[:, 1:], record=record)


def parameters(stack: Stack, threshold: float = 0.5) -> dict[str, torch.Tensor]:
    p = initial_parameters(stack.parameters(), 1)
    gen = torch.Generator().manual_seed(0)
    for name in p:
        if name.startswith("exit"):
            p[name] = torch.randn(p[name].shape, generator=gen, requires_grad=True)
    return p | {THRESHOLD: torch.full((1, 1), threshold)}


def test_training_goes_through_all_layers_to_the_bit():
    """Oracle: the stack without tests; a threshold that nothing reaches is the same."""
    stack, flat = dense.stack(EXITS), dense.stack(dataclasses.replace(EXITS, exit_after=(), exit_threshold=None))
    p = parameters(stack)
    wanted = losses(flat, p)
    assert torch.equal(losses(stack, p, Record()), wanted)
    assert torch.equal(losses(stack, p | {THRESHOLD: torch.full((1, 1), NEVER)}), wanted)
    assert not torch.equal(losses(stack, p), wanted)


@pytest.mark.parametrize(("forced", "n_blocks"), [("exit.1", 1), ("exit.3", 3)])
def test_a_token_that_always_exits_is_a_shorter_stack(forced, n_blocks):
    """Oracle: dense with that many layers."""
    stack = dense.stack(EXITS)
    p = parameters(stack)
    for name in ("exit.1", "exit.3"):
        p |= {f"{name}.weight": torch.zeros(1, 24), f"{name}.bias": torch.full((1, 1), 9.0 if name == forced else -9.0)}
    short = dense.stack(dataclasses.replace(EXITS, n_layers=n_blocks, exit_after=(), exit_threshold=None))
    torch.testing.assert_close(losses(stack, p), losses(short, p), rtol=0, atol=0)


def test_what_an_exit_asks_for():
    """The exits' own nats times their weight, and the loss of each test; the stream has no gradient of the latter."""
    stack, record = dense.stack(EXITS), Record()
    p = parameters(stack)
    nats = losses(stack, p, record)
    short = [dataclasses.replace(EXITS, n_layers=n, exit_after=(), exit_threshold=None) for n in (1, 3)]
    early = [losses(dense.stack(c), p) for c in short]
    assert len(record.auxiliary) == 2
    for asked, own, name in zip(record.auxiliary, early, ("exit.1", "exit.3"), strict=True):
        rest = asked - EXITS.exit_weight * own.mean()
        grads = torch.autograd.grad(rest, [p[f"{name}.weight"], p["block.0.qkv"]], retain_graph=True)
        assert grads[0].abs().max() > 0 and grads[1].abs().max() < 1e-6  # rounding of the difference above
        assert rest > 0
    assert nats.shape == (2, 16)


def test_targets_that_do_not_count_ask_for_nothing():
    stack, record = dense.stack(EXITS), Record()
    tokens = torch.zeros((1, 5), dtype=torch.int64)
    StackModel(stack).losses(parameters(stack), tokens, torch.full_like(tokens, -1), record=record)
    assert [asked.item() for asked in record.auxiliary] == [0.0, 0.0]


def test_what_a_test_learns_is_the_overlap_of_the_distributions():
    """Oracle: the expected loss over the model's own draws is least at c = sum of min(p_exit, p_model)."""
    rng = np.random.default_rng(3)
    p_model, p_exit = (torch.from_numpy(rng.dirichlet(np.full(37, 0.5))) for _ in range(2))
    overlap = torch.minimum(p_model, p_exit).sum()
    z = torch.logit(overlap).expand(1, 37).clone().requires_grad_()

    nats = -p_exit.log()[None], -p_model.log()[None], torch.arange(37)[None]

    def expected(z: torch.Tensor) -> torch.Tensor:
        each = [L.exit_loss(*(part[:, v : v + 1] for part in (z, *nats))) for v in range(37)]
        return (torch.stack(each) * p_model).sum()

    (gradient,) = torch.autograd.grad(expected(z), z)
    assert gradient.sum().abs() < 1e-9
    assert expected(z + 0.1) > expected(z) < expected(z - 0.1)


KEPT = {
    "dense": dense.Config(301, 72, 3, n_heads=4, context=63, d_ff=45, exit_after=(1, 2)),
    "dense, classes": dense.Config(301, 72, 2, n_heads=4, context=63, tied=False, head="class", exit_after=(1,)),
    "experts": experts.Config(301, 40, 2, 2, 1, 5, 2, 14, context=63, exit_after=(1,)),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_kept_is_what_autograd_keeps(case):
    name, config = case.split(",")[0], KEPT[case]
    wanted = sum(part.nbytes for part in family_model(name, config).activations(T))
    assert kept_by_autograd(name, config, 5) - kept_by_autograd(name, config, 3) == 2 * wanted


@dataclasses.dataclass(frozen=True)
class Remembering(FeedForward):
    """A layer with a memory that nobody has told what to leave in it."""

    def state(self) -> list[Tensor]:
        return [Tensor("diary", (CONFIG.context, 3), "f32", "kv cache", "state")]


def test_a_layer_that_cannot_be_passed_over_refuses_by_name():
    layer = block(1)[1]
    assert isinstance(layer, FeedForward) and layer.leaving() == []
    fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    with pytest.raises(ConfigError, match="before a layer Remembering: it does not say what it leaves in diary"):
        leaving(block(0), (Remembering(**fields),))
    with pytest.raises(ConfigError, match="no layer to pass over"):
        leaving(block(0), ())


def test_a_layer_of_registers_alone_leaves_nothing():
    class Passing(FeedForward):
        def state(self) -> list[Tensor]:
            return [register("a", 4)]

    layer = block(1)[1]
    fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    assert Passing(**fields).leaving() == []


RTOL = 2e-4
"""float32 sums in another order; a key of another stream shows as 1e-2."""
BATCHED = [
    ("dense", "exits_after_two_blocks"),
    ("dense", "exit_with_windows_values_and_norms"),
    ("experts", "exit_past_the_second_block"),
    ("scan", "exits_past_vectors_and_attention"),
]


@pytest.mark.parametrize("case", BATCHED, ids="-".join)
def test_batches_equal_the_engine(case):
    """A chain, a fork and a tree, a prompt at once and token by token; some rows exit, each where the engine does."""
    b = bench(*case)
    runner = runner_for(b.program, b.weights)
    assert isinstance(runner, BatchRunner)
    stream, engine = b.tokens[:7].tolist(), b.engine()
    sequence = runner.begin()
    (log_p,) = runner.forward([(sequence, stream)])
    for token, row in zip(stream, log_p, strict=True):
        engine.feed(token)
        np.testing.assert_allclose(np.exp(row), engine.distribution(), rtol=RTOL, atol=1e-9)
    (tree,) = runner.forward([(runner.fork(sequence), [3, 5, 9], [-1, -1, 1])])
    for token in (5, 9):
        engine.feed(token)
    np.testing.assert_allclose(np.exp(tree[2]), engine.distribution(), rtol=RTOL, atol=1e-9)
    other = runner.begin()
    (one,), (more,) = runner.forward([(other, stream[:1])]), runner.forward([(other, stream[1:])])
    np.testing.assert_allclose(np.exp(np.concatenate([one, more])), np.exp(log_p), rtol=RTOL, atol=1e-9)


def test_rows_side_by_side_take_their_own_ways():
    """Three ragged sequences in one step; oracle: each alone in the engine."""
    b = bench("dense", "exits_after_two_blocks")
    runner, rng, engine = runner_for(b.program, b.weights), np.random.default_rng(5), b.engine()
    work = [(runner.begin(), rng.integers(0, 301, n).tolist()) for n in (9, 1, 14)]
    paths = set()
    for (_, tokens), log_p in zip(work, runner.forward(work), strict=True):
        engine.reset()
        for token, row in zip(tokens, log_p, strict=True):
            engine.feed(token)
            paths.add(engine.path)
            np.testing.assert_allclose(np.exp(row), engine.distribution(), rtol=RTOL, atol=1e-9)
    assert paths == {0, 1, 2}


def test_a_program_that_leaves_something_else_goes_to_the_engine():
    """A file may say anything: no row of a batch may differ from the engine's."""
    b = bench("dense", "exits_after_two_blocks")
    values = b.program.to_plain()
    tests = [i for i, op in enumerate(values["body"]) if op["op"] == "exit_test"]
    first = tests[1] + 1 + values["body"][tests[1]]["full"]
    values["body"][first]["x"] = "a"  # keys of another vector of the same width
    program = Program.from_plain(values)
    assert isinstance(runner_for(program, b.weights), EngineRunner)
    with pytest.raises(ConfigError, match="no 'exit_test'; use runner_for"):
        BatchRunner(program, b.weights)


def test_fields_at_their_defaults_add_nothing():
    fields: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(EarlyExit)}
    assert dense.stack(dataclasses.replace(CONFIG, **fields)) == dense.stack(CONFIG)
    assert not dense.stack(CONFIG).program().flow.tests
