"""Oracle: torch.nn.functional.cross_entropy and autograd's own gradients, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.layers.class_head import ClassHead
from weightless.layers.functions import losses
from weightless.layers.functions.losses import class_cross_entropy, fused_cross_entropy, group_cross_entropy

TIGHT = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of at most a few hundred terms


def _inputs(n: int, v: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(n, d, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(v, d, generator=generator, dtype=torch.float64, requires_grad=True)
    return h, w, torch.randint(v, (n,), generator=generator)


@pytest.mark.parametrize("upstream", ["mean", "weights"])
@pytest.mark.parametrize(("n", "v", "d"), [(1, 2, 1), (63, 17, 5), (201, 33, 7)])
def test_full_softmax_equals_torch(n: int, v: int, d: int, upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "BLOCK_ELEMENTS", 64 * v)  # several blocks, the last one ragged
    h, w, targets = _inputs(n, v, d)
    g = torch.full((n,), 1 / n) if upstream == "mean" else torch.linspace(-1, 2, n)
    g = g.double()
    ours = fused_cross_entropy(h, w, targets)
    theirs = F.cross_entropy(h @ w.T, targets, reduction="none")
    torch.testing.assert_close(ours, theirs, **TIGHT)
    for mine, other in zip(torch.autograd.grad(ours, (h, w), g), torch.autograd.grad(theirs, (h, w), g), strict=True):
        torch.testing.assert_close(mine, other, **TIGHT)


def test_full_softmax_gradcheck_and_partial_gradients() -> None:
    h, w, targets = _inputs(9, 11, 3)
    assert torch.autograd.gradcheck(lambda a, b: fused_cross_entropy(a, b, targets), (h, w))
    only_h = torch.autograd.grad(fused_cross_entropy(h, w.detach(), targets).sum(), h)[0]
    both = torch.autograd.grad(fused_cross_entropy(h, w, targets).sum(), (h, w))
    torch.testing.assert_close(only_h, both[0], **TIGHT)
    assert not fused_cross_entropy(h.detach(), w.detach(), targets).requires_grad


def test_large_logits_stay_finite() -> None:
    h = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    nats = fused_cross_entropy(h, torch.eye(2), torch.tensor([1]))
    assert nats.item() == 2000.0  # exact: the other exponential underflows to 0
    nats.sum().backward()
    assert torch.isfinite(h.grad).all()


def _slow_class_nats(h, classes, words, slots, n_valid):
    """The full distribution over slots, from its definition."""
    c, s = classes.shape[0], words.shape[0]
    logits = h @ words.T
    logits[:, n_valid:] = float("-inf")
    within = torch.log_softmax(logits.view(-1, c, s // c), dim=2)
    log_p = torch.log_softmax(h @ classes.T, dim=1)[:, :, None] + within
    return log_p.view(-1, s), -log_p.view(-1, s).gather(1, slots[:, None])[:, 0]


@pytest.mark.parametrize(("n", "c", "w", "pad"), [(1, 1, 2, 0), (63, 5, 7, 3), (40, 64, 3, 1), (17, 4, 1, 0)])
def test_class_head_equals_its_definition(n: int, c: int, w: int, pad: int) -> None:
    h, words, _ = _inputs(n, c * w, 6)
    classes = _inputs(1, c, 6, seed=1)[1]
    slots = torch.randint(c * w - pad, (n,), generator=torch.Generator().manual_seed(2))
    slots[-1] = c * w - pad - 1  # the last class occurs
    ours = class_cross_entropy(h, classes, words, slots, c * w - pad)
    log_p, theirs = _slow_class_nats(h, classes, words, slots, c * w - pad)
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(n, dtype=torch.float64), **TIGHT)
    g = torch.linspace(-1, 2, n, dtype=torch.float64)
    leaves = (h, classes, words)
    for mine, other in zip(torch.autograd.grad(ours, leaves, g), torch.autograd.grad(theirs, leaves, g), strict=True):
        torch.testing.assert_close(mine, other.nan_to_num(), **TIGHT)


def test_class_head_gradcheck_with_padding_and_empty_classes() -> None:
    h, words, _ = _inputs(5, 12, 3)
    classes = _inputs(1, 4, 3, seed=1)[1]
    slots = torch.tensor([0, 10, 2, 9, 0])
    assert torch.autograd.gradcheck(lambda a, b, m: class_cross_entropy(a, b, m, slots, 11), (h, classes, words))


def test_shapes_that_do_not_fit_are_told() -> None:
    h, w, targets = _inputs(4, 6, 3)
    with pytest.raises(ConfigError, match="shapes"):
        fused_cross_entropy(h, w[:, :2], targets)
    with pytest.raises(ConfigError, match="only the last"):
        class_cross_entropy(h, w[:3], w, targets, 4)
    with pytest.raises(ConfigError, match="do not fit"):
        class_cross_entropy(h, w[:4], w, targets, 6)


def _same_gradients(ours: torch.Tensor, theirs: torch.Tensor, leaves: tuple[torch.Tensor, ...]) -> None:
    g = torch.linspace(-1, 2, len(ours), dtype=torch.float64)
    for upstream in (g, torch.ones_like(g)):
        both = [torch.autograd.grad(nats, leaves, upstream, retain_graph=True) for nats in (ours, theirs)]
        for mine, other in zip(*both, strict=True):
            torch.testing.assert_close(mine, other, **TIGHT)


@pytest.mark.parametrize("softcap", [0.7, 30.0])
@pytest.mark.parametrize(("n", "v", "d"), [(1, 2, 1), (163, 17, 5)])
def test_capped_softmax_equals_torch(n: int, v: int, d: int, softcap: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: cross_entropy of capped logits with ignore_index; some targets are padding, every weight is another."""
    monkeypatch.setattr(losses, "BLOCK_ELEMENTS", 64 * v)
    h, w, targets = _inputs(n, v, d)
    targets[1::5] = -1
    ours = fused_cross_entropy(h, w, targets, softcap)
    logits = softcap * torch.tanh(h @ w.T / softcap)
    theirs = F.cross_entropy(logits, targets, reduction="none", ignore_index=-1)
    torch.testing.assert_close(ours, theirs, **TIGHT)
    _same_gradients(ours, theirs, (h, w))


