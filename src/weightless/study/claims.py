"""What a prediction claims, as a tree: comparisons of sums, places within a factor, orders, divergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = {
    "nats_per_token": "nats",
    "val_loss": "nats",
    "bits_per_byte": "bits",
    "touched": "bytes",
    "stored": "bytes",
    "memory": "bytes",
    "train_seconds": "seconds",
    "parameters": "",
    "flops_per_token": "",
    "training_flops": "",
    "tokens_seen": "",
    "tokens_per_second": "",
    "decode_tokens_per_second": "",
}
"""Figures, and what they are measured in."""
FIGURES = tuple(KINDS)
UNITS = {
    "nats": ("nats", 1.0),
    "bits": ("bits", 1.0),
    "B": ("bytes", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "s": ("seconds", 1.0),
    "min": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
}


@dataclass(frozen=True)
class Number:
    """A value in base units (bytes, seconds, nats, bits), and what it is measured in."""

    value: float
    kind: str
    at: int


@dataclass(frozen=True)
class Ref:
    """A figure of an arm; `name` may still be "arm.figure" until a study tells the arms."""

    name: str
    figure: str | None
    quoted: bool
    at: int


@dataclass(frozen=True)
class Sum:
    """left `sign` right, of + - * /."""

    sign: str
    left: Expression
    right: Expression
    at: int


Expression = Number | Ref | Sum


@dataclass(frozen=True)
class Comparison:
    """left `operator` right."""

    left: Expression
    operator: str
    right: Expression


@dataclass(frozen=True)
class Place:
    """best or edge of a `key`, among the arms whose settings are `where`."""

    kind: str
    key: str
    where: Mapping[str, str]
    at: int


@dataclass(frozen=True)
class Within:
    """The two lie within a factor of each other."""

    one: Place | Number
    factor: float
    other: Place | Number


@dataclass(frozen=True)
class Order:
    """Losses ascend."""

    arms: tuple[Ref, ...]


@dataclass(frozen=True)
class Diverges:
    """No seed ends with a finite loss."""

    arm: Ref


@dataclass(frozen=True)
class Prediction:
    """A prediction as it was written, what it claims, and the unit of losses it names (nats, bits or neither)."""

    text: str
    claim: Comparison | Within | Order | Diverges
    unit: str = ""
