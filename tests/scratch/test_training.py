"""Loss, optimizers, schedule, clipping, batches.

Oracles: torch.nn.functional.cross_entropy, torch.optim.AdamW, torch.nn.utils.clip_grad_norm_; the binomial
distribution for batches; the toy of the exercise worked out in Python floats.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scratch.inputs import HALVES, random, strided
from torch.nn import functional as F

from weightless.scratch import SGD, AdamW, clip_gradients, cross_entropy, get_batch, get_lr_cosine_schedule


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 1, 4)])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy(leading, scale, dtype):
    z = random(*leading, 7, dtype=dtype) * scale
    targets = torch.randint(7, leading, generator=torch.Generator().manual_seed(1))
    expected = F.cross_entropy(z.reshape(-1, 7), targets.reshape(-1))
    torch.testing.assert_close(cross_entropy(z, targets), expected)
    torch.testing.assert_close(cross_entropy(strided(z), targets.int()), expected)


def test_cross_entropy_at_the_ends():
    z = torch.tensor([[1e4, -1e4, 0.0]])
    assert [cross_entropy(z, torch.tensor([i])).item() for i in range(3)] == [0.0, 2e4, 1e4]
    assert cross_entropy(torch.zeros(4, 10), torch.arange(4)).item() == pytest.approx(math.log(10))
    assert cross_entropy(torch.zeros(0, 10), torch.zeros(0).long()).isnan()
    with pytest.raises(ValueError, match="targets have shape"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(3, 2).long())
    for bad in (5, -100):
        with pytest.raises((IndexError, RuntimeError)):
            cross_entropy(torch.zeros(1, 5), torch.tensor([bad]))


@pytest.mark.parametrize("dtype", HALVES)
def test_cross_entropy_in_half_precision(dtype):
    """Within half a unit of the last place of a loss between 2 and 4."""
    z, targets = random(4, 7, dtype=dtype), torch.tensor([0, 1, 2, 6])
    loss = cross_entropy(z, targets)
    assert loss.dtype == dtype
    exact = F.cross_entropy(z.double(), targets)
    torch.testing.assert_close(loss.double(), exact, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_cross_entropy_gradient():
    z = random(3, 5, dtype=torch.float64).requires_grad_()
    targets = torch.tensor([0, 4, 4])
    (ours,) = torch.autograd.grad(cross_entropy(z, targets), z)
    (theirs,) = torch.autograd.grad(F.cross_entropy(z, targets), z)
    torch.testing.assert_close(ours, theirs)


def toy_losses(lr: float) -> list[float]:
    """The exercise: ten steps on the mean of squares of 100 weights from N(0, 5^2), and the loss before each."""
    torch.manual_seed(0)
    weights = torch.nn.Parameter(5 * torch.randn(10, 10))
    optimizer, losses = SGD([weights], lr=lr), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = weights.square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return losses


@pytest.mark.parametrize("lr", [1.0, 10.0, 100.0, 1000.0])
def test_sgd_toy(lr):
    """The gradient is w / 50, so step t multiplies the loss by (1 - lr / (50 sqrt(t + 1)))^2."""
    losses = toy_losses(lr)
    expected = [losses[0]]
    for t in range(9):
        expected.append(expected[-1] * (1 - lr / (50 * math.sqrt(t + 1))) ** 2)
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-12)  # at lr 100 step 3 cancels all but rounding


def test_sgd_toy_in_words():
    decays, collapses, explodes = (toy_losses(lr) for lr in (10.0, 100.0, 1000.0))
    assert decays == sorted(decays, reverse=True) and 1 < decays[-1] < decays[0]
    assert collapses[1] == pytest.approx(collapses[0], rel=1e-5) and collapses[-1] < 1e-20
    assert 1e17 < explodes[-1] < 1e20 and explodes == sorted(explodes)


def test_sgd_closure_frozen_and_refused():
    w, frozen = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = SGD([w, frozen], lr=1.0)

    def closure():
        optimizer.zero_grad()
        loss = w.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert w.tolist() == [-1.0, -1.0] and frozen.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="lr"):
        SGD([w], lr=-1.0)


def grouped(cls, seed: int):
    """A small network, two groups with rates and decays of their own, and one parameter without a gradient."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    unused = torch.nn.Parameter(torch.ones(4))
    groups = [
        {"params": [net[0].weight, net[2].weight, unused], "weight_decay": 0.1},
        {"params": [net[0].bias, net[2].bias], "weight_decay": 0.0, "lr": 3e-3, "betas": (0.8, 0.95)},
    ]
    return net, unused, cls(groups, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def train(net, optimizer, steps, first=0):
    for t in range(first, first + steps):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(t))
        rate = get_lr_cosine_schedule(t, 1.0, 0.1, 100, 900)
        for group, peak in zip(optimizer.param_groups, (1e-2, 3e-3), strict=True):
            group["lr"] = peak * rate
        optimizer.zero_grad()
        F.mse_loss(net(x), x[:, :3].sin()).backward()
        optimizer.step()


