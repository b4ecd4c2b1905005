"""Which tensor is stored in which format: an ordered list of (glob pattern, format), the first match decides.

    Plan.of({"embed": "int8", "blocks.*.norm": "f32", "*": "int4"})

Strict, so that a misspelt pattern cannot leave a model in the wrong format: every pattern must match a tensor, every
tensor must be matched.  `*` also crosses dots.  Errors: ConfigError.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from weightless.base.errors import ConfigError
from weightless.quant.layout import format_named


@dataclass(frozen=True)
class Plan:
    """Ordered rules (pattern, format)."""

    rules: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for pattern, fmt in self.rules:
            format_named(fmt)
            if pattern in seen:
                raise ConfigError(f"the format plan names {pattern!r} twice: remove one of the two")
            seen.add(pattern)

    @staticmethod
    def of(rules: Mapping[str, str]) -> Plan:
        """From a mapping in order, as a TOML table gives it."""
        return Plan(tuple(rules.items()))

    def format_of(self, name: str) -> str:
        """The format of one tensor."""
        for pattern, fmt in self.rules:
            if fnmatchcase(name, pattern):
                return fmt
        raise ConfigError(f"the format plan says nothing about tensor {name!r}: end it with a rule for '*'")

    def formats_of(self, names: Iterable[str]) -> dict[str, str]:
        """The format of every tensor; also refuses a pattern that matches none of them."""
        names = list(names)
        for pattern, _ in self.rules:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(f"the format plan's pattern {pattern!r} matches no tensor{_hint(pattern, names)}")
        return {name: self.format_of(name) for name in names}


def _hint(pattern: str, names: list[str]) -> str:
    close = difflib.get_close_matches(pattern.replace("*", ""), names, n=1, cutoff=0.0)
    return f": did you mean {close[0]!r}?" if close else ": the model has none"
