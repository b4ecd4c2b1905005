"""Oracles: torch.optim (AdamW, Muon), torch.nn.utils.clip_grad_norm_, coalesce(), and slow dense twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import embedding

from weightless.base.errors import ConfigError
from weightless.program.tensor import Parameter
from weightless.train.config import TrainConfig
from weightless.train.gradients import RowGradient, clip, collect, global_norm, merge_rows, norms
from weightless.train.initialise import initial_parameters
from weightless.train.optimizers.adamw import AdamW
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.optimizers.muon import Muon, orthogonal
from weightless.train.optimizers.rowwise_adagrad import RowwiseAdagrad
from weightless.train.optimizers.sgd import SGD

SHAPES = {"a": (7, 5), "b": (1, 33), "c": (3, 3)}


def _twins(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    ours = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return ours, {name: p.clone().requires_grad_() for name, p in ours.items()}, generator


def test_adamw_equals_torch_over_a_thousand_steps() -> None:
    ours, theirs, generator = _twins()
    mine = AdamW(ours, 0.1, (0.9, 0.95))
    oracle = torch.optim.AdamW(theirs.values(), lr=1.0, weight_decay=0.1, betas=(0.9, 0.95))
    for t in range(1, 1001):
        lr = 1e-3 * (1 + math.sin(t / 50))
        gradients = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        for name, p in theirs.items():
            p.grad = gradients[name].clone()
        oracle.param_groups[0]["lr"] = lr
        oracle.step()
        mine.update(gradients, lr, t)
    for name, p in theirs.items():  # the promised 1e-6: float32 rounding, 1,000 times
        torch.testing.assert_close(ours[name], p.detach(), rtol=0, atol=1e-6)


def test_adamw_leaves_parameters_without_gradient_alone() -> None:
    ours, theirs, _ = _twins()
    AdamW(ours, 0.1, (0.9, 0.95)).update({"a": torch.ones(7, 5)}, 0.1, 1)
    assert torch.equal(ours["b"], theirs["b"]) and not torch.equal(ours["a"], theirs["a"])


def test_adamw_reads_gradients_by_their_strides() -> None:
    """PyTorch's fused kernel reads memory as it lies; its own optimizer is wrong there."""
    ours, theirs, generator = _twins()
    mine = AdamW(ours, 0.1, (0.9, 0.95))
    oracle = torch.optim.AdamW(theirs.values(), lr=0.1, weight_decay=0.1, betas=(0.9, 0.95), foreach=False)
    gradients = {n: torch.randn(s[::-1], generator=generator).permute(*range(len(s))[::-1]) for n, s in SHAPES.items()}
    assert not all(g.is_contiguous() for g in gradients.values())
    for name, p in theirs.items():
        p.grad = gradients[name]
    oracle.step()
    mine.update(gradients, 0.1, 1)
    for name, p in theirs.items():
        torch.testing.assert_close(ours[name], p.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 33), (33, 5), (17, 17)])
def test_orthogonal_keeps_singular_vectors_and_flattens_values(shape: tuple[int, int]) -> None:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    made = orthogonal(x)
    inner = u.mT @ made @ vh.mT  # diagonal in the basis of the input
    diagonal = torch.diagonal(inner, dim1=1, dim2=2)
    assert torch.abs(inner - torch.diag_embed(diagonal)).max() < 1e-4  # float32 products of size 33
    large = s > 0.05 * s[:, :1]  # five iterations lift values of 5 % of the norm into the band
    assert diagonal[large].min() > 0.6 and diagonal[large].max() < 1.25
    assert torch.equal(orthogonal(torch.zeros(1, *shape)), torch.zeros(1, *shape))


def test_muon_equals_torch_muon() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    shapes = {"tall": (24, 8), "wide": (8, 24)}
    generator = torch.Generator().manual_seed(2)
    ours = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    theirs = [p.clone().requires_grad_() for p in ours.values()]
    mine = Muon(ours, 0.1)
    oracle = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original")
    for t in range(1, 21):
        gradients = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for p, g in zip(theirs, gradients.values(), strict=True):
            p.grad = g.clone()
        oracle.step()
        mine.update(gradients, 0.02, t)
    for p, q in zip(ours.values(), theirs, strict=True):
        # Theirs iterates in bfloat16 (2^-8 relative), 20 steps of at most 0.02 * sqrt(3) * 1.2 each.
        torch.testing.assert_close(p, q.detach(), rtol=0, atol=20 * 0.042 * 2**-6)


def test_muon_refuses_vectors() -> None:
    with pytest.raises(ConfigError, match="needs matrices"):
        Muon({"v": torch.zeros(3)}, 0.0)


