"""Stored rows in compiled code: bit casts, half floats, rows decoded and encoded.

The layouts are those of `quant.formats` (the readable twin, and the oracle of these loops).  Products of a packed
matrix with a vector are in `numba/matvec.py`.

Memory comes as a tuple of three views of the same bytes, (uint8, float32, uint16): making such views inside
compiled code would cost more to compile than all of the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from weightless.base.compiled import njit
from weightless.kernels.numba.lanes import N_LANES, load_f16_part, load_int8, number_at, put, scaled, shelf, store

GROUP = 64
KERNEL: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
"""Options of every kernel.  None allocates, so reference counting (which would cost time and compile time) is off."""
# Reassociation lets sums use vector lanes; NaN and infinity keep their meaning (poisoned memory must show).
FAST = {"reassoc", "contract", "nsz"}


@intrinsic
def float_of_bits(typingctx, bits):  # type: ignore[no-untyped-def]
    """Reinterpret a uint32 as a float32."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def bits_of_float(typingctx, value):  # type: ignore[no-untyped-def]
    """Reinterpret a float32 as a uint32."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def double_of_bits(typingctx, bits):  # type: ignore[no-untyped-def]
    """Reinterpret a uint64 as a float64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), generate


@intrinsic
def bits_of_double(typingctx, value):  # type: ignore[no-untyped-def]
    """Reinterpret a float64 as a uint64."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), generate


def views(memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(uint8, float32, uint16) views of a flat uint8 array whose start is 64-byte aligned in its program."""
    whole = memory[: len(memory) // 4 * 4]
    return memory, whole.view(np.float32), whole.view(np.uint16)


@njit(**KERNEL)
def half_to_float(half):  # type: ignore[no-untyped-def]
    """IEEE binary16 bits (as uint32) to float32: shift the fields, then rescale by 2^112 (exact, subnormals too)."""
    magnitude = float_of_bits(np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13)))
    value = magnitude * np.float32(5.192296858534828e33)
    if half & np.uint32(0x7C00) == np.uint32(0x7C00):  # infinity and NaN, which only a forged file holds
        value = float_of_bits(np.uint32(0x7F800000) | ((half & np.uint32(0x3FF)) << np.uint32(13)))
    return -value if half & np.uint32(0x8000) else value


@njit(**KERNEL)
def float_to_half(value):  # type: ignore[no-untyped-def]
    """A non-negative float32 to binary16 bits, rounding to nearest even; too large becomes infinity."""
    bits = bits_of_float(np.float32(value))
    if bits >= np.uint32(0x47800000):
        return np.uint32(0x7C00)
    if bits < np.uint32(0x38800000):  # subnormal: adding 0.5 aligns and rounds the mantissa
        return np.uint32(bits_of_float(np.float32(value) + np.float32(0.5)) - np.uint32(0x3F000000))
    odd = (bits >> np.uint32(13)) & np.uint32(1)
    return np.uint32(bits + np.uint32(0xC8000FFF) + odd) >> np.uint32(13)  # the sum wraps: numba adds in 64 bits


@njit(**KERNEL)
def half_at(memory, at):  # type: ignore[no-untyped-def]
    """The binary16 number stored little-endian at byte `at`."""
    return half_to_float(np.uint32(memory[at]) | (np.uint32(memory[at + 1]) << np.uint32(8)))