def test_adamw_is_torchs_for_a_thousand_steps():
    """Within 1e-6: the same operations in the same order, but for one division (by the root of 1 - b2^t)."""
    ours, unused, optimizer = grouped(AdamW, 1)
    theirs, _, reference = grouped(torch.optim.AdamW, 1)
    begin = ours[0].weight.detach().clone()
    train(ours, optimizer, 1000)
    train(theirs, reference, 1000)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert (ours[0].weight - begin).abs().max() > 0.1 and unused.tolist() == [1.0] * 4


@pytest.mark.parametrize(("saved", "loaded"), [(AdamW, AdamW), (AdamW, torch.optim.AdamW), (torch.optim.AdamW, AdamW)])
def test_adamw_state_goes_on(saved, loaded):
    """Ten steps, the state into a new optimizer, ten more: as twenty in one go; also between torch's and ours."""
    whole, _, optimizer = grouped(saved, 2)
    train(whole, optimizer, 20)
    net, _, optimizer = grouped(saved, 2)
    train(net, optimizer, 10)
    other, _, successor = grouped(loaded, 3)
    other.load_state_dict(net.state_dict())
    successor.load_state_dict(optimizer.state_dict())
    train(other, successor, 10, first=10)
    near = 0 if saved is loaded else 1e-7
    for a, b in zip(whole.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=near)


def test_adamw_first_step_by_hand():
    """m / (1 - b1) = g and v / (1 - b2) = g^2: a step of lr against the sign, after the decay."""
    w = torch.nn.Parameter(torch.tensor([2.0, -2.0], dtype=torch.float64))
    optimizer = AdamW([w], lr=0.1, weight_decay=0.5, eps=0.0)
    w.grad = torch.tensor([3.0, 0.001], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.tensor([2 * 0.95 - 0.1, -2 * 0.95 - 0.1], dtype=torch.float64))


@pytest.mark.parametrize("dtype", HALVES)
def test_adamw_keeps_half_precision(dtype):
    w = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = AdamW([w], lr=0.1, eps=1e-4)
    w.grad = torch.ones_like(w)
    optimizer.step()
    assert {w.dtype, *(s.dtype for s in optimizer.state[w].values() if torch.is_tensor(s))} == {dtype}
    assert w.isfinite().all() and (w < 1).all()


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"eps": -1.0}, {"weight_decay": -1.0}, {"betas": (0.9, 1.0)}])
def test_adamw_refuses(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        AdamW([torch.nn.Parameter(torch.ones(1))], **wrong)


def test_cosine_schedule():
    """The exercise's own example: max 1, min 0.1, 7 and 21 iterations, by the formula and at its corners."""
    rates = [get_lr_cosine_schedule(t, 1.0, 0.1, 7, 21) for t in range(25)]
    assert rates[:8] == pytest.approx([t / 7 for t in range(8)])
    assert rates[14] == pytest.approx(0.55) and rates[21:] == [0.1] * 4
    assert rates[10] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 3 / 14)))
    assert get_lr_cosine_schedule(0, 1.0, 0.1, 0, 10) == 1.0
    assert [get_lr_cosine_schedule(t, 1.0, 0.1, 5, 5) for t in (4, 5)] == [0.8, 0.1]
    with pytest.raises(ValueError, match="T_w <= T_c"):
        get_lr_cosine_schedule(0, 1.0, 0.1, 6, 5)


