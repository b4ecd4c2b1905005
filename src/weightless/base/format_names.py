"""What the name of a storage format says: how wide its codes are, who shares a scale, and how scales are chosen.

    int4        int2_g32      t2_g128_s8      int8_row@std4       t5@lsq

    base        f32 f16 bf16 · u8 u16 u32 i32 (tables) · int2 int3 int4 int5 int6 int8 · t2 t5 (ternary) · binary
    _g32 …      columns that share a scale: g32, g128, row (all of them); 64 when nothing is said
    _s8         scales of 8 bits, multiples of one fp16 unit per row; fp16 scales when nothing is said
    @rule       how the scale follows from the numbers, and a number that goes with it; only who encodes asks for that

Every format has one name: what is usual is left out.  Errors: ConfigError naming the nearest format.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from weightless.base.errors import ConfigError, nearest

PLAIN = ("f32", "bf16", "f16")
TABLES = ("u8", "u16", "u32", "i32")
LEVELS: Mapping[str, int] = {
    "int8": 255,
    "int6": 63,
    "int5": 31,
    "int4": 15,
    "int3": 7,
    "int2": 4,
    "t2": 3,
    "t5": 3,
    "binary": 2,
}
"""Values of a code; they lie evenly around zero, which is one of them where their number is odd."""
USUAL = (*PLAIN, *TABLES, *LEVELS)
"""The formats with the usual groups, scales and rules."""
USUAL_GROUP, ROW = 64, 0
GROUPS = {"g32": 32, "g64": 64, "g128": 128, "row": ROW}
RULES: Mapping[str, tuple[float, float, float]] = {
    "absmax": (0.0, 0.0, 0.0),
    "absmean": (1e-3, 1e3, 0.0),
    "std": (1e-3, 1e3, 0.0),
    "quantile": (0.5, 1.0, 0.9999984),
    "lsq": (0.0, 0.0, 0.0),
}
"""Rules for scales: the least and the largest number that may follow, (0, 0) none, and the usual one (0: by base)."""
_NAME = re.compile(r"([a-z]+[0-9]*)((?:_[a-z]+[0-9]*)*)(?:@([a-z]+)([0-9.]*))?")


class FormatName(NamedTuple):
    """The parts of a name; `group` counts columns (ROW: all), `scale_bits` is 0 where there are no scales.

    `rule` and `number` are empty and 0 where the usual ones of the base hold.
    """

    base: str
    group: int = 0
    scale_bits: int = 0
    rule: str = ""
    number: float = 0.0

    @property
    def storage(self) -> str:
        """The name without the rule: all that who decodes needs to know."""
        if not self.scale_bits:
            return self.base
        group = {32: "_g32", 128: "_g128", ROW: "_row"}.get(self.group, "")
        return f"{self.base}{group}{'_s8' if self.scale_bits == 8 else ''}"

    @property
    def whole(self) -> str:
        """The name."""
        number = f"{self.number:g}" if self.number else ""
        return self.storage + (f"@{self.rule}{number}" if self.rule else "")


def usual_rule(base: str) -> str:
    """How scales of a base are chosen where its name does not say: by the largest number, or where there are few levels
    by the mean size (two or three) or the root mean square (four and seven)."""
    return "absmean" if LEVELS[base] < 4 else "std" if LEVELS[base] < 8 else "absmax"


@functools.cache
def parse_format(name: str) -> FormatName:
    """The parts of a format's name; ConfigError for one that is no format, or not how the format is called."""
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    base = found[1] if found else str(name)
    if found is None or base not in (*PLAIN, *TABLES, *LEVELS):
        raise ConfigError(f"unknown format {name!r}: {nearest(str(name), [*PLAIN, *TABLES, *LEVELS])}")
    if base not in LEVELS:
        if name != base:
            raise ConfigError(f"format {name!r}: {base} has no scales, so it is {base!r} alone")
        return FormatName(base)
    group, scale_bits = _of_scales(name, found[2].split("_")[1:])
    parts = FormatName(base, group, scale_bits, *_rule(name, base, found[3] or "", found[4] or ""))
    if parts.whole != name:
        raise ConfigError(f"format {name!r} is called {parts.whole!r}: what is usual is left out")
    return parts


def _of_scales(name: str, words: list[str]) -> tuple[int, int]:
    """(columns of a group, bits of a scale)."""
    group, scale_bits = USUAL_GROUP, 16
    for i, word in enumerate(words):
        if word in GROUPS and i == 0:
            group = GROUPS[word]
        elif word == "s8" and i == len(words) - 1:
            scale_bits = 8
        else:
            raise ConfigError(
                f"format {name!r}: {word!r} is neither a group ({', '.join(GROUPS)}) nor, behind it, s8 (8-bit scales)"
            )
    return group, scale_bits


def _rule(name: str, base: str, rule: str, number: str) -> tuple[str, float]:
    if not rule:
        return "", 0.0
    if rule not in RULES:
        raise ConfigError(f"format {name!r}: unknown rule for scales {rule!r} ({nearest(rule, RULES)})")
    least, most, usual = RULES[rule]
    try:
        value = float(number) if number else 0.0
    except ValueError:
        raise ConfigError(f"format {name!r}: {number!r} is no number") from None
    if number and not least <= value <= most or number and most == 0:
        allowed = f"a number from {least:g} to {most:g}" if most else "no number"
        raise ConfigError(f"format {name!r}: {allowed} goes with {rule}")
    value = 0.0 if value == usual else value
    return ("", 0.0) if rule == usual_rule(base) and not value else (rule, value)


def has_integer_product(name: str) -> bool:
    """Whether its codes can meet activations of eight bits as whole numbers: 1, 2, 4 or 8 bits each."""
    return parse_format(name).base in ("int8", "int4", "int2", "t2", "binary")


def is_table(name: str) -> bool:
    """True for indices and counts, which are never rounded."""
    return name in TABLES


def is_arithmetic(name: str) -> bool:
    """True for formats of numbers that can be multiplied."""
    return not is_table(name)
