"""A diagonal recurrence, and a short convolution over the last few positions."""

from weightless.program.operators.scan.promise import WIDTHS, Convolve, Scan

__all__ = ["WIDTHS", "Convolve", "Scan"]
