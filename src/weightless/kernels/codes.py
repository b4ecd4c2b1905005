"""The numbers by which the compiled engine knows a storage format and an activation.

Kept apart from the kernels, so that a decode program can be described, counted and lowered without loading a compiler.
"""

from __future__ import annotations

F32, BF16, F16, INT8, INT4 = 0, 1, 2, 3, 4
FORMAT_CODES = {"f32": F32, "bf16": BF16, "f16": F16, "int8": INT8, "int4": INT4}

SWIGLU, SILU, RELU2, GELU = 0, 1, 2, 3
ACTIVATION_CODES = {"swiglu": SWIGLU, "silu": SILU, "relu2": RELU2, "gelu": GELU}

UNTURNED, HALF_SPLIT, INTERLEAVED = 0, 1, 2
ROTARY_CODES = {"none": UNTURNED, "half_split": HALF_SPLIT, "interleaved": INTERLEAVED}

QK_EPS = 1e-6  # epsilon of the norm of every query and key head (QK-norm)

BARE = -2  # where the weights of a norm lie that has none; -1: there is no norm
