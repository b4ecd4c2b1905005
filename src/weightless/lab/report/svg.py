"""Inline SVG by hand: elements, escaping, text widths, axes.

Units are CSS pixels, y grows downwards.  `visible` makes any text safe to show: control characters become their
code, so do characters that reorder or break lines, and half surrogates become U+FFFD.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_NARROW, _WIDE = set("iljtfrI.,':;|!()[] "), set("mwMW%@—")


def visible(text: str) -> str:
    """Replace what would be invisible, unprintable or misleading; keep newline and tab."""
    return _HIDDEN.sub(lambda match: _picture(ord(match.group())), text)


def _picture(code: int) -> str:
    if code < 0xA0:
        return f"‹{code:02X}›"
    if 0xD800 <= code <= 0xDFFF or code >= 0xFFFE:
        return "\ufffd"
    return f"‹U+{code:04X}›"


def escape(text: object) -> str:
    """Text for HTML or SVG content and for quoted attributes."""
    return html.escape(visible(str(text)), quote=True)


def element(tag: str, *children: str, **attributes: object) -> str:
    """<tag …>children</tag>; children are markup, attributes are escaped, None attributes are left out."""
    parts = [f' {_attribute(k)}="{escape(_plain(v))}"' for k, v in attributes.items() if v is not None]
    inside = "".join(children)
    return f"<{tag}{''.join(parts)}>{inside}</{tag}>" if inside else f"<{tag}{''.join(parts)}/>"


def _attribute(name: str) -> str:
    return {"class_": "class", "viewBox": "viewBox"}.get(name, name.replace("_", "-"))


def _plain(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """A line of escaped text."""
    return element("text", escape(content), x=float(x), y=float(y), **attributes)


def drawing(
    width: float,
    height: float,
    title: str,
    describe: str,
    body: Iterable[str],
    key: str,
    margin: float = 0,
    **more: object,
) -> str:
    """The <svg> with its title and description for those who cannot see it; `key` makes its ids unique.

    `margin` is empty paper around the drawing, which a picture of its own needs and a page gives anyway.
    """
    names = f"{key}-title {key}-desc"
    head = [element("title", escape(title), id=f"{key}-title"), element("desc", escape(describe), id=f"{key}-desc")]
    box = f"{-margin:g} {-margin:g} {width + 2 * margin:g} {height + 2 * margin:g}"
    width, height = width + 2 * margin, height + 2 * margin
    return element(
        "svg", *head, *body, viewBox=box, width=width, height=height, role="img", aria_labelledby=names, **more
    )


def text_width(content: str, size: float) -> float:
    """Upper estimate of a line's width in a usual sans-serif face."""
    return size * sum(_character_width(c) for c in content)


def _character_width(c: str) -> float:
    if unicodedata.east_asian_width(c) in "WF":
        return 1.05
    if c in _NARROW:
        return 0.33
    if c in _WIDE:
        return 0.92
    return 0.7 if c.isupper() else 0.58


def shorten(content: str, n: int) -> str:
    """At most n characters, with an ellipsis where some were cut."""
    return content if len(content) <= n else content[: n - 1] + "…"


@dataclass(frozen=True)
class Axis:
    """Maps low..high onto the pixels start..stop, linearly or by logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel of a value, clamped to the axis."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """Round values on the axis, about n of them."""
        return _log_ticks(self.low, self.high, n) if self.log else _linear_ticks(self.low, self.high, n)


def _linear_ticks(low: float, high: float, n: int) -> list[float]:
    raw = (high - low) / max(n, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, n: int) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**e for e in exponents for m in multiples if low <= m * 10.0**e <= high]
        if len(found) >= 3:
            break
    every = max(1, math.ceil(len(found) / (n + 2)))
    return found[::every]
