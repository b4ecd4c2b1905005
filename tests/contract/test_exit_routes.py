"""Where tokens leave: rounding may turn what stands on a threshold, so nats are compared given the engine's own exits.

Oracle: PyTorch's window.  Tolerance: float32 sums in another order, as in test_families.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from contract.cases import lively_parameters, packed_bytes
from contract.configurations.shared import EXACT

from weightless.audit.counters.agreement import audit, check
from weightless.audit.counters.subjects import Subject
from weightless.audit.counters.verify import verify
from weightless.layers.exits import THRESHOLD
from weightless.layers.functions import exits as torch_exits
from weightless.models import dense

CONFIG = dense.Config(97, 40, 2, n_heads=2, context=200, exit_after=(1,), exit_threshold=0.5, **EXACT)
FAMILY = dense.FAMILY


def made(threshold: float | None = None) -> tuple[Subject, dict[str, np.ndarray]]:
    stream = np.random.default_rng(3).integers(0, 97, 201)
    arrays = lively_parameters(FAMILY.Model(CONFIG), stream)
    if threshold is not None:
        arrays[THRESHOLD] = np.full((1, 1), threshold, np.float32)
    program = FAMILY.decode_program(CONFIG)
    subject = Subject("exits", "dense", CONFIG, program, packed_bytes(program, arrays), stream, "drawn tokens")
    return subject, arrays


def confidences(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """What the compiled and the readable engine leave at every position, both from the compiled one's state."""
    compiled, readable, found = subject.engine(), subject.audit_engine(), []
    at = subject.program.layout.places["exit.1.sure"].offset // 4
    for i, token in enumerate(subject.tokens.tolist()):
        readable.arena.state[:], readable.arena.registers.t = compiled.S, i
        compiled.feed(token)
        readable.feed(token)
        found.append((compiled.S.view(np.float32)[at], readable.arena.row("exit.1.sure")[0]))
    one, two = np.array(found).T
    return one, two


def test_nats_are_equal_given_the_exits_and_hardly_one_turns(monkeypatch):
    subject, arrays = made()
    compiled, readable = subject.engine(), subject.audit_engine()
    nats = compiled.score_stream(subject.tokens, subject.targets)
    exits = compiled.paths == 1
    others = []
    for token in subject.tokens.tolist():
        readable.feed(token)
        others.append(readable.path == 1)
    honest, own = torch_exits.exit_logits, []

    def as_the_engine(x, *given):
        own.append(honest(x, *given).sigmoid()[0] >= arrays[THRESHOLD].item())
        return torch.where(torch.from_numpy(exits)[None], 30.0, -30.0)

    monkeypatch.setattr(torch_exits, "exit_logits", as_the_engine)
    p = {name: torch.from_numpy(array) for name, array in arrays.items()}
    x, y = (torch.from_numpy(part[None]) for part in (subject.tokens, subject.targets))
    wanted = FAMILY.Model(CONFIG).losses(p, x, y)[0]
    np.testing.assert_allclose(nats, wanted, rtol=1e-5, atol=1e-4)
    turned = [int(np.sum(other != exits)) for other in (own[0].numpy(), np.array(others))]
    print(f"of {len(nats)} tokens {turned[0]} leave elsewhere in PyTorch, {turned[1]} in NumPy")
    assert max(turned) <= 2
    assert 20 < exits.sum() < 180


def test_a_token_on_the_threshold_is_counted_and_not_hidden():
    """The threshold is put between what two engines find at one position: they part there, and that is told."""
    subject, _ = made()
    one, two = confidences(subject)
    t = 1 + int(np.flatnonzero(one != two)[0])
    subject, _ = made(float(max(one[t - 1], two[t - 1])))
    again = confidences(subject)
    assert again[0][t - 1] == one[t - 1] or again[1][t - 1] == two[t - 1]
    steps = audit(subject, subject.tokens, subject.targets, range(1, t + 1))
    turned = [step.position for step in steps if step.turned]
    assert turned == [t] and "1 left elsewhere by rounding" in check(steps, "bytes")["detail"]


def test_a_step_of_pytorch_on_the_threshold_is_told():
    """The torch trace compares its bytes along the way that it took, and says how many went another one."""
    subject, arrays = made()
    engine, model = subject.engine(), FAMILY.Model(CONFIG)
    p, cache = {name: torch.from_numpy(array) for name, array in arrays.items()}, model.new_cache()
    one, _ = confidences(subject)
    found = []
    for t, token in enumerate(subject.tokens.tolist(), 1):
        model.step(p, cache, token, t)
        found.append(float(cache["exit.1.sure"]))
    engine.reset()
    differ = np.flatnonzero(np.float32(found) != one)
    t = 1 + int(next(i for i in differ if i < 17))
    subject, _ = made(float(max(found[t - 1], one[t - 1])))
    short = dataclasses.replace(subject, stream=subject.stream[: t + 1])
    (counter,) = (c for c in verify(short, trials=1).counters if c.name == "torch trace")
    assert counter.verdict == "agrees", counter.detail
