"""Linear attention with a matrix of state per head in compiled code, float32; twin and oracle: `ops.linear_attention`.

    r = S_{t-1}^T k        w = v, or beta (v - a r)        S_t = a S_{t-1} + k w^T        y = S_t^T q

Forwards the state before every `chunk`-th position is kept.  Backwards the states of one chunk after the other, the
last first, are made again from it; with G = dL/dS_t, which begins as what position t + 1 has left,

    G += q dy^T        dq = S_t dy        dk = G w        dw = G^T k        dv = dw, da = <G, S_{t-1}>        G <- a G

and for the delta rule, with z = -beta dw the gradient of a r,

    dv = beta dw       dbeta = dw (v - a r)        dk += a S_{t-1} z        G += k z^T, before da

A state that is stored in bf16 is rounded after every position, and the gradient passes straight through.
Shapes: T positions of one row of a batch, H heads, K key width, V value width, C positions of a chunk.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import FAST, KERNEL, bits_of_float, float_of_bits


@njit(inline="always", **KERNEL)
def as_bf16(x):  # type: ignore[no-untyped-def]
    """The float32 that comes back from bf16."""
    bits = bits_of_float(x)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return float_of_bits(np.uint32(np.uint32(bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)))


@njit(**KERNEL)
def _copied(from_KV, to_KV):  # type: ignore[no-untyped-def]
    for i in range(from_KV.shape[0]):
        before, after = from_KV[i], to_KV[i]
        for j in range(from_KV.shape[1]):
            after[j] = before[j]


@njit(fastmath=FAST, **KERNEL)
def answered(S_KV, k, out):  # type: ignore[no-untyped-def]
    """out = S^T k."""
    n = len(out)
    for j in range(n):
        out[j] = np.float32(0)
    for i in range(len(k)):
        row, weight = S_KV[i], k[i]
        for j in range(n):
            out[j] += weight * row[j]


@njit(fastmath=FAST, **KERNEL)
def _written(S_KV, k, v, a, beta, is_delta, w):  # type: ignore[no-untyped-def]
    """w, with which k is written."""
    n = len(w)
    if is_delta:
        answered(S_KV, k, w)
        for j in range(n):
            w[j] = beta * (v[j] - a * w[j])
    else:
        for j in range(n):
            w[j] = v[j]


@njit(fastmath=FAST, **KERNEL)
def _advanced(S_KV, k, w, a, is_rounded, T_KV):  # type: ignore[no-untyped-def]
    """T = a S + k w^T, as it is stored."""
    n = len(w)
    for i in range(len(k)):
        before, after, weight = S_KV[i], T_KV[i], k[i]
        for j in range(n):
            after[j] = a * before[j] + weight * w[j]
        if is_rounded:
            for j in range(n):
                after[j] = as_bf16(after[j])


@njit(fastmath=FAST, **KERNEL)
def linear_attention_row(  # type: ignore[no-untyped-def]
    q_THK, k_THK, v_THV, a_TH, beta_TH, begins_T, h, chunk, is_delta, is_rounded, S_KV, w, kept_CHKV, y_THV
):
    """y of head `h` of one row of a batch; `S_KV` and `w` are scratch."""
    for t in range(len(begins_T)):
        q, k, v, y, a = q_THK[t, h], k_THK[t, h], v_THV[t, h], y_THV[t, h], a_TH[t, h]
        n = len(v)
        if begins_T[t]:
            S_KV[:] = np.float32(0)
        if t % chunk == 0:
            _copied(S_KV, kept_CHKV[t // chunk, h])
        _written(S_KV, k, v, a, beta_TH[t, h], is_delta, w)
        for j in range(n):
            y[j] = np.float32(0)
        for i in range(len(k)):
            row, key, query = S_KV[i], k[i], q[i]
            for j in range(n):
                row[j] = a * row[j] + key * w[j]
                y[j] += query * row[j]
            if is_rounded:
                for j in range(n):
                    row[j] = as_bf16(row[j])


@njit(fastmath=FAST, **KERNEL)
def linear_attention_backward_row(  # type: ignore[no-untyped-def]
    given, begins_T, h, chunk, is_delta, is_rounded, kept_CHKV, states_CKV, G_KV, rooms_3V, found
):
    """Gradients of head `h` of one row: given = (q, k, v, a, beta, dy), found = (dq, dk, dv, da, dbeta).

    `states_CKV`, `rooms_3V` and `G_KV` are scratch; `G_KV` begins at zero.
    """
    q_THK, k_THK, v_THV, a_TH, beta_TH, _ = given
    T, w = len(begins_T), rooms_3V[0]
    for c in range((T - 1) // chunk, -1, -1):
        first, stop = c * chunk, min(T, (c + 1) * chunk)
        _copied(kept_CHKV[c, h], states_CKV[0])
        for t in range(first, stop - 1):
            if begins_T[t + 1]:
                states_CKV[t + 1 - first] = np.float32(0)
            else:
                S_KV, k, a = states_CKV[t - first], k_THK[t, h], a_TH[t, h]
                _written(S_KV, k, v_THV[t, h], a, beta_TH[t, h], is_delta, w)
                _advanced(S_KV, k, w, a, is_rounded, states_CKV[t + 1 - first])
        for t in range(stop - 1, first - 1, -1):
            _backward_step(given, t, h, is_delta, states_CKV[t - first], G_KV, rooms_3V, found)
            if begins_T[t]:
                G_KV[:] = np.float32(0)


@njit(fastmath=FAST, **KERNEL)
def _backward_step(given, t, h, is_delta, S_KV, G_KV, rooms_3V, found):  # type: ignore[no-untyped-def]
    q, k, v, dy = given[0][t, h], given[1][t, h], given[2][t, h], given[5][t, h]
    a, beta = given[3][t, h], given[4][t, h]
    dq, dk, dv = found[0][t, h], found[1][t, h], found[2][t, h]
    w, dw, r = rooms_3V[0], rooms_3V[1], rooms_3V[2]
    n = len(v)
    _written(S_KV, k, v, a, beta, is_delta, w)
    for j in range(n):
        dw[j] = np.float32(0)
    for i in range(len(k)):
        row, G, key, query = S_KV[i], G_KV[i], k[i], q[i]
        d_query, d_key = np.float32(0), np.float32(0)
        for j in range(n):
            G[j] += query * dy[j]
            d_query += (a * row[j] + key * w[j]) * dy[j]
            d_key += G[j] * w[j]
            dw[j] += key * G[j]
        dq[i], dk[i] = d_query, d_key
    d_beta = np.float32(0)
    for j in range(n):
        r[j] = np.float32(0)
        dv[j] = dw[j]
    if is_delta:
        answered(S_KV, k, r)
        for j in range(n):
            d_beta += dw[j] * (v[j] - a * r[j])
            dv[j] = beta * dw[j]
            r[j] = -beta * dw[j]
    d_a = np.float32(0)
    for i in range(len(k)):
        row, G, key = S_KV[i], G_KV[i], k[i]
        d_key = np.float32(0)
        for j in range(n):
            d_key += row[j] * r[j]
            G[j] += key * r[j]
            d_a += row[j] * G[j]
            G[j] *= a
        dk[i] += a * d_key
    found[3][t, h], found[4][t, h] = d_a, d_beta