def test_muon_with_rising_momentum_is_that_of_a_sum_of_gradients() -> None:
    """Oracle: B <- mu B + g, u = g + mu B, the form that others keep; u's size is lost in the orthogonal step."""
    shape, rise = (9, 5), (0.85, 4)
    generator = torch.Generator().manual_seed(6)
    ours = {"w": torch.randn(shape, generator=generator)}
    theirs, total = ours["w"].clone(), torch.zeros(shape)
    mine, momenta = Muon(ours, 0.0, 0.95, rise=rise), []
    for t in range(1, 8):
        gradient = torch.randn(shape, generator=generator)
        share = min((t - 1) / 4, 1.0)
        mu = (1 - share) * 0.85 + share * 0.95
        total = mu * total + gradient
        theirs = theirs - 0.02 * math.sqrt(9 / 5) * orthogonal((gradient + mu * total)[None])[0]
        mine.update({"w": gradient}, 0.02, t)
        momenta.append(mine.momentum_at(t))
    assert momenta == pytest.approx([0.85, 0.875, 0.9, 0.925, 0.95, 0.95, 0.95])
    torch.testing.assert_close(ours["w"], theirs, rtol=0, atol=1e-6)  # float32, seven steps of 0.02


def test_muon_keeps_unequal_parts_apart() -> None:
    """Oracle: Muon over each part as a parameter of its own."""
    parts, cols = (6, 4, 4), 5
    start = torch.randn(14, cols, generator=torch.Generator().manual_seed(7))
    whole, alone = {"qkv": start.clone()}, {str(i): part.clone() for i, part in enumerate(start.split(parts))}
    together, apart = Muon(whole, 0.1, stacked={"qkv": parts}), Muon(alone, 0.1)
    for t in range(1, 4):
        gradient = torch.randn(14, cols, generator=torch.Generator().manual_seed(t))
        together.update({"qkv": gradient}, 0.02, t)
        apart.update({str(i): part for i, part in enumerate(gradient.split(parts))}, 0.02, t)
    torch.testing.assert_close(whole["qkv"], torch.cat(list(alone.values())), rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="14 rows, and its matrices have 13"):
        Muon(whole, 0.1, stacked={"qkv": (6, 4, 3)})