# Slices that are looped over from zero on: LLVM turns such loops into vector code, and others not.
@njit(**KERNEL)
def decode_f32(memory, at, cols, out):  # type: ignore[no-untyped-def]
    """out[j] = the j-th value of the row stored at byte `at`."""
    row = memory[1][at // 4 : at // 4 + cols]
    for j in range(cols):
        out[j] = row[j]


@njit(**KERNEL)
def decode_bf16(memory, at, cols, out):  # type: ignore[no-untyped-def]
    """The same for a row of bf16."""
    row = memory[2][at // 2 : at // 2 + cols]
    for j in range(cols):
        out[j] = float_of_bits(np.uint32(row[j]) << np.uint32(16))


@njit(**KERNEL)
def decode_f16(memory, at, cols, out):  # type: ignore[no-untyped-def]
    """The same for a row of f16."""
    row = memory[2][at // 2 : at // 2 + cols]
    for j in range(cols):
        out[j] = half_to_float(np.uint32(row[j]))


@njit(**KERNEL)
def decode_int8(memory, at, cols, out):  # type: ignore[no-untyped-def]
    """The same for a row of int8."""
    codes, halves = memory[0], memory[2]
    room, scale_at = shelf(), (at + cols + (cols & 1)) // 2
    for first in range(0, cols, GROUP):
        group = first // GROUP
        if group % N_LANES == 0:
            put(room, 0, load_f16_part(halves, scale_at + group, min(N_LANES, (cols - first + GROUP - 1) // GROUP)))
        scale = number_at(room, group % N_LANES)
        if first + GROUP <= cols:
            for j in range(first, first + GROUP, N_LANES):
                store(out, j, scaled(load_int8(codes, at + j), scale))
        else:
            for j in range(first, cols):
                out[j] = np.float32(np.int8(codes[at + j])) * scale


@njit(**KERNEL)
def decode_int4(memory, at, cols, out):  # type: ignore[no-untyped-def]
    """The same for a row of int4."""
    bytes_, scale_at = memory[0], at + (cols // 2 + 1) // 2 * 2
    for first in range(0, cols, GROUP):
        half = min(GROUP, cols - first) // 2
        codes, scale = bytes_[at + first // 2 : at + first // 2 + half], half_at(bytes_, scale_at)
        low, high = out[first : first + half], out[first + half : first + 2 * half]
        for j in range(half):
            code = np.int32(codes[j])
            low[j] = np.float32(np.int32(code & np.int32(15)) - np.int32(8)) * scale
            high[j] = np.float32(np.int32(code >> np.int32(4)) - np.int32(8)) * scale
        scale_at += 2


@njit(**KERNEL)
def encode_f32(values, cols, memory, at):  # type: ignore[no-untyped-def]
    """Store values[0:cols] as a row of f32."""
    floats = memory[1]
    for j in range(cols):
        floats[at // 4 + j] = values[j]


@njit(**KERNEL)
def encode_bf16(values, cols, memory, at):  # type: ignore[no-untyped-def]
    """Store values[0:cols] as a row of bf16."""
    halves = memory[2]
    for j in range(cols):
        bits = bits_of_float(values[j])
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        halves[at // 2 + j] = np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@njit(**KERNEL)
def encode_int8(values, cols, memory, at):  # type: ignore[no-untyped-def]
    """Store values[0:cols] as a row of int8 codes and their scales."""
    bytes_, scale_at = memory[0], at + cols + (cols & 1)
    if cols & 1:
        bytes_[at + cols] = 0
    for first in range(0, cols, GROUP):
        size = min(GROUP, cols - first)
        part, codes = values[first : first + size], bytes_[at + first : at + first + size]
        largest = np.int32(0)  # positive floats compare as their bits do; a NaN is above all of them, and shows
        for j in range(size):
            largest = max(largest, np.int32(bits_of_float(part[j]) & np.uint32(0x7FFFFFFF)))
        bits = float_to_half(float_of_bits(np.uint32(largest)) / np.float32(127))
        bytes_[scale_at], bytes_[scale_at + 1] = bits & np.uint32(255), bits >> np.uint32(8)
        scale = half_to_float(bits)
        for j in range(size):
            code = np.rint(part[j] / scale) if scale > 0 else np.float32(0)
            codes[j] = np.uint8(np.int32(min(max(code, np.float32(-127)), np.float32(127))))
        scale_at += 2


DECODE_ROW = {"f32": decode_f32, "bf16": decode_bf16, "f16": decode_f16, "int8": decode_int8, "int4": decode_int4}
"""A stored row's values by format: (memory, byte where the row begins, cols, out)."""
RECALL_ROW = {"f32": decode_f32, "bf16": decode_bf16}
"""The same of a row of state, in the formats of a recurrent one."""
ENCODE_ROW = {"f32": encode_f32, "bf16": encode_bf16, "int8": encode_int8}
"""A row stored, in the formats of a KV cache: (values, cols, memory, byte where the row begins)."""
