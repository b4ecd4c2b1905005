"""Oracles: torch's kl_div on whole distributions, KL written out outcome by outcome, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.layers.functions.losses import fused_cross_entropy
from weightless.layers.functions.teaching import (
    Kept,
    kept_of,
    kl_of_kept,
    taught_by_log_probs,
    taught_cross_entropy,
)

N, D, V = 67, 13, 63


def material(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(h, w, targets with padding, the teacher's logits)."""
    made = torch.Generator().manual_seed(3)
    h_ND, w_VD = (torch.randn(n, D, generator=made, dtype=dtype) for n in (N, V))
    targets_N = torch.randint(0, V, (N,), generator=made)
    targets_N[::9] = -1
    return h_ND, w_VD, targets_N, 2 * torch.randn(N, V, generator=made, dtype=dtype)


def exact_kept(z_NV: torch.Tensor, k: int, temperature: float) -> Kept:
    """`kept_of` without rounding to float32."""
    p_NV = (z_NV / temperature).softmax(dim=1)
    top_NK, ids_NK = p_NV.topk(k, dim=1)
    return Kept(ids_NK, top_NK.log(), 1 - top_NK.sum(dim=1))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_every_token_kept_it_is_the_kl_of_whole_distributions(temperature):
    h_ND, w_VD, targets_N, z_NV = material()
    kept = kept_of(z_NV, V, temperature)
    q_NV, t_NV = ((z / temperature).log_softmax(dim=1) for z in (h_ND @ w_VD.T, z_NV))
    wanted = F.kl_div(q_NV, t_NV, reduction="none", log_target=True).sum(dim=1)
    assert torch.equal(kept.rest_N, torch.zeros(N))
    # kept_of works in float32: 1e-6 of logits up to 30.
    torch.testing.assert_close(kl_of_kept(h_ND @ w_VD.T, kept, temperature), wanted, rtol=1e-5, atol=1e-5)
    fused = taught_cross_entropy(h_ND, w_VD, targets_N, kept, 0.5, temperature).kl
    torch.testing.assert_close(fused, wanted.where(targets_N >= 0, 0.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_outcome_by_outcome(k):
    """Six tokens, so that everything can be written out."""
    made = torch.Generator().manual_seed(k)
    student, teacher = (torch.randn(1, 6, generator=made, dtype=torch.float64) for _ in range(2))
    t, q = teacher[0].softmax(0).tolist(), student[0].softmax(0).tolist()
    best = sorted(range(6), key=lambda v: -t[v])[:k]
    others = [v for v in range(6) if v not in best]
    wanted = sum(t[v] * math.log(t[v] / q[v]) for v in best)
    rest = sum(t[v] for v in others), sum(q[v] for v in others)
    wanted += rest[0] * math.log(rest[0] / rest[1])
    assert float(kl_of_kept(student, exact_kept(teacher, k, 1.0))) == pytest.approx(wanted, rel=1e-9)
    whole = F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="sum", log_target=True)
    assert 0 <= wanted <= float(whole) + 1e-12  # putting outcomes together cannot raise a KL


@pytest.mark.parametrize(("temperature", "softcap", "k"), [(1.0, None, 7), (3.0, None, 7), (2.0, 4.0, V)])
def test_the_gradient_numerically(temperature, softcap, k):
    """Central differences in float64, with upstream weights that differ, and against PyTorch's own gradient."""
    h_ND, w_VD, targets_N, z_NV = material()
    kept, weights_N = exact_kept(z_NV, k, temperature), torch.linspace(0.5, 2, N, dtype=torch.float64)

    def objective(h: torch.Tensor, w: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return (taught_cross_entropy(h, w, targets_N, kept, 0.3, temperature, softcap).objective * g).sum()

    for g_N in (weights_N, torch.ones_like(weights_N)):
        h, w = h_ND.clone().requires_grad_(), w_VD.clone().requires_grad_()
        objective(h, w, g_N).backward()
        for tensor, gradient in ((h_ND, h.grad), (w_VD, w.grad)):
            for at in ((1, 2), (40, 12), (0, 0)):
                ends = []
                for step in (1e-6, -1e-6):
                    moved = tensor.clone()
                    moved[at] += step
                    pair = (moved, w_VD) if tensor is h_ND else (h_ND, moved)
                    ends.append(float(objective(*pair, g_N)))
                # 1e-6 steps of a sum near 300 in float64 leave about seven digits.
                assert float(gradient[at]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)
        plain_h, plain_w = h_ND.clone().requires_grad_(), w_VD.clone().requires_grad_()
        z = plain_h @ plain_w.T
        z = z if softcap is None else softcap * (z / softcap).tanh()
        nats = F.cross_entropy(z, targets_N, reduction="none", ignore_index=-1)
        plain = taught_by_log_probs(
            nats[None], z.log_softmax(1)[None], targets_N[None], kept, 0.3, temperature
        ).objective
        (plain[0] * g_N).sum().backward()
        torch.testing.assert_close(h.grad, plain_h.grad)
        torch.testing.assert_close(w.grad, plain_w.grad)


def test_without_weight_it_is_the_plain_loss_to_the_bit():
    h_ND, w_VD, targets_N, z_NV = material(torch.float32)
    kept, gradients = kept_of(z_NV, 7), []
    for taught in (False, True):
        h, w = h_ND.clone().requires_grad_(), w_VD.clone().requires_grad_()
        if taught:
            found = taught_cross_entropy(h, w, targets_N, kept, 0.0, 2.0)
            assert torch.equal(found.objective, found.nats) and float(found.kl.sum()) > 1
            nats = found.objective
        else:
            nats = fused_cross_entropy(h, w, targets_N)
        (nats.sum() / 60).backward()
        gradients.append((nats.detach(), h.grad, w.grad))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_padding_costs_nothing_and_what_does_not_fit_is_refused():
    h_ND, w_VD, targets_N, z_NV = material()
    found = taught_cross_entropy(h_ND, w_VD, targets_N, kept_of(z_NV, 7), 0.5)
    assert all(torch.equal(part[targets_N < 0], torch.zeros(int((targets_N < 0).sum()))) for part in found)
    assert not found.nats.requires_grad and not found.kl.requires_grad
    with pytest.raises(ConfigError, match="64 tokens cannot be kept of a distribution over 63"):
        kept_of(z_NV, V + 1)
    with pytest.raises(ConfigError, match="teacher have shapes"):
        taught_cross_entropy(h_ND, w_VD, targets_N, kept_of(z_NV[1:], 7), 0.5)


def test_a_teacher_that_rules_tokens_out_stays_finite():
    """A probability of 0 among the kept costs nothing; one that the student has for certain still has a loss."""
    teacher = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]])
    student = torch.tensor([[0.0, 0.0, 0.0, 200.0]], requires_grad=True)
    kl = kl_of_kept(student, kept_of(teacher, 3))
    kl.sum().backward()
    assert math.isfinite(float(kl.detach())) and bool(student.grad.isfinite().all())
