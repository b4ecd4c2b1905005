"""Bytes against the cap: code (UTF-8 of the one script) + weights (the compressed artifact) <= 16,000,000, decimal.

A megabyte is 10^6 bytes, so 16,000,001 is over the cap by one byte.  What else lies in a folder and is neither prose,
record nor tokenizer counts as well: bytes do not become free by having another name.
"""

from __future__ import annotations

from dataclasses import dataclass

from weightless.base.errors import WeightlessError

CAP = 16_000_000


@dataclass(frozen=True)
class Sizes:
    """Bytes of a submission; `surplus` are files that nobody expects there."""

    code: int
    weights: int
    surplus: int = 0

    @property
    def total(self) -> int:
        return self.code + self.weights + self.surplus

    @property
    def margin(self) -> int:
        """Bytes left below the cap; negative above it."""
        return CAP - self.total

    @property
    def fits(self) -> bool:
        return self.margin >= 0

    def verdict(self) -> str:
        """In words, exact to the byte."""
        if self.fits:
            return f"fits: {self.margin:,} bytes below the cap of {CAP:,}"
        unit = "one byte" if self.margin == -1 else f"{-self.margin:,} bytes"
        return f"too large: {unit} over the cap of {CAP:,}"

    def lines(self) -> list[str]:
        """The three figures, the margin and the verdict."""
        more = [f"surplus files {self.surplus:>12,} bytes"] if self.surplus else []
        return [
            f"code          {self.code:>12,} bytes",
            f"weights       {self.weights:>12,} bytes",
            *more,
            f"total         {self.total:>12,} bytes",
            f"margin        {self.margin:>12,} bytes",
            self.verdict(),
        ]

    def require(self) -> None:
        """WeightlessError where the total is over the cap."""
        if not self.fits:
            raise WeightlessError(
                f"{self.total:,} bytes (code {self.code:,} + weights {self.weights:,}) are {self.verdict()}; make the "
                "artifact smaller, or build it all the same with --allow-over"
            )
