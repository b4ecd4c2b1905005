"""The compiled twins of `promise.py`: operands as its `lower` lists them, packed matrices first (`operator.packed`)."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.codes import QK_EPS
from weightless.kernels.numba_calls import call
from weightless.kernels.numba_layers import normalise_heads, rms_norm, rotate_heads
from weightless.kernels.numba_memory import READ, WRITE, loaded, stored, touch, touch_rows, updated
from weightless.kernels.numba_rows import KERNEL
from weightless.program.operators.products import add_into, product
from weightless.program.registers import T


@njit(**KERNEL)
def norm_matvec(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    rows, cols = c[2], c[3]
    h = scratch[:cols]
    rms_norm(loaded(S, c[7], cols), loaded(W, c[6], cols), f[0], h)
    product(W, c, h, stored(S, c[8], rows))


@njit(**KERNEL)
def rope_append(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    cache, stride, width, form, n_heads, n_kv, d_head, qk_norm = c[0], c[1], c[3], c[4], c[7], c[8], c[9], c[10]
    n_q = n_heads * d_head
    qkv = loaded(S, c[6], n_q + width)
    touch(S, c[6], 4 * n_q, WRITE)
    kv = scratch[:width]  # k is rotated in scratch: only the cache row keeps it
    for j in range(width):
        kv[j] = qkv[n_q + j]
    if qk_norm:
        normalise_heads(qkv, n_heads, d_head, QK_EPS)
        normalise_heads(kv, n_kv, d_head, QK_EPS)
    rotate_heads(qkv, n_heads, kv, n_kv, d_head, R[T] - 1, f[0])
    at = cache + (R[T] - 1) * stride
    touch_rows(S, at, stride, 1, width, form, WRITE)
    call(c[5], (kv, width, S[:3], at))


@njit(**KERNEL)
def attend(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    cache, stride, width, form, n_heads, n_kv, d_head, window = c[0], c[1], c[3], c[4], c[8], c[9], c[10], c[11]
    q, out = loaded(S, c[6], n_heads * d_head), stored(S, c[7], n_heads * d_head)
    first = max(0, R[T] - window) if window > 0 else 0
    touch_rows(S, cache + first * stride, stride, R[T] - first, width, form, READ)
    call(c[5], (q, n_heads, n_kv, d_head, S[:3], cache, stride, first, R[T], scratch, out))


@njit(**KERNEL)
def matvec_add(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    rows, cols = c[2], c[3]
    out = scratch[:rows]
    product(W, c, loaded(S, c[6], cols), out)
    add_into(updated(S, c[7], rows), out, rows)