def with_gradients(dtype=torch.float32) -> list[torch.nn.Parameter]:
    found = []
    for n in (3, 5, 0, 1):
        p = torch.nn.Parameter(torch.zeros(n, 4, dtype=dtype))
        p.grad = random(n, 4, dtype=dtype)
        found.append(p)
    frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    return [*found[:2], frozen, *found[2:], torch.nn.Parameter(torch.ones(2))]


@pytest.mark.parametrize("most", [1e-2, 1.0, 1e3, 0.0])
def test_clipping(most):
    ours, theirs = with_gradients(), with_gradients()
    norm = clip_gradients((p for p in ours), most)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, most))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


def test_clipping_of_little_and_of_wrong():
    assert clip_gradients([], 1.0).item() == 0.0
    assert clip_gradients([torch.nn.Parameter(torch.ones(2))], 1.0).item() == 0.0
    w = torch.nn.Parameter(torch.zeros(2))
    w.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients(w, 1.0).item() == 5.0
    torch.testing.assert_close(w.grad, torch.tensor([3.0, 4.0]) / (5 + 1e-6))
    with pytest.raises(ValueError, match="negative"):
        clip_gradients([w], -1.0)


def test_clipping_float16_beyond_its_largest_norm():
    w = torch.nn.Parameter(torch.zeros(400, dtype=torch.float16))
    w.grad = torch.full((400,), 6e4, dtype=torch.float16)
    assert clip_gradients([w], 1.0).item() == pytest.approx(20 * 60_000)
    torch.testing.assert_close(w.grad, torch.full((400,), 0.05, dtype=torch.float16), rtol=1e-3, atol=0)


def test_batches_reach_both_ends():
    """Starts 0 ... 92 of 100 tokens, each as often as any other: chi squared of 93 classes below 1 - 1e-6."""
    torch.manual_seed(0)
    seen: Counter[int] = Counter()
    for _ in range(100):
        x, y = get_batch(np.arange(100), 93, 7)
        assert x.shape == y.shape == (93, 7) and x.dtype == y.dtype == torch.int64
        assert torch.equal(x + 1, y) and x.is_contiguous() and y.is_contiguous()
        seen.update(x[:, 0].tolist())
    assert min(seen) == 0 and max(seen) == 92
    assert sum((n - 100) ** 2 / 100 for n in seen.values()) < 172


def test_batches_of_every_kind_of_row(tmp_path):
    """A memory-mapped uint16 file, arrays, tensors and lists, with the same generator the same batch."""
    tokens = np.arange(60_000, 60_050, dtype=np.uint16)
    tokens.tofile(tmp_path / "tokens.bin")
    mapped = np.memmap(tmp_path / "tokens.bin", dtype=np.uint16, mode="r")
    rows = [mapped, tokens, tokens.astype(np.int64), torch.from_numpy(tokens.astype(np.int32)), tokens.tolist()]
    batches = [get_batch(row, 4, 9, generator=torch.Generator().manual_seed(7)) for row in rows]
    for x, y in batches:
        assert torch.equal(x, batches[0][0]) and torch.equal(y, batches[0][1]) and x.min() >= 60_000
    x, y = get_batch(tokens[:10], 3, 9)
    assert x[0].tolist() == list(range(60_000, 60_009)) and y[2, -1] == 60_009


def test_batches_refused():
    with pytest.raises(ValueError, match="one more is needed"):
        get_batch(np.arange(9), 1, 9)
    with pytest.raises(ValueError, match="float64"):
        get_batch(np.zeros(20), 1, 9)
    with pytest.raises(ValueError, match="2 dimensions"):
        get_batch(np.zeros((20, 2), dtype=int), 1, 9)
    with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|cuda"):
        get_batch(np.arange(100), 1, 9, "cuda:99")
    assert get_batch(np.arange(100), 2, 9, "meta")[0].device.type == "meta"