@pytest.mark.parametrize(("n", "groups", "size", "pad"), [(1, 1, 2, 0), (63, 5, 7, 3), (41, 64, 3, 1)])
def test_words_of_groups_equal_their_definition(n: int, groups: int, size: int, pad: int) -> None:
    """Oracle: cross_entropy over the rows of the target's own group."""
    h, words, slots = _inputs(n, groups * size, 6)
    n_valid = groups * size - pad
    slots = slots % n_valid
    slots[2::4] = -1
    ours = group_cross_entropy(h, words, slots, groups, n_valid)
    parts = []
    for h_D, slot in zip(h, slots.tolist(), strict=True):
        first = slot // size * size
        rows = words[first : min(first + size, n_valid)]
        score_1W = (rows @ h_D)[None]
        parts.append(h_D.sum() * 0 if slot < 0 else F.cross_entropy(score_1W, torch.tensor([slot - first])))
    theirs = torch.stack(parts)
    torch.testing.assert_close(ours, theirs, **TIGHT)
    _same_gradients(ours, theirs + 0 * words.sum(), (h, words))


@pytest.mark.parametrize(("v", "n_classes", "normed"), [(61, 0, True), (30, 2, False), (7, 7, True)])
def test_a_head_of_three_levels_is_one_distribution(v: int, n_classes: int, normed: bool) -> None:
    """Oracle: p(class) p(group | class) p(word | group) from the definition, token by token."""
    head = ClassHead(v, 5, 1e-5, "f32", 0.02, n_classes, "frequency", 3, normed)
    generator = torch.Generator().manual_seed(3)
    p = {s.name: torch.randn(s.shape, generator=generator, dtype=torch.float64) for s in head.parameters()}
    slot_of_token = torch.randperm(v, generator=generator)
    x = torch.randn(1, v, 5, generator=generator, dtype=torch.float64)
    tokens = torch.arange(v)[None]
    constants = {"slot_of_token": slot_of_token[:, None], "token_of_slot": slot_of_token.argsort()[:, None]}
    p |= {name: column[:, 0] for name, column in constants.items()}
    log_p = head.log_probs(p, x)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(1, v, dtype=torch.float64), **TIGHT)
    h = F.rms_norm(x[0], (5,), p["final_norm"][0], 1e-5) if normed else x[0]
    W, M, G = head.n_words, head.n_groups, head.groups
    for t in range(v):
        slot = int(slot_of_token[t])
        group, place = divmod(slot, W)
        c, m = divmod(group, M)
        levels = [
            (p["classes"], c),
            (p["groups"][c * M : min(c * M + M, G)], m),
            (p["words"][group * W : min(group * W + W, v)], place),
        ]
        wanted = sum(torch.log_softmax(rows @ h[0], 0)[at] for rows, at in levels)
        torch.testing.assert_close(log_p[0, 0, t], wanted, **TIGHT)
    torch.testing.assert_close(head.nats(p, x, tokens)[0], -log_p[0].diagonal(), **TIGHT)
