"""Oracles: a definition with loops for masks and positions, slices of the row for attention and for hashed rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.functions.losses import IGNORED, class_cross_entropy, fused_cross_entropy

EDGES = [0, 1, 6, 7, 19, 23]


def numbers(row_edges: list[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(row_edges) - 1) + 3, torch.tensor(np.diff(row_edges)))[None]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=17))
def test_layout_equals_its_definition(row):
    """A number that comes back later is another document."""
    layout = L.document_layout(torch.tensor([row, row[::-1]]))
    for b, line in enumerate((row, row[::-1])):
        for t in range(len(line)):
            first = max(s for s in range(t + 1) if s == 0 or line[s] != line[s - 1])
            assert layout.position_BT[b, t] == t - first
            assert layout.allowed_BTT[b, t].tolist() == [first <= s <= t for s in range(len(line))]


def test_layout_of_nothing_and_of_nonsense():
    assert L.document_layout(None) is None
    for wrong in (torch.zeros(3, dtype=torch.int64), torch.zeros(2, 3)):
        with pytest.raises(ConfigError, match="document_BT has shape"):
            L.document_layout(wrong)


@pytest.mark.parametrize("kv_format", ["f32", "int8"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
def test_attention_within_documents_is_attention_on_slices(heads, kv_heads, kv_format):
    """Same bits of every rounded key, because positions begin anew: int8 agrees as closely as float32."""
    qkv = torch.randn(2, EDGES[-1], (heads + 2 * kv_heads) * 10, generator=torch.Generator().manual_seed(0))
    layout = L.document_layout(numbers(EDGES).expand(2, -1))
    shape = (heads, kv_heads, 10, 10_000.0, True, kv_format)
    whole = L.causal_attention(qkv, *shape, documents=layout)
    parts = [L.causal_attention(qkv[:, a:z], *shape) for a, z in zip(EDGES[:-1], EDGES[1:], strict=True)]
    torch.testing.assert_close(whole, torch.cat(parts, dim=1), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("order", [1, 2, 3, 9])
def test_hashed_rows_do_not_look_across(order):
    tokens = torch.randint(0, 500, (2, EDGES[-1]), generator=torch.Generator().manual_seed(0))
    layout = L.document_layout(numbers(EDGES).expand(2, -1))
    rows = L.hashed_rows(tokens, order, 5, 1009, 501, layout)
    parts = [L.hashed_rows(tokens[:, a:z], order, 5, 1009, 501) for a, z in zip(EDGES[:-1], EDGES[1:], strict=True)]
    assert torch.equal(rows, torch.cat(parts, dim=1))


@pytest.mark.parametrize("kept", [[0, 2, 3], [4], []])
@pytest.mark.parametrize("upstream", ["mean", "weights"])
def test_ignored_positions_are_as_if_absent(kept, upstream):
    """Oracle: the same losses over the kept rows alone, float64."""
    generator = torch.Generator().manual_seed(1)
    h, w, classes = (
        torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True) for n in (5, 12, 4)
    )
    targets = torch.tensor([0, 10, 2, 9, 0])
    some = torch.full_like(targets, IGNORED)
    some[kept] = targets[kept]
    g = torch.ones(5) if upstream == "mean" else torch.linspace(-1, 2, 5)
    for losses in (lambda x, t: fused_cross_entropy(x, w, t), lambda x, t: class_cross_entropy(x, classes, w, t, 11)):
        ours, theirs = losses(h, some), losses(h[kept], targets[kept])
        assert torch.equal(ours[kept], theirs) and ours.sum() == theirs.sum()
        leaves = (h, w, classes)
        mine = torch.autograd.grad(ours, leaves, g.double(), allow_unused=True)
        other = torch.autograd.grad(theirs, leaves, g.double()[kept], allow_unused=True)
        for a, b in zip(mine, other, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_slots_of_ignored_targets_stay_ignored():
    slots = L.target_slots(torch.tensor([2, 0, 1]), torch.tensor([0, IGNORED, 2, 1]))
    assert slots.tolist() == [2, IGNORED, 1, 0]
