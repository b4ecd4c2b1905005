"""Which tensor is stored in which format: an ordered list of (glob pattern, format), the first match decides.

    Plan.of({"embed": "int8", "block.0.*": "bf16", "*": "int4_g32"})

A plan speaks of what is multiplied or looked up; vectors (norms, biases, gains) stay float32 and no pattern meets them.
Tensors that no pattern meets keep the format that the model's other fields give them.  Strict, so that a misspelt
pattern cannot leave a model in the wrong format: every pattern must meet a tensor and decide about one.  `*` also
crosses dots.  Errors: ConfigError.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from weightless.base.errors import ConfigError
from weightless.quant.layout import format_named


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The fields by which a trained family takes a plan (`models/catalog.py`)."""

    plan: dict[str, str] = field(default_factory=dict)
    """Storage of some tensors, pattern and format, the first that meets a tensor; the others as other fields say."""
    activation_format: Literal["f32", "int8"] = "f32"
    """What matrices are multiplied with: numbers as they are, or rounded to 8 bits, in training too."""


@dataclass(frozen=True)
class Plan:
    """Ordered rules (pattern, format)."""

    rules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for pattern, fmt in self.rules:
            if not isinstance(fmt, str) or format_named(fmt).is_integer_table:
                raise ConfigError(f"the format plan stores {pattern!r} as {fmt!r}, which is no format of weights")
            if pattern in seen:
                raise ConfigError(f"the format plan names {pattern!r} twice: remove one of the two")
            seen.add(pattern)

    @staticmethod
    def of(rules: Mapping[str, str]) -> Plan:
        """From a mapping in order, as a TOML table gives it."""
        return Plan(tuple(rules.items()))

    def applied(self, formats: Mapping[str, str], vectors: frozenset[str] = frozenset()) -> dict[str, str]:
        """The format of every tensor of `formats`, which says what it is where no rule meets it.

        `vectors` are names of tensors that stay as they are.
        """
        out, used = dict(formats), set()
        for name in formats:
            for pattern, fmt in self.rules if name not in vectors else ():
                if fnmatchcase(name, pattern):
                    out[name] = fmt
                    used.add(pattern)
                    break
        for pattern, _ in self.rules:
            if pattern not in used:
                raise ConfigError(self._unused(pattern, sorted(set(formats) - vectors), vectors))
        return out

    def _unused(self, pattern: str, names: list[str], vectors: frozenset[str]) -> str:
        told = f"the format plan's pattern {pattern!r}"
        if any(fnmatchcase(name, pattern) for name in names):
            return f"{told} decides about no tensor: those before it meet all that it does"
        if any(fnmatchcase(name, pattern) for name in vectors):
            return f"{told} meets only vectors (norms, biases, gains), which stay float32"
        return f"{told} matches no tensor{_hint(pattern, names)}"


def _hint(pattern: str, names: list[str]) -> str:
    close = difflib.get_close_matches(pattern.replace("*", ""), names, n=1, cutoff=0.0)
    return f": did you mean {close[0]!r}?" if close else ": the model has none"