def _sparse_gradient(n_rows: int, width: int, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same gradient, sparse and dense, through F.embedding."""
    weights = torch.linspace(-1, 1, len(rows) * width).view(len(rows), width)
    found = []
    for sparse in (True, False):
        table = torch.zeros(n_rows, width, requires_grad=True)
        (embedding(torch.tensor(rows), table, sparse=sparse) * weights).sum().backward()
        found.append(table.grad)
    return found[0], found[1]


def test_merged_rows_equal_coalesce() -> None:
    sparse, dense = _sparse_gradient(11, 3, [4, 1, 4, 9, 4, 1])
    merged, coalesced = merge_rows(sparse), sparse.coalesce()
    assert torch.equal(merged.rows_R, coalesced.indices()[0])
    torch.testing.assert_close(merged.values_RD, coalesced.values())  # sums of three terms
    torch.testing.assert_close(merged.dense(), dense)


def test_rowwise_adagrad_touches_only_rows_with_a_gradient() -> None:
    start = torch.randn(11, 3, generator=torch.Generator().manual_seed(3))
    rows_way, dense_way = {"t": start.clone()}, {"t": start.clone()}
    by_rows, by_dense = RowwiseAdagrad(rows_way), RowwiseAdagrad(dense_way)
    expected, sums = start.numpy().astype(np.float64), np.zeros(11)
    for t, rows in enumerate([[4, 1, 4], [9, 4], [1]], start=1):
        sparse, dense = _sparse_gradient(11, 3, rows)
        by_rows.update({"t": merge_rows(sparse)}, 0.1, t)
        by_dense.update({"t": dense}, 0.1, t)
        g = dense.numpy().astype(np.float64)
        sums += (g**2).mean(1)
        expected -= 0.1 * g / (np.sqrt(sums) + 1e-10)[:, None]
    untouched = [0, 2, 3, 5, 6, 7, 8, 10]
    assert torch.equal(rows_way["t"][untouched], start[untouched])
    for made in (rows_way["t"], dense_way["t"]):
        np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-6)  # float32 against float64
    assert sum(s.numel() * s.element_size() for s in by_rows.state().values()) == 4 * 11


@pytest.mark.parametrize(("lr", "low", "high"), [(10.0, 1e-2, 1e2), (100.0, 0.0, 1e-20), (1000.0, 1e17, 1e20)])
def test_sgd_toy_shrinks_collapses_or_grows(lr: float, low: float, high: float) -> None:
    """Ten steps on the mean of squares of 10 x 10 weights at lr / sqrt(t + 1): known orders of magnitude."""
    w = {"w": 5 * torch.randn(10, 10, generator=torch.Generator().manual_seed(0))}
    optimizer = SGD(w, 0.0)
    for t in range(10):
        loss = float(w["w"].square().mean())
        optimizer.update({"w": 2 * w["w"] / 100}, lr / math.sqrt(t + 1), t + 1)
    assert low <= loss <= high


def test_sgd_rows_equal_dense() -> None:
    sparse, dense = _sparse_gradient(6, 2, [5, 0, 5])
    one, other = {"t": torch.ones(6, 2)}, {"t": torch.ones(6, 2)}
    SGD(one, 0.0).update({"t": merge_rows(sparse)}, 0.5, 1)
    SGD(other, 0.0).update({"t": dense}, 0.5, 1)
    torch.testing.assert_close(one["t"], other["t"])


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_equals_torch(max_norm: float) -> None:
    sparse, dense = _sparse_gradient(11, 3, [4, 1, 4, 9])
    leaf = torch.zeros(5, 5, requires_grad=True)
    leaf.grad = torch.randn(5, 5, generator=torch.Generator().manual_seed(4))
    table = torch.zeros(11, 3, requires_grad=True)
    table.grad = dense
    ours = {"leaf": leaf.grad.clone(), "table": merge_rows(sparse)}
    total = torch.nn.utils.clip_grad_norm_([leaf, table], max_norm)
    norm = global_norm(ours)
    assert norm == pytest.approx(float(total), rel=1e-6)
    assert math.sqrt(sum(n**2 for n in norms(ours).values())) == pytest.approx(norm, rel=1e-6)
    clip(ours, norm, max_norm)
    torch.testing.assert_close(ours["leaf"], leaf.grad)
    torch.testing.assert_close(ours["table"].dense(), table.grad)


def test_collect_takes_gradients_off() -> None:
    leaf, silent = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    leaf.sum().backward()
    assert set(collect({"leaf": leaf, "silent": silent})) == {"leaf"} and leaf.grad is None


SPECS = [
    Parameter("embed", (9, 4), "f32", 0.1, "embedding"),
    Parameter("m1", (4, 4), "f32", 0.1, "matrix"),
    Parameter("m2", (8, 4), "f32", 0.1, "matrix"),
    Parameter("norm", (1, 4), "f32", "ones", "vector"),
    Parameter("rows", (100, 4), "f32", "zeros", "table"),
    Parameter("head", (9, 4), "f32", 0.1, "head"),
]


@pytest.mark.parametrize(
    ("name", "bytes_by_group"),
    [
        ("adamw", {"matrix": 8 * 48, "embedding": 8 * 36, "head": 8 * 36, "vector": 8 * 4, "table": 4 * 100}),
        ("muon", {"matrix": 4 * 48, "embedding": 8 * 36, "head": 8 * 36, "vector": 8 * 4, "table": 4 * 100}),
        ("sgd", {"matrix": 0, "embedding": 0, "head": 0, "vector": 0, "table": 0}),
    ],
)
def test_groups_hold_every_parameter_once(name: str, bytes_by_group: dict[str, int]) -> None:
    config = TrainConfig(1, 1, num_steps=1, optimizer=name, max_lr=0.5, head_lr_scale=0.1, muon_lr=0.3, table_lr=0.7)
    optimizer = grouped_optimizer(SPECS, initial_parameters(SPECS, 0), config)
    assert {n: len(groups) for n, groups in optimizer.membership().items()} == {s.name: 1 for s in SPECS}
    assert optimizer.state_bytes() == bytes_by_group
    rates = {part.group: part.peak_lr for part in optimizer.parts}
    assert rates["head"] == pytest.approx(0.05) and rates["matrix"] == (0.3 if name == "muon" else 0.5)
    assert rates["table"] == (0.7 if name == "muon" else 0.5)
    decays = {part.group: getattr(part.optimizer, "decay", 0.0) for part in optimizer.parts}
    assert decays["vector"] == decays["table"] == 0.0 and decays["matrix"] == 0.1


def test_dense_rules_accept_row_gradients() -> None:
    gradient = RowGradient(torch.tensor([2]), torch.ones(1, 3), 5)
    for make in (lambda p: AdamW(p, 0.0, (0.9, 0.95)), lambda p: Muon(p, 0.0)):
        one, other = {"w": torch.ones(5, 3)}, {"w": torch.ones(5, 3)}
        make(one).update({"w": gradient}, 0.1, 1)
        make(other).update({"w": gradient.dense()}, 0.1, 1)
        assert torch.equal(one["w"], other["w"])


def test_an_unknown_group_is_an_error() -> None:
    odd = [Parameter("w", (2, 2), "f32", 0.1, "matrices")]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'matrix'"):
        grouped_optimizer(odd, initial_parameters(odd, 0), TrainConfig(1, 1, num_steps=1))
