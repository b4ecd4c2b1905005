"""How often the parts that data choose (experts) were used: counted step by step, kept from one evaluation to the next.

A share is a part's uses by all uses; even use of n parts is 1/n each.  The load of a part is its share times n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightless.base.errors import CorruptFileError

if TYPE_CHECKING:
    import torch


@dataclass
class Usage:
    """`since` counts from the last evaluation on, `before` holds what was counted between the last two."""

    since: dict[str, list[float]] = field(default_factory=dict)
    before: dict[str, list[float]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, torch.Tensor]) -> None:
        """Count one step."""
        for name, count in counts.items():
            new = count.detach().double().tolist()
            self.since[name] = [a + b for a, b in zip(self.since.get(name, [0.0] * len(new)), new, strict=True)]

    def close(self) -> None:
        """An evaluation: what was counted since the one before is complete."""
        if self.since:
            self.before, self.since = self.since, {}

    def shares(self) -> dict[str, list[float]]:
        """{name: share of each part}."""
        found = self.before or self.since
        return {name: [round(n / max(1.0, sum(counts)), 6) for n in counts] for name, counts in found.items()}

    def told(self) -> dict[str, dict[str, Any]]:
        """One line per layer for the run's record: the busiest part, and how many were never used."""
        found = {}
        for name, shares in self.shares().items():
            idle, busiest = sum(share == 0 for share in shares), max(shares) * len(shares)
            detail = f"of {len(shares)} parts {idle} never used, the busiest {busiest:.2f} times the even share"
            found[f"load of {name}"] = {"ok": True, "detail": detail}
        return found

    def to_plain(self) -> dict[str, dict[str, list[float]]]:
        """JSON form, for the checkpoint."""
        return {"since": self.since, "before": self.before}

    @classmethod
    def from_plain(cls, values: Any) -> Usage:
        """From a checkpoint's state; CorruptFileError when it is something else.  Older checkpoints have none."""
        if values is None:
            return cls()
        tables = [values.get(key) for key in ("since", "before")] if isinstance(values, dict) else []
        sound = [t for t in tables if isinstance(t, dict) and all(_are_counts(counts) for counts in t.values())]
        if len(sound) != 2:
            raise CorruptFileError("the checkpoint's counts of used parts are damaged; start the run anew")
        return cls(*sound)


def load_told(used: Mapping[str, list[float]]) -> str:
    """One line about all layers together: the busiest expert, and how many were never used."""
    busiest = {name: max(shares) * len(shares) for name, shares in used.items()}
    where = max(busiest, key=lambda name: busiest[name])
    idle = sum(share == 0 for shares in used.values() for share in shares)
    n = sum(map(len, used.values()))
    return f"the busiest is used {busiest[where]:.2f} times as often as even ({where}), {idle} of {n} never"


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) in (int, float) and 0 <= n < 1e18 for n in values) and bool(values)
