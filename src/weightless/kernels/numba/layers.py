"""The compiled bodies of the decode operators: norm, RoPE, FFN activations, softmax (attention: `numba/attend.py`).

Each is the fast twin of a function in `ops` with the same equation; activations are float32, one token at a
time.  `scratch` is the operator's private memory (256 KiB at most), reused by every operator.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.codes import GELU, RELU2, SWIGLU
from weightless.kernels.numba.lanes import N_LANES, larger, load_f32, number_at, put, shelf
from weightless.kernels.numba.rows import (
    FAST,
    KERNEL,
    bits_of_double,
    bits_of_float,
    double_of_bits,
    float_of_bits,
)

# numba hands the caller's fastmath on to a function that names none of its own; reassociation would undo the rounding
# of the exponentials.
EXACT_ORDER = {"contract"}


@njit(fastmath=EXACT_ORDER, **KERNEL)
def exp(x):  # type: ignore[no-untyped-def]
    """e^x in float32 to 2 units in the last place, in instructions that loops over it turn into vectors.

    x = n ln 2 + r with |r| <= ln 2 / 2 and a polynomial in r (Moshier, Cephes expf).  Below -87.3, where float32 would
    be subnormal, it is 0; above 88.3 infinity; NaN stays NaN.
    """
    inside = x if x > np.float32(-87.3) else np.float32(-87.3)
    inside = inside if inside < np.float32(88.3) else np.float32(88.3)
    shifted = inside * np.float32(1.4426950408889634) + np.float32(12582912)  # 1.5 * 2^23 rounds to whole numbers
    n = shifted - np.float32(12582912)
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = (p * r + np.float32(8.3334519073e-3)) * r + np.float32(4.1665795894e-2)
    p = (p * r + np.float32(1.6666665459e-1)) * r + np.float32(5.0000001201e-1)
    power = float_of_bits(np.uint32(np.uint32(bits_of_float(shifted) - np.uint32(0x4B400000 - 127)) << np.uint32(23)))
    value = (p * r * r + r + np.float32(1)) * power
    value = np.float32(0) if x < np.float32(-87.3) else value
    return np.float32(np.inf) if x > np.float32(88.3) else value


@njit(fastmath=EXACT_ORDER, **KERNEL)
def exp_64(x):  # type: ignore[no-untyped-def]
    """e^x in float64 for x <= 0, to a relative 1e-15: the same steps, Taylor's series to r^13 / 13!; 0 below -708."""
    inside = x if x > -708.0 else -708.0
    inside = inside if inside < 0.0 else 0.0
    shifted = inside * 1.4426950408889634 + 6755399441055744.0  # 1.5 * 2^52
    n = shifted - 6755399441055744.0
    r = x - n * 0.693145751953125 - n * 1.42860682030941723212e-6
    p = (1.0 / 6227020800 * r + 1.0 / 479001600) * r + 1.0 / 39916800
    p = ((p * r + 1.0 / 3628800) * r + 1.0 / 362880) * r + 1.0 / 40320
    p = ((p * r + 1.0 / 5040) * r + 1.0 / 720) * r + 1.0 / 120
    p = ((p * r + 1.0 / 24) * r + 1.0 / 6) * r + 0.5
    power = double_of_bits((bits_of_double(shifted) + np.uint64(1023)) << np.uint64(52))
    value = (p * r * r + r + 1.0) * power
    return 0.0 if x < -708.0 else value


@njit(fastmath=FAST, **KERNEL)
def rms_norm(x, weight, eps, out):  # type: ignore[no-untyped-def]
    """out = x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019)."""
    width = len(out)
    total = np.float32(0)
    for j in range(width):
        total += x[j] * x[j]
    scale = np.float32(1) / np.sqrt(total / np.float32(width) + np.float32(eps))
    for j in range(width):
        out[j] = x[j] * scale * weight[j]


@njit(fastmath=FAST, **KERNEL)
def bare_rms_norm(x, n, eps, out):  # type: ignore[no-untyped-def]
    """out[:n] = x / sqrt(mean(x^2) + eps): without weights."""
    total = np.float32(0)
    for j in range(n):
        total += x[j] * x[j]
    scale = np.float32(1) / np.sqrt(total / np.float32(n) + np.float32(eps))
    for j in range(n):
        out[j] = x[j] * scale


@njit(fastmath=FAST, **KERNEL)
def layer_norm(x, weight, bias, eps, out):  # type: ignore[no-untyped-def]
    """out = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias (Ba et al. 2016)."""
    width = len(out)
    total = np.float32(0)
    for j in range(width):
        total += x[j]
    mean = total / np.float32(width)
    total = np.float32(0)
    for j in range(width):
        out[j] = x[j] - mean
        total += out[j] * out[j]
    scale = np.float32(1) / np.sqrt(total / np.float32(width) + np.float32(eps))
    for j in range(width):
        out[j] = out[j] * scale * weight[j] + bias[j]


@njit(**KERNEL)
def normalise_heads(vector, n_heads, d_head, eps):  # type: ignore[no-untyped-def]
    """QK-norm without weights: every head divided by its root mean square, in place."""
    for head in range(n_heads):
        part = vector[head * d_head : (head + 1) * d_head]
        total = np.float32(0)
        for j in range(d_head):
            total += part[j] * part[j]
        scale = np.float32(1) / np.sqrt(total / np.float32(d_head) + np.float32(eps))
        for j in range(d_head):
            part[j] *= scale


