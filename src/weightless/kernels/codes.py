"""The numbers by which the compiled engine knows a storage format and an activation.

Kept apart from the kernels, so that a decode program can be described, counted and lowered without loading a compiler.
"""

from __future__ import annotations

from weightless.base.format_names import LEVELS, parse_format

F32, BF16, F16, INT8, INT4, WORDS, FIVES = 0, 1, 2, 3, 4, 5, 6
KIND_BITS, BITS_AT, GROUP_AT, SCALES_AT = 15, 4, 8, 24
"""Where the parts of a format's number lie: its kind; bits of a code, columns of a group (0: the row), 8-bit scales."""
_ALONE = {"f32": F32, "bf16": BF16, "f16": F16, "int8": INT8, "int4": INT4}


def format_code(name: str) -> int:
    """The number of an arithmetic format: of codes in words (WORDS) or five to a byte (FIVES) with all that the layout
    of a row depends on; of the others a kind alone."""
    parts = parse_format(name)
    if parts.storage in _ALONE:
        return _ALONE[parts.storage]
    kind, bits = (FIVES, 0) if parts.base == "t5" else (WORDS, code_bits(parts.base))
    return kind | bits << BITS_AT | parts.group << GROUP_AT | (parts.scale_bits == 8) << SCALES_AT


def code_bits(base: str) -> int:
    """Bits of one code in words."""
    return (LEVELS[base] - 1).bit_length()


SWIGLU, SILU, RELU2, GELU = 0, 1, 2, 3
ACTIVATION_CODES = {"swiglu": SWIGLU, "silu": SILU, "relu2": RELU2, "gelu": GELU}

UNTURNED, HALF_SPLIT, INTERLEAVED = 0, 1, 2
ROTARY_CODES = {"none": UNTURNED, "half_split": HALF_SPLIT, "interleaved": INTERLEAVED}

QK_EPS = 1e-6  # epsilon of the norm of every query and key head (QK-norm)

BARE = -2  # where the weights of a norm lie that has none; -1: there is no norm
