"""Layers that hold layers: the same ones gone through again, and skips from the first half to the second.

Oracles: a flat stack whose blocks have copies of the shared weights; a window written out by hand; the counters of
`verify`, which must agree on a program that nobody has written down.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from lab.test_accounting import T, kept_by_autograd

from weightless.audit.counters.subjects import of_configuration
from weightless.audit.counters.verify import verify
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.decode.batch_runner import BatchRunner
from weightless.lab.accounting import family_model
from weightless.layers.attention import Attention
from weightless.layers.experts import Experts
from weightless.layers.feedforward import FeedForward
from weightless.layers.layer import Layer, Record, Window
from weightless.layers.repeat import Repeat
from weightless.layers.residual import Residual
from weightless.layers.stack import Stack, StackModel
from weightless.layers.unet import UNet, unet
from weightless.models import dense
from weightless.models.catalog import Trained
from weightless.program.program import Program
from weightless.train.initialise import initial_parameters

CONFIG = dense.Config(61, 24, 2, n_heads=2, d_ff=30, context=19, weight_format="f32", kv_format="f32")


def block(i: int) -> tuple[Layer, ...]:
    c = CONFIG
    joins = [Residual(f"block.{i}.{half}_", c.d_model, c.eps) for half in ("attn", "ffn")]
    heads = (2, 2, 12, c.context, c.rope_theta)
    return (
        Attention(i, joins[0], *heads, "f32", "f32", 0.2, 0.2),
        FeedForward(i, joins[1], 30, "swiglu", "f32", 0.2, 0.2),
    )


def around(*layers: Layer) -> Stack:
    """The embedding and head of dense around other layers."""
    flat = dense.stack(CONFIG)
    return dataclasses.replace(flat, layers=(flat.layers[0], *layers))


def repeated(c: dense.Config) -> Stack:
    return around(Repeat((*block(0), *block(1)), 3, CONFIG.d_model, "f32"))


def skipping(c: dense.Config) -> Stack:
    return around(unet((block(0), block(1)), (block(2), block(3), block(4)), CONFIG.d_model))


def nested(c: dense.Config) -> Stack:
    inner = Repeat(block(1), 2, CONFIG.d_model, "f32")
    return around(unet((block(0),), ((inner,),), CONFIG.d_model))


STACKS = {"repeat": repeated, "unet": skipping, "a repeat in a unet": nested}


@pytest.mark.parametrize("made", STACKS.values(), ids=STACKS)
def test_all_counters_agree_and_engines_give_the_same_nats(monkeypatch, made):
    monkeypatch.setattr(dense, "FAMILY", Trained(dense.Config, made))
    subject = of_configuration("dense", CONFIG)
    found = verify(subject, trials=60)
    assert found.ok, found.counters
    model, x, y = StackModel(made(CONFIG)), subject.tokens, subject.targets
    with torch.no_grad():
        nats = model.losses(subject.parameters(), torch.from_numpy(x)[None], torch.from_numpy(y)[None])[0]
    np.testing.assert_allclose(subject.engine().score_stream(x, y), nats.numpy(), atol=2e-5)
    runner = BatchRunner(subject.program, subject.weights)
    (log_p,) = runner.forward([(runner.begin(), x.tolist())])
    np.testing.assert_allclose(-log_p[np.arange(len(y)), y], nats.numpy(), atol=2e-5)


@pytest.mark.parametrize("made", STACKS.values(), ids=STACKS)
def test_what_is_kept_is_what_autograd_keeps(monkeypatch, made):
    """Per sequence, as in the accounting of families, to the byte."""
    longer = dataclasses.replace(CONFIG, context=63)
    monkeypatch.setitem(globals(), "CONFIG", longer)
    monkeypatch.setattr(dense, "FAMILY", Trained(dense.Config, made))
    wanted = sum(part.nbytes for part in family_model("dense", longer).activations(T))
    assert kept_by_autograd("dense", longer, 5) - kept_by_autograd("dense", longer, 3) == 2 * wanted


def losses(stack: Stack, p: dict[str, torch.Tensor]) -> torch.Tensor:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 61, (2, 17)))
    return StackModel(stack).losses(p, tokens[:, :-1], tokens[:, 1:])


def test_passes_are_a_flat_stack_with_copies_of_the_weights():
    """Nats, and the gradient of a shared weight as the sum over its copies."""
    shared = around(Repeat(block(0), 3, CONFIG.d_model, "f32", iteration=""))
    flat = around(*block(0), *block(1), *block(2))
    p = initial_parameters(shared.parameters(), 1)
    q = {name: tensor.detach().clone() for name, tensor in p.items()}
    for i in (1, 2):
        q |= {n.replace("block.0", f"block.{i}"): t.clone() for n, t in q.items() if n.startswith("block.0.")}
    q = {name: tensor.requires_grad_() for name, tensor in q.items()}
    one, two = losses(shared, p), losses(flat, q)
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    one.sum().backward()
    two.sum().backward()
    summed = sum(q[f"block.{i}.qkv"].grad for i in range(3))
    torch.testing.assert_close(p["block.0.qkv"].grad, summed, rtol=1e-5, atol=1e-6)


def test_passes_apart_are_the_passes_together():
    """The same program and nats; what a step has counted is acted on by one of the parts."""
    whole = Repeat((*block(0), *block(1)), 3, CONFIG.d_model, "f32")
    one, two = around(whole), around(*whole.apart())
    assert one.program() == two.program() and one.parameters() == two.parameters() and one.kept(17) == two.kept(17)
    p = initial_parameters(one.parameters(), 1)
    torch.testing.assert_close(losses(one, p), losses(two, p), rtol=0, atol=0)
    moved = []

    class Counting(FeedForward):
        def after_step(self, p, record):
            moved.append(self.block)

    counting = dataclasses.replace(whole, layers=(Counting(**vars(block(0)[1])),))
    for part in counting.apart():
        part.after_step({}, Record())
    assert moved == [0]


def test_a_pass_is_told_by_its_row():
    stack = around(Repeat(block(0), 2, CONFIG.d_model, "f32"))
    p = initial_parameters(stack.parameters(), 1)
    p = {name: tensor.detach() for name, tensor in p.items()}
    swapped = {**p, "iteration": p["iteration"].flip(0)}
    assert not torch.equal(losses(stack, p), losses(stack, swapped))
    assert stack.program().by_name["kv.0.pass.1"].shape == stack.program().by_name["kv.0.pass.0"].shape


def test_skips_by_hand():
    """x = second(x + w_0 k_1) …: the last one kept comes first."""
    stack = skipping(CONFIG)
    p = {name: t.detach() for name, t in initial_parameters(stack.parameters(), 2).items()}
    p |= {f"skip.{j}": torch.full((1, 24), 0.5 + j) for j in range(2)}
    window, skips = Window(torch.randint(61, (1, 9))), stack.layers[1]
    assert isinstance(skips, UNet)
    x = stack.layers[0].forward(p, None, window)

    def through(i: int, x: torch.Tensor) -> torch.Tensor:
        for layer in block(i):
            x = layer.forward(p, x, window)
        return x

    one = through(0, x)
    two = through(1, one)
    wanted = through(4, through(3, through(2, two + 0.5 * two) + 1.5 * one))
    torch.testing.assert_close(skips.forward(p, x, window), wanted, rtol=0, atol=0)


def test_experts_that_are_gone_through_twice_are_counted_twice():
    experts = Experts(
        0, Residual("block.0.ffn_", 24, 1e-5), 4, 2, 6, 0, "silu", "softmax", "loss", 0.1, "f32", 0.2, 0.2
    )
    stack = around(Repeat((experts,), 3, 24, "f32"))
    record, p = Record(), initial_parameters(stack.parameters(), 0)
    tokens = torch.randint(61, (2, 7))
    StackModel(stack).losses(p, tokens, tokens, record=record)
    assert record.counts["block 0"].sum() == 3 * 2 * 7 * 2 and len(record.auxiliary) == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Repeat(block(0), 0, 24, "f32"), "0 passes"),
        (lambda: Repeat((), 2, 24, "f32"), "through 0 layers"),
        (lambda: unet((), (block(0),), 24), "0 blocks push"),
        (lambda: unet((block(0), block(1)), (block(2),), 24), "2 blocks push and 1 pop"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize(
    ("made", "name", "change"),
    [
        (repeated, "add_row", {"row": 3}),
        (repeated, "add_row", {"row": -1}),
        (repeated, "add_row", {"table": "x"}),
        (skipping, "keep", {"out": "x"}),
        (skipping, "keep", {"out": "history"}),
        (skipping, "add_kept", {"skip": "x"}),
        (skipping, "add_kept", {"gains": "kept.0"}),
    ],
)
def test_a_program_that_does_not_fit_is_refused(made, name, change):
    values = made(CONFIG).program().to_plain()
    entry = next(op for op in values["body"] if op["op"] == name)
    entry.update(change)
    with pytest.raises(CorruptFileError):
        Program.from_plain(values)