@njit(**KERNEL)
def rotate_heads(q, n_heads, k, n_kv_heads, d_head, position, theta, step, apart, stretch):  # type: ignore[no-untyped-def]
    """RoPE of queries and keys in place: pair j is (j step, j step + apart), angle position * theta^(-2j/d_head).

    step 1, apart d_head/2: half-split pairs; step 2, apart 1: interleaved ones.  stretch float64 [4]: of `ops.rope`.
    """
    half = d_head // 2
    ratio, angle, learned = theta ** (-2.0 / d_head), np.float64(position), stretch[3] / (2.0 * math.pi)
    for j in range(half):
        turned = angle
        if stretch[0] > 1.0:
            kept = min(max((learned - stretch[1]) / (stretch[2] - stretch[1]), 0.0), 1.0)
            turned = angle * (kept + (1.0 - kept) / stretch[0])
            learned *= ratio
        cos, sin = np.float32(math.cos(turned)), np.float32(math.sin(turned))
        _rotate(q, n_heads, d_head, j * step, apart, cos, sin)
        _rotate(k, n_kv_heads, d_head, j * step, apart, cos, sin)
        angle *= ratio


@njit(inline="always", **KERNEL)
def _rotate(vector, n_heads, d_head, j, apart, cos, sin):  # type: ignore[no-untyped-def]
    for head in range(n_heads):
        a, b = vector[head * d_head + j], vector[head * d_head + j + apart]
        vector[head * d_head + j] = a * cos - b * sin
        vector[head * d_head + j + apart] = a * sin + b * cos


@njit(**KERNEL)
def multiply_heads(vector, n_heads, d_head, weight):  # type: ignore[no-untyped-def]
    """Every head times the same weights, in place."""
    for head in range(n_heads):
        for j in range(d_head):
            vector[head * d_head + j] *= weight[j]


@njit(fastmath=FAST, **KERNEL)
def activate(hidden, d_ff, kind, out):  # type: ignore[no-untyped-def]
    """SwiGLU: silu(gate) * up with hidden = [gate | up]; SiLU, ReLU^2 and GELU (by tanh) act on `hidden` alone."""
    for j in range(d_ff):
        value = hidden[j]
        if kind == RELU2:
            out[j] = value * value if value > 0 else np.float32(0)
        elif kind == GELU:  # z (1 + tanh(y)) / 2 = z / (1 + exp(-2 y))
            inner = value + np.float32(0.044715) * value * value * value
            out[j] = value / (np.float32(1) + exp(np.float32(-1.5957691216057308) * inner))
        else:
            silu = value / (np.float32(1) + exp(-value))
            out[j] = silu * hidden[d_ff + j] if kind == SWIGLU else silu


@njit(**KERNEL)
def largest(values, n):  # type: ignore[no-untyped-def]
    """The largest of values[:n], leaving NaN out; minus infinity if there is no other."""
    top = np.float32(-np.inf)
    whole = n // N_LANES * N_LANES
    if whole > 0:
        tops = load_f32(values, 0)
        for j in range(N_LANES, whole, N_LANES):
            tops = larger(load_f32(values, j), tops)
        room = shelf()
        put(room, 0, tops)
        for j in range(N_LANES):
            top = number_at(room, j) if number_at(room, j) > top else top
    for j in range(whole, n):
        top = values[j] if values[j] > top else top
    return top


@njit(fastmath=FAST, **KERNEL)
def sum_of_exp(values, top, n):  # type: ignore[no-untyped-def]
    """sum(exp(values[:n] - top)) in float64."""
    total, top_64 = 0.0, np.float64(top)
    for j in range(n):
        total += exp_64(np.float64(values[j]) - top_64)
    return total


@njit(**KERNEL)
def log_sum_exp(values, n):  # type: ignore[no-untyped-def]
    """log(sum(exp(values[:n]))), summed in float64 around the maximum."""
    top = largest(values, n)
    return math.log(sum_of_exp(values, top, n)) + np.float64(top)


@njit(**KERNEL)
def exp_shifted(values, shift, n, out):  # type: ignore[no-untyped-def]
    """out[:n] = exp(values[:n] - shift): probabilities, if shift is the log-sum-exp, in float32."""
    for j in range(n):
        out[j] = exp(np.float32(np.float64(values[j]) - shift))


DRAWN_AT_ONCE = 256


@njit(**KERNEL)
def draw(values, n, u):  # type: ignore[no-untyped-def]
    """The index drawn from softmax(values[:n]) by inverting its distribution at u in [0, 1).

    Blocks whose whole share lies below u are skipped by their sums; the index is looked for in the one that is left.
    """
    top = largest(values, n)
    wanted, before, first = u * sum_of_exp(values, top, n), 0.0, 0
    while first + DRAWN_AT_ONCE < n:
        share = sum_of_exp(values[first : first + DRAWN_AT_ONCE], top, DRAWN_AT_ONCE)
        if not before + share <= wanted:
            break
        before += share
        first += DRAWN_AT_ONCE
    last = first
    for j in range(first, min(first + DRAWN_AT_ONCE, n)):
        p = exp_64(np.float64(values[j]) - np.float64(top))
        if p > 0.0:
            last = j
        before += p
        if wanted < before:
            return j
    return last  # rounding left the sum just below u
