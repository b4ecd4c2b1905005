"""Every counter that applies to a model, side by side: formula, engines, torch trace, pages, poison.

    formula           the operators' own statement, from the configuration alone
    engine log        must equal the formula, per operator and component
    compiled engine   must score what the readable engine scores, and count the same where the data decides
    compiled log      the same engine compiled with its log: the same nats, and the same addresses as the readable log
    torch trace       must equal the formula, per operator and component (families that train in PyTorch), and its
                      nats must be the engine's; of a model with a window cache it sees the rest, and says so
    pages             the operating system must see exactly the pages that the log names
    poison            the log must be complete, and tight in 99 % of the trials

A counter that cannot run says so and why; it is then "skipped", never silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.audit.counters.agreement import Audited, DisagreementError, examine
from weightless.audit.counters.pages import PagesUnavailableError, visited
from weightless.audit.counters.poison import TRIALS, Poisoned, poison
from weightless.audit.counters.subjects import Subject, described, same_program, trained_part
from weightless.base.errors import WeightlessError
from weightless.program.cost import is_exact

POSITIONS = (1, 2, 3, 5, 17, 63, 64, 65, 128, 255, 256, 257, 511, 512)
AGREES, DIFFERS, SKIPPED, REFERENCE = "agrees", "differs", "skipped", "reference"
MOST_TURNED = 0.02
"""Share of steps that rounding may send to another exit than the engine's."""
TORCH_TOLERANCE = 2e-3
"""Relative, or nats below one: sums in another order, and a cache row in bf16 or int8 may round to the next code."""


@dataclass(frozen=True)
class Counter:
    """One counter: its verdict, what it says in words, and mean T per component over the verified positions."""

    name: str
    verdict: str
    detail: str
    components: dict[str, float]

    def to_plain(self) -> dict[str, Any]:
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail, "components": self.components}


@dataclass(frozen=True)
class Verification:
    """All counters of one subject."""

    subject: dict[str, Any]
    positions: tuple[int, ...]
    counters: tuple[Counter, ...]
    poison: Poisoned | None

    @property
    def ok(self) -> bool:
        return all(counter.verdict != DIFFERS for counter in self.counters)

    @property
    def disagreeing(self) -> list[str]:
        """The names of the counters that differ."""
        return [counter.name for counter in self.counters if counter.verdict == DIFFERS]

    def raise_if_wrong(self) -> Verification:
        """Return self, or raise DisagreementError naming the first counter that differs."""
        for counter in self.counters:
            if counter.verdict == DIFFERS:
                raise DisagreementError(f"{self.subject['name']}: {counter.name}: {counter.detail}")
        return self

    def to_plain(self) -> dict[str, Any]:
        return {
            **self.subject,
            "ok": self.ok,
            "positions": list(self.positions),
            "counters": [counter.to_plain() for counter in self.counters],
            "poison": self.poison.to_plain() if self.poison else None,
        }


