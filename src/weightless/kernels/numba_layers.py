"""The compiled bodies of the decode operators: norm, RoPE, attention over a cache, FFN activations, softmax.

Each is the fast twin of a function in `ops` with the same equation; activations are float32, one token at a
time.  `scratch` is the operator's private memory (256 KiB at most), reused by every operator.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from weightless.kernels.codes import RELU2, SWIGLU
from weightless.kernels.numba_rows import FAST, KERNEL, decode_row, encode_row


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
def rotate_heads(vector, n_heads, d_head, position, theta):  # type: ignore[no-untyped-def]
    """RoPE, half-split pairing (j, j + d_head/2), angle position * theta^(-2j/d_head), in place."""
    half = d_head // 2
    for j in range(half):
        angle = np.float64(position) * theta ** (-2.0 * j / d_head)
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        for head in range(n_heads):
            a, b = vector[head * d_head + j], vector[head * d_head + j + half]
            vector[head * d_head + j] = a * cos - b * sin
            vector[head * d_head + j + half] = a * sin + b * cos


@njit(**KERNEL)
def append_kv(kv, cols, form, cache, offset, stride, t):  # type: ignore[no-untyped-def]
    """Write the row [k | v] of position t (from 1) into the cache."""
    encode_row(kv, cols, form, cache, offset + (t - 1) * stride)


@njit(fastmath=FAST, **KERNEL)
def attend(q, n_heads, n_kv_heads, d_head, cache, offset, stride, form, first, t, scratch, out):  # type: ignore[no-untyped-def]
    """softmax(q k^T / sqrt(d_head)) v over cache rows first..t-1 in one pass with a running maximum."""
    d_kv = n_kv_heads * d_head
    row = scratch[: 2 * d_kv]
    top = scratch[2 * d_kv : 2 * d_kv + n_heads]
    total = scratch[2 * d_kv + n_heads : 2 * d_kv + 2 * n_heads]
    out[:] = np.float32(0)
    top[:] = np.float32(-np.inf)
    total[:] = np.float32(0)
    shared = n_heads // n_kv_heads
    inv = np.float32(1.0 / math.sqrt(d_head))
    for i in range(first, t):
        decode_row(cache, offset + i * stride, 2 * d_kv, form, row)
        for head in range(n_heads):
            k0 = head // shared * d_head
            query, key = q[head * d_head : (head + 1) * d_head], row[k0 : k0 + d_head]
            value = row[d_kv + k0 : d_kv + k0 + d_head]
            score = np.float32(0)
            for j in range(d_head):
                score += query[j] * key[j]
            _mix_in(score * inv, value, head, top, total, out[head * d_head : (head + 1) * d_head], d_head)
    for head in range(n_heads):
        scale = np.float32(1) / total[head]
        for j in range(d_head):
            out[head * d_head + j] *= scale


@njit(fastmath=FAST, **KERNEL)
def _mix_in(score, value, head, top, total, out, d_head):  # type: ignore[no-untyped-def]
    """One step of the online softmax: rescale what is there when a new maximum appears, then add."""
    if score > top[head]:
        shrink = np.float32(math.exp(top[head] - score))
        total[head] *= shrink
        for j in range(d_head):
            out[j] *= shrink
        top[head] = score
    weight = np.float32(math.exp(score - top[head]))
    total[head] += weight
    for j in range(d_head):
        out[j] += weight * value[j]


@njit(fastmath=FAST, **KERNEL)
def activate(hidden, d_ff, kind, out):  # type: ignore[no-untyped-def]
    """SwiGLU: silu(gate) * up with hidden = [gate | up]; SiLU and ReLU^2 act on `hidden` alone."""
    for j in range(d_ff):
        value = hidden[j]
        if kind == RELU2:
            out[j] = value * value if value > 0 else np.float32(0)
        else:
            silu = value / (np.float32(1) + np.float32(math.exp(-value)))
            out[j] = silu * hidden[d_ff + j] if kind == SWIGLU else silu


@njit(**KERNEL)
def log_sum_exp(values, n):  # type: ignore[no-untyped-def]
    """log(sum(exp(values[:n]))), summed in float64 around the maximum."""
    top = values[0]
    for j in range(1, n):
        top = max(top, values[j])
    total = 0.0
    for j in range(n):
        total += math.exp(np.float64(values[j]) - np.float64(top))
    return math.log(total) + np.float64(top)


@njit(**KERNEL)
def draw(values, n, u):  # type: ignore[no-untyped-def]
    """The index drawn from softmax(values[:n]) by inverting its distribution at u in [0, 1)."""
    norm = log_sum_exp(values, n)
    total = 0.0
    last = 0
    for j in range(n):
        p = math.exp(np.float64(values[j]) - norm)
        if p > 0.0:
            last = j
        total += p
        if u < total:
            return j
    return last  # rounding left the sum just below u
