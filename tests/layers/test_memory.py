"""A memory's rows and their gradients, its optimizers, and what the layer makes of a token.

Oracle: gathered rows and PyTorch's own functions in float64, one token at a time; autograd for every gradient.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.layer import SLOTS, Record, Window
from weightless.layers.memory import Memory
from weightless.layers.residual import Residual
from weightless.models import memory
from weightless.program.tensor import Parameter
from weightless.train.config import TrainConfig
from weightless.train.gradients import collect
from weightless.train.initialise import initial_parameters
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.optimizers.muon import Muon
from weightless.train.optimizers.rowwise_adagrad import RowwiseAdagrad

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
N, K, M, D = 23, 6, 49, 5
LAYER = Memory(1, Residual("block.1.ffn_", 10, 1e-5), 3, 7, 4, 6, "", "softmax", True, "f32", 0.3, 0.5)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(n: int = M) -> torch.Tensor:
    """Slots with repetitions inside a token and between tokens."""
    return torch.randint(n, (N, K), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_and_gradients_equal_gathered_rows(repeated):
    table, h, weights = (z.requires_grad_() for z in (random(M, D), random(N, D, seed=1), random(N, K, seed=2)))
    slots = drawn(3 if repeated else M)
    gathered = table[slots]
    pairs = [
        (L.rows_summed(table, slots, weights), (gathered * weights[..., None]).sum(1), weights),
        (L.rows_scored(table, slots, h), (gathered * h[:, None]).sum(-1), h),
    ]
    for have, wanted, other in pairs:
        torch.testing.assert_close(have, wanted, **TIGHT)
        upstream = random(*have.shape, seed=3)
        mine = torch.autograd.grad(have, (table, other), upstream)
        theirs = torch.autograd.grad(wanted, (table, other), upstream, retain_graph=True)
        assert mine[0].is_sparse and mine[0].is_coalesced()
        assert mine[0].indices()[0].tolist() == sorted(set(slots.flatten().tolist()))
        torch.testing.assert_close(mine[0].to_dense(), theirs[0], **TIGHT)
        torch.testing.assert_close(mine[1], theirs[1], **TIGHT)


def by_token(layer: Memory, p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """What the layer adds to one token, slot by slot over all M of every head."""
    h, n = F.rms_norm(x, (len(x),), p["block.1.ffn_norm"][0], 1e-5), layer.n_side
    out = torch.zeros_like(x)
    for head in range(layer.n_heads):
        q = p["block.1.query"][head * layer.d_key : (head + 1) * layer.d_key] @ h
        if layer.query_norm:
            q = q / (q.square().mean() + 1e-6).sqrt()
        keys = p["block.1.keys"].view(layer.n_heads, 2, n, -1)[head]
        s = [keys[half] @ part for half, part in enumerate(q.chunk(2))]
        scores = torch.stack([s[0][i] + s[1][j] for i in range(n) for j in range(n)])
        best = sorted(range(n * n), key=lambda slot: (-scores[slot].item(), slot))[: layer.k]
        gates = scores[best].softmax(0) if layer.gating == "softmax" else scores[best].sigmoid()
        for gate, slot in zip(gates, best, strict=True):
            row = head * n * n + slot
            if layer.activation:
                gate = gate * {"gelu": lambda z: F.gelu(z, approximate="tanh"), "silu": F.silu}[layer.activation](
                    p["block.1.slots_up"][row] @ h
                )
            out = out + gate * p["block.1.slots"][row]
    return x + out


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"query_norm": False, "gating": "sigmoid", "k": 1},
        {"activation": "gelu"},
        {"activation": "silu", "n_heads": 1, "k": 7, "d_key": 2},
    ],
)
def test_the_layer_is_its_definition_with_all_gradients(change):
    layer = dataclasses.replace(LAYER, **change)
    p = {
        spec.name: (0.7 * random(*spec.shape, seed=i) + (spec.group == "vector")).requires_grad_()
        for i, spec in enumerate(layer.parameters())
    }
    x = random(2, 11, 10, seed=9).requires_grad_()
    have = layer.forward(p, x, Window(torch.zeros(2, 11, dtype=torch.int64)))
    wanted = torch.stack([by_token(layer, p, token) for token in x.flatten(0, 1)]).view_as(x)
    torch.testing.assert_close(have, wanted, **TIGHT)
    upstream = random(*x.shape, seed=5)
    mine, theirs = (torch.autograd.grad(y, (x, *p.values()), upstream) for y in (have, wanted))
    for name, a, b in zip(("x", *p), mine, theirs, strict=True):
        torch.testing.assert_close(a.to_dense(), b, **TIGHT, msg=lambda told, name=name: f"{name}: {told}")


def test_every_use_of_a_slot_is_counted():
    p = {name: tensor.detach() for name, tensor in initial_parameters(LAYER.parameters(), 0).items()}
    record, x = Record(), random(2, 11, 10).float()
    for _ in range(2):
        LAYER.forward(p, x, Window(torch.zeros(2, 11, dtype=torch.int64), None, record))
    used = record.counts[f"{SLOTS}block 1"]
    assert used.shape == (3 * 49,) and used.sum() == 2 * 22 * 3 * 4
    assert used.view(3, 49).sum(1).tolist() == [2 * 22 * 4] * 3, "every head has slots of its own"
    assert used.max() <= 2 * 22


def test_only_touched_rows_are_trained():
    """Rows that no token chose keep their bits; query and keys, one matrix per head under Muon, all move."""
    config = memory.Config(61, 16, 2, 2, 1, 20, memory_heads=3, n_slots=81, top_k=2, d_key=4, context=9)
    model = memory.FAMILY.Model(config)
    p = initial_parameters(model.tensors(), 0)
    before = {name: tensor.detach().clone() for name, tensor in p.items()}
    optimizer = grouped_optimizer(model.tensors(), p, TrainConfig(2, 9, 1))
    parts = {name: part for part in optimizer.parts for name in part.optimizer.params}
    assert isinstance(parts["block.1.slots"].optimizer, RowwiseAdagrad)
    query = parts["block.1.query"].optimizer
    assert (
        isinstance(query, Muon)
        and query.stacked["block.1.query"] == (4, 4, 4)
        and parts["block.1.keys"].group == "head"
    )
    tokens, record = torch.randint(61, (2, 10), generator=torch.Generator().manual_seed(0)), Record()
    model.losses(p, tokens[:, :-1], tokens[:, 1:], record=record).mean().backward()
    optimizer.update(collect(p), 1.0, 1)
    hit = record.counts[f"{SLOTS}block 1"] > 0
    moved = (p["block.1.slots"].detach() != before["block.1.slots"]).any(1)
    assert torch.equal(moved, hit) and 0 < hit.sum() < len(hit)
    assert all((p[name] != before[name]).any() for name in ("block.1.query", "block.1.keys"))


def test_tables_cost_an_accumulator_per_row():
    table = Parameter("t", (1023, 8), "bf16", 0.02, "table", by_row=True)
    optimizer = grouped_optimizer([table], {"t": torch.zeros(1023, 8)}, TrainConfig(1, 4, 1))
    assert optimizer.state_bytes() == {"table": 4 * 1023}


def test_heads_look_into_slots_of_their_own():
    """Distinct rows at every position, whatever the queries are: what makes the bytes of a step a matter of shapes."""
    p = {name: torch.zeros(spec.shape) for spec in LAYER.parameters() for name in (spec.name,)}
    p["block.1.ffn_norm"] += 1
    rows, gates = LAYER._chosen(p, random(5, 10).float())
    assert rows.tolist() == [[head * 49 + slot for head in range(3) for slot in range(4)]] * 5
    np.testing.assert_allclose(gates, 0.25)


@pytest.mark.parametrize("norm", [{"bare": True}, {"centred": True}])
def test_a_norm_that_its_operators_do_not_know_is_refused(norm):
    with pytest.raises(ConfigError, match="RMSNorm with weights"):
        dataclasses.replace(LAYER, residual=Residual("block.1.ffn_", 10, 1e-5, **norm))
