"""Sparse feed-forward blocks: who is chosen, with what weight, and what is learned.

Oracle: every token by itself, with PyTorch's own functions in float64, and NumPy's `ops.experts`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.layers import functions as L
from weightless.ops.experts import gates_of, scored
from weightless.train.optimizers.muon import Muon

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
N, D = 23, 5


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_token(h_ND, scores_NE, bias_E, up, down, k, scoring, activation):
    """(outputs, mean share of choices, chosen) from looking at one token at a time."""
    E, rows, chosen = scores_NE.shape[1], [], []
    for h, s in zip(h_ND, scores_NE, strict=True):
        p = torch.softmax(s, 0) if scoring == "softmax" else 1 / (1 + torch.exp(-s))
        wanted = (p if bias_E is None else p + bias_E).tolist()
        best = sorted(range(E), key=lambda e: (-wanted[e], e))[:k]
        total = sum(p[e] for e in best) if k > 1 else 1.0
        out = torch.zeros(D, dtype=torch.float64)
        for e in best:
            hidden = up.view(E, -1, D)[e] @ h
            if activation == "swiglu":
                gate, value = hidden.chunk(2)
                inner = F.silu(gate) * value
            else:
                inner = {"silu": F.silu, "relu2": lambda z: F.relu(z) ** 2}[activation](hidden)
            out = out + p[e] / total * (down.view(E, D, -1)[e] @ inner)
        rows.append(out)
        chosen.append(best)
    return torch.stack(rows), torch.tensor(chosen)


CASES = [
    (5, 2, "softmax", "swiglu", False),
    (5, 1, "softmax", "silu", True),
    (5, 1, "sigmoid", "relu2", True),
    (3, 3, "softmax", "relu2", True),
    (33, 4, "sigmoid", "swiglu", True),
    (1, 1, "softmax", "silu", False),
]


@pytest.mark.parametrize(("E", "k", "scoring", "activation", "biased"), CASES)
def test_experts_equal_a_loop_over_tokens_with_their_gradients(E, k, scoring, activation, biased):
    h, scores = random(N, D).requires_grad_(), random(N, E, seed=1).requires_grad_()
    bias = 0.3 * random(E, seed=2) if biased else None
    n_up = 14 if activation == "swiglu" else 7
    up, down = random(E * n_up, D, seed=3).requires_grad_(), random(E * D, 7, seed=4).requires_grad_()
    chosen, gates, p = L.choose_experts(scores, bias, k, scoring)
    have = L.expert_ffn(h, up, down, chosen, gates, E, activation)
    wanted, best = by_token(h, scores, bias, up, down, k, scoring, activation)
    assert torch.equal(chosen, best)
    torch.testing.assert_close(have, wanted, **TIGHT)
    if k > 1:
        torch.testing.assert_close(gates.sum(-1), torch.ones(N, dtype=torch.float64), **TIGHT)
    else:
        assert torch.equal(gates, p.gather(1, chosen))
    upstream = random(N, D, seed=5)
    mine, other = (torch.autograd.grad(y, (h, scores, up, down), upstream, allow_unused=True) for y in (have, wanted))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, **TIGHT)
    unused = sorted(set(range(E)) - set(chosen.flatten().tolist()))
    assert (mine[2].view(E, -1)[unused] == 0).all() and (mine[3].view(E, -1)[unused] == 0).all()


@pytest.mark.parametrize(("E", "k"), [(5, 2), (33, 4), (3, 3)])
def test_of_equal_probabilities_the_lower_number_is_chosen(E, k):
    scores = torch.zeros(4, E)
    scores[1, E - 1] = 1.0
    scores[2, 0] = -1.0
    wanted = [sorted(range(E), key=lambda e: (-row[e], e))[:k] for row in scores.tolist()]
    assert L.choose_experts(scores, None, k, "softmax")[0].tolist() == wanted
    assert gates_of(scored(scores.numpy(), "softmax"), None, k)[0].tolist() == wanted


@pytest.mark.parametrize("k", [1, 3])
def test_scores_far_below_zero_give_no_nan(k):
    """All sigmoids are 0 in float32: no gate, no output, no infinite gradient."""
    scores = torch.full((2, 5), -200.0, requires_grad=True)
    chosen, gates, _ = L.choose_experts(scores, None, k, "sigmoid")
    theirs = gates_of(scored(scores.detach().numpy(), "sigmoid"), None, k)
    assert np.array_equal(chosen, theirs[0]) and np.array_equal(gates.detach(), theirs[1])
    assert (gates < 1e-20).all()
    gates.sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_the_balance_loss_is_its_definition_and_one_where_the_load_is_even():
    E, k = 5, 2
    p = torch.rand(N, E, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    chosen = L.choose_experts(p.detach().log(), None, k, "softmax")[0]
    share = [sum(e in row for row in chosen.tolist()) / (N * k) for e in range(E)]
    mean = [sum(row[e] / row.sum() for row in p) / N for e in range(E)]
    wanted = E * sum(f * m for f, m in zip(share, mean, strict=True))
    have = L.balance_loss(p, chosen)
    torch.testing.assert_close(have, wanted, **TIGHT)
    torch.testing.assert_close(*(torch.autograd.grad(y, p)[0] for y in (have, wanted)), **TIGHT)
    even = torch.arange(E)[:, None]
    assert L.balance_loss(torch.full((E, E), 0.2), even).item() == pytest.approx(1.0, abs=1e-6)
    assert L.balance_loss(F.one_hot(torch.zeros(E, dtype=torch.int64), E).double(), 0 * even).item() == E


@pytest.mark.parametrize(("rows", "cols"), [(7, 5), (3, 8)])
def test_muon_makes_every_stacked_matrix_orthogonal_by_itself(rows, cols):
    """Oracle: Muon over each matrix as a parameter of its own; batched products add in another order."""
    start, E = random(4 * rows, cols).float(), 4
    whole = {"up": start.clone()}
    alone = {str(e): start.view(E, rows, cols)[e].clone() for e in range(E)}
    stacked, single = Muon(whole, 0.1, stacked={"up": E * (rows,)}), Muon(alone, 0.1)
    for t in range(1, 4):
        gradient = (
            random(4 * rows, cols, seed=t).float()
            * torch.tensor([1.0, 50.0, 0.0, 1e-3]).repeat_interleave(rows)[:, None]
        )
        stacked.update({"up": gradient}, 0.02, t)
        single.update({str(e): g for e, g in enumerate(gradient.view(E, rows, cols))}, 0.02, t)
    torch.testing.assert_close(whole["up"].view(E, rows, cols), torch.stack(list(alone.values())), rtol=0, atol=1e-6)
