"""Comparisons whose tolerance has two sides: the largest truth, and the error of a plain implementation of one dtype.

A bare absolute tolerance lets zeros pass where the truth is small; a relative one per element is undefined where the
truth is zero.  So the error is measured in the max norm,

    err = max |found − truth| / max |truth|        (max |truth| = 0: found must be 0)

and allowed up to  c · max(error of the plain implementation, eps of the dtype · sqrt(n of one sum)).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.outcome import Failed


def array_of(found: Any, shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
    """`found` as the pinned array.  Raises Failed with WRONG_SHAPE or WRONG_DTYPE."""
    if not isinstance(found, np.ndarray):
        raise Failed("WRONG_SHAPE", f"{what} is {_kind(found)}, not an array of shape {shape}")
    if found.shape != shape:
        raise Failed("WRONG_SHAPE", f"{what} has shape {found.shape}, wanted {shape}")
    if found.dtype != np.dtype(dtype):
        raise Failed("WRONG_DTYPE", f"{what} is {found.dtype}, wanted {np.dtype(dtype)}")
    return found


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    """max |found − truth| / max |truth|; inf where only one of the two is finite, and where a zero truth is missed."""
    same_special = (found == truth) | (np.isnan(found) & np.isnan(truth))
    finite = np.isfinite(truth)
    if not same_special[~finite].all() or not np.isfinite(found[finite]).all():
        return float("inf")
    error = np.abs(found[finite].astype(np.float64) - truth[finite].astype(np.float64)).max(initial=0.0)
    scale = np.abs(truth[finite].astype(np.float64)).max(initial=0.0)
    return float(error / scale) if scale else (0.0 if error == 0 else float("inf"))


def close(
    found: Any,
    truth: np.ndarray,
    what: str,
    *,
    dtype: Any = None,
    plain: np.ndarray | None = None,
    factor: float = 10.0,
    terms: int = 1,
) -> None:
    """Raise Failed unless `found` is the truth to `factor` times what one honest implementation misses it by.

    `plain` is that implementation's answer (None: only rounding counts); `terms` is how many terms one sum has.
    """
    dtype = np.dtype(truth.dtype if dtype is None else dtype)
    found = array_of(found, truth.shape, dtype, what)
    rounding = float(np.finfo(dtype).eps) * np.sqrt(max(terms, 1)) if dtype.kind == "f" else 0.0
    allowed = factor * max(rounding, distance(plain, truth) if plain is not None else 0.0)
    error = distance(found, truth)
    if not error <= allowed:
        raise Failed("WRONG_NUMERIC", f"{what}: off by {error:.2g} of its largest value, allowed {allowed:.2g}")


def _kind(found: Any) -> str:
    return "None" if found is None else f"a {type(found).__name__}"
