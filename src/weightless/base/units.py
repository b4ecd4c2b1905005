"""Units, once: MB is 10^6 bytes, losses are nats per token, bpb is bits per byte."""

from __future__ import annotations

import math

from weightless.base.errors import ConfigError

LN2 = math.log(2.0)

_LENGTH = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SUFFIX = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """bpb = sum of nats / (ln 2 * number of source bytes); n_bytes > 0."""
    return nats / (LN2 * n_bytes)


def human_bytes(n: float) -> str:
    """Decimal bytes to three digits: 1_234_567 -> '1.23 MB'; from 1000 GB on, whole GB."""
    for unit, scale in (("B", 1), ("kB", 10**3), ("MB", 10**6)):
        text = f"{n:.0f}" if scale == 1 else f"{n / scale:.3g}"
        if abs(float(text)) < 1000:
            return f"{text} {unit}"
    return f"{n / 1e9:.3g} GB" if abs(n) < 999.5e9 else f"{n / 1e9:,.0f} GB"


def human_seconds(seconds: float) -> str:
    """Seconds as a person says them: 5.2 s, 3 min 20 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def parse_seconds(text: str) -> float:
    """Read '90', '90 s', '30min' or '1.5h' as seconds above 0; raises ConfigError otherwise."""
    compact = text.strip().lower().replace("_", "").replace(",", "").replace(" ", "")
    digits = compact.rstrip("abcdefghijklmnopqrstuvwxyz")
    try:
        seconds = float(digits) * _LENGTH[compact[len(digits) :]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{text!r} is no length of time; write for example 90s, 30min or 1.5h")
    return seconds


def parse_bytes(text: str) -> int:
    """Read '16MB', '1.5 GiB' or '4096' as a number of bytes; raises ConfigError otherwise."""
    compact = text.strip().lower().replace("_", "").replace(",", "").replace(" ", "")
    digits = compact.rstrip("abcdefghijklmnopqrstuvwxyz")
    suffix = compact[len(digits) :]
    try:
        size = round(float(digits) * _SUFFIX[suffix])
    except (ValueError, KeyError, OverflowError):
        size = -1
    if size < 0:
        raise ConfigError(f"{text!r} is not a size in bytes; write for example 16MB, 512kB or 1.5GiB")
    return size
