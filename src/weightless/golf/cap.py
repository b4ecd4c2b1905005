"""Floor 9.  What counts against the cap: the bytes of the one script, and those of the compressed weights, on the disk.

    total = bytes of the script (UTF-8, as the file is) + bytes of the squeezed artifact        cap 16,000,000, decimal

Errors: ConfigError for a script that is empty or no UTF-8 text, WeightlessError for one that cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import ConfigError, WeightlessError

CAP = 16_000_000


@dataclass(frozen=True)
class Totals:
    """Bytes of code and weights beside the cap."""

    code: int
    weights: int
    cap: int = CAP

    @property
    def total(self) -> int:
        return self.code + self.weights

    @property
    def margin(self) -> int:
        """Bytes that are left; negative where there are none."""
        return self.cap - self.total

    @property
    def fits(self) -> bool:
        return self.margin >= 0

    @property
    def verdict(self) -> str:
        """One line, with every byte."""
        if self.fits:
            return f"fits: {bytes_of(self.margin)} below the cap of {self.cap:,}"
        over = "one byte" if self.margin == -1 else bytes_of(-self.margin)
        return f"does not fit: {self.total:,} bytes are {over} over the cap of {self.cap:,} (decimal, no MiB)"

    def lines(self) -> list[str]:
        """What is always printed: all three, then margin and verdict."""
        rows = (("code", self.code), ("compressed weights", self.weights), ("total", self.total))
        return [
            *(f"{name:<20}{n:>14,} bytes" for name, n in rows),
            f"{'margin':<20}{self.margin:>14,} bytes",
            self.verdict,
        ]


def bytes_of(n: int) -> str:
    return f"{n:,} byte{'' if n == 1 else 's'}"


def code_bytes(script: Path) -> int:
    """The bytes of a script, which has to be a text and not an empty one."""
    try:
        content = script.read_bytes()
        content.decode("utf-8")
    except OSError as error:
        raise WeightlessError(f"cannot read the script {script}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the script {script} is no UTF-8 text (byte {error.start}): name the script itself"
        ) from None
    if not content.strip():
        raise ConfigError(f"the script {script} is empty: name the one that is submitted")
    return len(content)
