"""What layer normalisation is, by its Jacobian: every row alone, a full D x D matrix, float64.

    d y_j / d x_i = gamma_j r (delta_ij - 1/D - xhat_i xhat_j / D)

Slow and unlike any fused formula, which is what makes it an oracle of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.bench import Handle, Worker
from weightless.deck.comparing import close
from weightless.deck.outcome import Failed

Given = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(x, gamma, beta, dy)."""
NAMES = ("y", "dx", "dgamma", "dbeta")


def drawn(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> Given:
    """(x, gamma, beta, dy): x and dy of the shape, gamma and beta of its width."""
    width = shape[-1:]
    x, gamma, beta, dy = (rng.standard_normal(size).astype(dtype) for size in (shape, width, width, shape))
    return x, gamma, beta, dy


def by_jacobian(x: Any, gamma: Any, beta: Any, dy: Any, eps: float, offset: float = 0.0) -> tuple[np.ndarray, ...]:
    """(y, dx, dgamma, dbeta) in float64; `offset` is what x stands around, taken off first because that is exact."""
    near, dy = np.asarray(x, np.float64) - offset, np.asarray(dy, np.float64)
    gamma, beta = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
    D = near.shape[-1]
    centred = near - near.mean(-1, keepdims=True)
    r = 1 / np.sqrt(np.square(centred).sum(-1, keepdims=True) / D + eps)
    xhat = centred * r
    jacobian = (np.eye(D) - 1 / D - xhat[..., :, None] * xhat[..., None, :] / D) * r[..., None]
    dx = np.einsum("...ij,...j->...i", jacobian, dy * gamma)
    rows = tuple(range(near.ndim - 1))
    return gamma * xhat + beta, dx, (dy * xhat).sum(rows), dy.sum(rows)


def plainly(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, dy: np.ndarray, eps: float) -> tuple[np.ndarray, ...]:
    """The two-pass formulas in the dtype of x and nothing else: how far an honest solution may be off."""
    centred = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + x.dtype.type(eps))
    xhat, g = centred * r, dy * gamma
    dx = r * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))
    rows = tuple(range(x.ndim - 1))
    return gamma * xhat + beta, dx, (dy * xhat).sum(rows), dy.sum(rows)


def forwards(worker: Worker, x: Any, gamma: Any, beta: Any, eps: float) -> tuple[Any, Handle]:
    """(y, the cache, which stays in the worker)."""
    pair = worker.make("layer_norm_forward", x, gamma, beta, eps)
    return worker.read(worker.take(pair, 0)), worker.take(pair, 1)


def backwards(worker: Worker, dy: Any, cache: Handle) -> tuple[Any, Any, Any]:
    """(dx, dgamma, dbeta), whatever they are."""
    found = worker.call("layer_norm_backward", dy, cache)
    if not isinstance(found, (tuple, list)) or len(found) != 3:
        what = f"{len(found)} parts" if isinstance(found, (tuple, list)) else f"a {type(found).__name__}"
        raise Failed("WRONG_SHAPE", f"layer_norm_backward returned {what}, not (dx, dgamma, dbeta)")
    dx, dgamma, dbeta = found
    return dx, dgamma, dbeta


def both_ways(worker: Worker, x: Any, gamma: Any, beta: Any, dy: Any, eps: float) -> tuple[Any, Any, Any, Any]:
    """(y, dx, dgamma, dbeta) as the solution has them."""
    y, cache = forwards(worker, x, gamma, beta, eps)
    dx, dgamma, dbeta = backwards(worker, dy, cache)
    return y, dx, dgamma, dbeta


def magnitudes(x: Any, gamma: Any, beta: Any, dy: Any, eps: float, offset: float = 0.0) -> tuple[float, ...]:
    """How large the terms are that add up to y, dx, dgamma, dbeta: what rounding is relative to where they cancel."""
    near = np.asarray(x, np.float64) - offset
    centred = near - near.mean(-1, keepdims=True)
    r = 1 / np.sqrt(np.square(centred).mean(-1, keepdims=True) + eps)
    xhat, g, rows = np.abs(centred * r), np.abs(np.multiply(dy, gamma)), tuple(range(near.ndim - 1))
    terms = np.abs(gamma) * xhat + np.abs(beta), r * g, (np.abs(dy) * xhat).sum(rows), np.abs(dy).sum(rows)
    return tuple(float(term.max()) for term in terms)


def hold_to_truth(
    worker: Worker, given: Given, eps: float, what: str, offset: float = 0.0, factor: float = 30.0
) -> None:
    """All four against the Jacobian, as near as the plain formulas come in this dtype."""
    found = both_ways(worker, *given, eps)
    with np.errstate(all="ignore"):
        honest = plainly(*given, eps)
    sizes = magnitudes(*given, eps, offset)
    for name, one, right, plain, size in zip(NAMES, found, by_jacobian(*given, eps, offset), honest, sizes):
        cancelled = max(1.0, size / np.abs(right).max()) if right.any() else 1.0
        terms = int(max(given[0].shape) * min(cancelled, 1e8) ** 2)
        close(one, right, f"{name} {what}", dtype=given[0].dtype, plain=plain, factor=factor, terms=terms)
