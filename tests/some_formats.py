"""Formats of few bits for tests: every width, group, kind of scale and rule at least once, not all combinations.

Each costs its kernels' compilation, so most of them are left to the slow run.
"""

import pytest

FEW_BITS = ("int2", "int3_g128", "int5_g32_s8", "int6_row", "t2_g32_s8", "t5_g128")
MORE = (
    "int2_g32",
    "int2_row_s8",
    "int3",
    "int4_g32",
    "int4_s8",
    "int5",
    "int6",
    "int8_g128",
    "int8_row",
    "t2",
    "t2_g128",
    "t5",
    "t5_g32_s8",
    "t5_row",
    "binary",
    "binary_g128",
    "binary_row",
)
RULED = (
    "int2@lsq",
    "int2@absmax",
    "int3@absmax",
    "int3@std2.5",
    "int4@lsq",
    "int4@quantile0.99",
    "int5@std3",
    "int6_row@quantile",
    "int8_row@quantile",
    "int8@absmean5",
    "t2@lsq",
    "t2_g128@absmean0.7",
    "t5@std1.2",
    "binary@lsq",
    "binary_g32_s8@absmax",
    "int4_g32_s8@lsq",
)
FIRST = ("f32", "bf16", "f16", "int8", "int4")
ARITHMETIC = (*FIRST, *FEW_BITS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE))
"""For `parametrize`: kernels of formats that are seldom are compiled in the slow run."""
