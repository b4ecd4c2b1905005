"""How often the parts that data choose were used: counted step by step, kept from one evaluation to the next.

A share is a part's uses by all uses; even use of n parts is 1/n each.  The load of a part is its share times n.  Of few
parts (experts) every share is told.  Of many (slots of a memory, `layer.SLOTS`) a summary, per layer:

    n           slots                                            ever       share of them used since training began
    lately      share used between the last two evaluations      effective  exp of the entropy of their shares then: as
    busiest     the largest load then                                       many slots, used evenly, have that entropy
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.layers.layer import SLOTS

if TYPE_CHECKING:
    import torch

Used = dict[str, list[float] | dict[str, float]]
"""{layer: the share of each part, or the summary of many}."""


@dataclass
class Usage:
    """`since` counts from the last evaluation on, `before` holds what was counted between the last two; `ever` says of
    many parts which were used at all."""

    since: dict[str, np.ndarray] = field(default_factory=dict)
    before: dict[str, np.ndarray] = field(default_factory=dict)
    ever: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, counts: Mapping[str, torch.Tensor]) -> None:
        """Count one step."""
        for name, count in counts.items():
            new = count.detach().double().cpu().numpy()
            self.since[name] = self.since[name] + new if name in self.since else new
            if name.startswith(SLOTS):
                self.ever[name] = self.ever[name] | (new > 0) if name in self.ever else new > 0

    def close(self) -> None:
        """An evaluation: what was counted since the one before is complete."""
        if self.since:
            self.before, self.since = self.since, {}

    def shares(self) -> Used:
        """{name: share of each part, or the summary of many}."""
        found, used = self.before or self.since, Used()
        for name, counts in found.items():
            share = counts / max(1.0, counts.sum())
            used[name] = self._summary(name, share) if name in self.ever else np.round(share, 6).tolist()
        return used

    def _summary(self, name: str, share: np.ndarray) -> dict[str, float]:
        hit = share[share > 0]
        return {
            "n": len(share),
            "ever": round(float(self.ever[name].mean()), 6),
            "lately": round(len(hit) / len(share), 6),
            "effective": round(float(np.exp(-(hit * np.log(hit)).sum())), 1) if len(hit) else 0.0,
            "busiest": round(float(share.max()) * len(share), 3),
        }

    def told(self) -> dict[str, dict[str, Any]]:
        """One line per layer for the run's record: the busiest part, and how many were never used."""
        found = {}
        for name, shares in self.shares().items():
            if isinstance(shares, dict):
                detail = slots_told(shares)
            else:
                idle, busiest = sum(share == 0 for share in shares), max(shares) * len(shares)
                detail = f"of {len(shares)} parts {idle} never used, the busiest {busiest:.2f} times the even share"
            found[f"load of {name}"] = {"ok": True, "detail": detail}
        return found

    def to_plain(self) -> dict[str, dict[str, Any]]:
        """JSON form, for the checkpoint: lists of few counts, many packed into text."""
        tables = {"since": self.since, "before": self.before}
        packed = {
            key: {
                name: _text(counts.astype("<u4")) if name in self.ever else counts.tolist()
                for name, counts in table.items()
            }
            for key, table in tables.items()
        }
        return {**packed, "ever": {name: _text(used.astype(np.uint8)) for name, used in self.ever.items()}}

    @classmethod
    def from_plain(cls, values: Any) -> Usage:
        """From a checkpoint's state; CorruptFileError when it is something else.  Older checkpoints have less."""
        if values is None:
            return cls()
        try:
            since, before = (
                {name: _counts(plain, "<u4").astype(np.float64) for name, plain in values[key].items()}
                for key in ("since", "before")
            )
            return cls(since, before, {name: _counts(text, "u1") > 0 for name, text in values.get("ever", {}).items()})
        except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as error:
            raise CorruptFileError("the checkpoint's counts of used parts are damaged; start the run anew") from error


def load_told(used: Mapping[str, list[float] | dict[str, float]]) -> list[str]:
    """A line about all experts together (the busiest, how many were never used), and one about each layer of slots."""
    few = {name: shares for name, shares in used.items() if isinstance(shares, list)}
    lines = [f"{name}: {slots_told(summary)}" for name, summary in used.items() if isinstance(summary, dict)]
    if few:
        busiest = {name: max(shares) * len(shares) for name, shares in few.items()}
        where = max(busiest, key=lambda name: busiest[name])
        idle = sum(share == 0 for shares in few.values() for share in shares)
        told = f"the busiest is used {busiest[where]:.2f} times as often as even ({where})"
        lines.insert(0, f"experts: {told}, {idle} of {sum(map(len, few.values()))} never")
    return lines


def slots_told(summary: Mapping[str, float]) -> str:
    """One line about the slots of one layer."""
    return (
        f"of {summary['n']:,} slots {summary['ever']:.1%} ever used, {summary['lately']:.1%} lately, as unevenly as "
        f"{summary['effective']:,.0f} of them used alike; the busiest {summary['busiest']:.2f} times the even share"
    )


def _text(counts: np.ndarray) -> str:
    return base64.b64encode(counts.tobytes()).decode()


def _counts(plain: Any, kind: str) -> np.ndarray:
    """A list of few counts, or the text of many; ValueError when they are none."""
    if isinstance(plain, str):
        counts = np.frombuffer(base64.b64decode(plain, validate=True), kind)
    elif isinstance(plain, list) and all(type(n) in (int, float) and 0 <= n < 1e18 for n in plain):
        counts = np.array(plain, dtype=np.float64)
    else:
        raise ValueError("no counts")
    if not len(counts):
        raise ValueError("counts of nothing")
    return counts