def verify(subject: Subject, trials: int = TRIALS, tick: Callable[[str], None] = lambda _: None) -> Verification:
    """Run all counters; `tick` is told the name of each as it begins.  Raises nothing for a disagreement."""
    last = min(max(POSITIONS), len(subject.tokens))
    chosen = {p for p in (*POSITIONS, last) if p <= last}
    positions = tuple(sorted(chosen)) if is_exact(subject.program) else tuple(range(1, last + 1))
    few = tuple(sorted({1, min(2, last), (last + 1) // 2, last}))
    tick("formula, engine log, compiled engine")
    steps, failure = _examined(subject, positions)
    counters = [_configured(subject), *_engines(steps, failure)]
    tick("torch trace")
    counters.append(_traced(subject, positions, steps))
    tick("pages")
    counters.append(_guarded("pages", lambda: _pages(subject, few)))
    tick("poison")
    found: list[Poisoned] = []
    counters.append(_guarded("poison", lambda: _poisoned(subject, few, trials, found)))
    return Verification(described(subject), positions, tuple(counters), found[0] if found else None)


def _examined(subject: Subject, positions: Sequence[int]) -> tuple[list[Audited], str]:
    """The audited steps, and the error that ended them early, in words."""
    steps: list[Audited] = []
    try:
        for step in examine(subject, subject.tokens, subject.targets, positions):
            steps.append(step)
    except WeightlessError as error:
        return steps, str(error)
    return steps, ""


def _configured(subject: Subject) -> Counter:
    same = same_program(subject)
    detail = (
        "the program that runs is the one its configuration asks for"
        if same
        else "the program in the file is not the one its configuration asks for: pack the model again"
    )
    return Counter("configuration", AGREES if same else DIFFERS, detail, {})


def _engines(steps: list[Audited], failure: str) -> list[Counter]:
    told = f"{len(steps)} positions up to {steps[-1].position}, per operator and component" if steps else failure
    by_formula = _means([{n: x.T for n, x in s.formula.items()} for s in steps])
    by_log = _means([{n: x.T for n, x in s.logged.items()} for s in steps])
    by_compiled_log = _means([{n: x.T for n, x in s.compiled_log.items()} for s in steps])
    worst = max((abs(s.nats - s.compiled_nats) for s in steps), default=0.0)
    return [
        Counter("formula", REFERENCE, "from the configuration alone", by_formula),
        _judged("engine log", [failure, *(s.formula_and_log for s in steps)], told, by_log),
        _judged(
            "compiled engine",
            [failure, *(s.between_engines for s in steps)],
            f"the same nats within {worst:.1e}, the same bytes where the data decides",
            {},
        ),
        _judged(
            "compiled log",
            [failure, *(s.between_logs for s in steps)],
            "the same nats as without a log, the same addresses as the readable log, operator by operator",
            by_compiled_log,
        ),
    ]


def _traced(subject: Subject, positions: Sequence[int], steps: list[Audited]) -> Counter:
    if not subject.has_torch_model:
        return Counter("torch trace", SKIPPED, f"the family {subject.family} has no PyTorch model to trace", {})
    part = trained_part(subject)
    if part is subject:
        return _guarded("torch trace", lambda: _torch(subject, positions, {s.position: s for s in steps}))
    found = _guarded(
        "torch trace", lambda: _torch(part, positions, {s.position: s for s in _examined(part, positions)[0]})
    )
    told = "the model without its window cache, which is not PyTorch's: formula, both logs, pages and poison count that"
    return dataclasses.replace(found, detail=f"{found.detail}; {told}")


def _torch(subject: Subject, positions: Sequence[int], steps: Mapping[int, Audited]) -> Counter:
    from weightless.audit.counters.trace_agreement import trace_positions

    traced, differences, turned = trace_positions(subject, positions), list[str](), 0
    for step in traced:
        engine = steps.get(step.position)
        differences.append(step.difference)
        if engine is not None and engine.path != step.path:
            turned += 1
            continue
        gap = abs(float(step.result) - (float("nan") if engine is None else engine.compiled_nats))
        if not gap <= TORCH_TOLERANCE * max(1.0, float(step.result)):
            differences.append(f"position {step.position}: PyTorch's step is {gap:.1e} nats from the engine's")
    told = f"{len(traced)} positions up to {traced[-1].position}, per operator and component"
    if turned:
        told += f"; {turned} left elsewhere by rounding, where nats are not compared"
        if turned > 1 + MOST_TURNED * len(traced):
            differences.append(f"of {len(traced)} steps {turned} leave elsewhere than in the engine")
    return _judged("torch trace", differences, told, _means([step.T for step in traced]))


def _pages(subject: Subject, positions: Sequence[int]) -> Counter:
    seen = [visited(subject, subject.tokens, subject.targets, t) for t in positions]
    n = [sum(sum(getattr(step, key).values()) for step in seen) for key in ("predicted", "found")]
    told = f"{n[1]:,} pages of 4 KiB visited in {len(seen)} steps, {n[0]:,} named by the log, page by page the same"
    if repeats := sum(step.repeats for step in seen):
        told += f" ({repeats} disturbed measurement{'s' * (repeats > 1)} repeated)"
    return _judged("pages", [step.difference for step in seen], told, {})


def _poisoned(subject: Subject, positions: tuple[int, ...], trials: int, found: list[Poisoned]) -> Counter:
    result = poison(subject, subject.tokens, subject.targets, positions, trials)
    found.append(result)
    share = f"{result.n_changed} of {result.n_trials} damaged blocks changed what the step writes"
    told = f"{result.unread_bytes:,} unread bytes destroyed without effect; {share}"
    loose = "" if result.tight else f"only {share}: {', '.join(result.unchanged[:3])}"
    return _judged("poison", [*result.leaks, loose], told, {})


def _guarded(name: str, count: Callable[[], Counter]) -> Counter:
    """A counter that cannot run on this system is skipped; one that is refused half-way differs."""
    try:
        return count()
    except PagesUnavailableError as error:
        return Counter(name, SKIPPED, str(error), {})
    except WeightlessError as error:
        return Counter(name, DIFFERS, str(error), {})


def _judged(name: str, differences: Sequence[str], told: str, components: dict[str, float]) -> Counter:
    first = next((text for text in differences if text), "")
    return Counter(name, DIFFERS if first else AGREES, first or told, components)


def _means(steps: Sequence[dict[str, int]]) -> dict[str, float]:
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: float(np.mean([step.get(name, 0) for step in steps])) for name in names}
