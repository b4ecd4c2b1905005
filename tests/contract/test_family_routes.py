"""Routes: which experts float32 engines choose, and what follows.

Rounding may turn a near tie, so nats are compared given the engine's own route, and turned choices are counted.
Oracle: PyTorch's window.  Tolerance: float32 sums in another order, as in test_families.py.
"""

from __future__ import annotations

import numpy as np
import torch
from contract.cases import lively_parameters, packed_bytes
from contract.configurations.shared import EXACT

from weightless.layers.functions import experts as torch_experts
from weightless.models import experts
from weightless.program.engine import AuditEngine, Engine

CONFIG = experts.Config(97, 40, 1, 2, 1, 16, 3, 14, context=200, **EXACT)


def test_nats_are_equal_given_the_route_and_hardly_a_choice_turns(monkeypatch):
    rng = np.random.default_rng(3)
    stream = rng.integers(0, 97, 201)
    arrays = lively_parameters(experts.FAMILY.Model(CONFIG), stream)
    program = experts.FAMILY.decode_program(CONFIG)
    weights = packed_bytes(program, arrays)
    compiled, readable = Engine(program, weights), AuditEngine(program, weights)
    at = program.layout.places["route"][0]
    nats, routes, others = [], [], []
    for token, target in zip(stream[:-1].tolist(), stream[1:].tolist(), strict=True):
        compiled.feed(token)
        routes.append(compiled.S[at : at + 24].view("<f4")[:3].astype(np.int64))
        nats.append(compiled.score(target))
        readable.feed(token)
        others.append(readable.arena.row("route")[:3].astype(np.int64))
    route_NK, chosen = torch.from_numpy(np.stack(routes)), []
    honest = torch_experts.choose_experts

    def as_the_engine(scores_NE, bias_E, k, scoring):
        own, _, p_NE = honest(scores_NE, bias_E, k, scoring)
        chosen.append(own)
        p_NK = p_NE.gather(-1, route_NK)
        return route_NK, p_NK / p_NK.sum(-1, keepdim=True), p_NE

    monkeypatch.setattr(torch_experts, "choose_experts", as_the_engine)
    p = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tokens = torch.from_numpy(stream[None])
    wanted = experts.FAMILY.Model(CONFIG).losses(p, tokens[:, :-1], tokens[:, 1:])[0]
    np.testing.assert_allclose(nats, wanted, rtol=1e-5, atol=1e-4)
    turned = [
        np.any(np.sort(other, axis=1) != np.sort(route_NK, axis=1), axis=1).sum()
        for other in (chosen[0].numpy(), np.stack(others))
    ]
    print(f"of {len(nats)} tokens {turned[0]} are routed otherwise by PyTorch, {turned[1]} by NumPy")
    assert max(turned) <= 2
    assert len(np.unique(route_NK)) == 16, "every expert is used by somebody"
