"""What an operator can ask of a batch of rows, where a weight is read once for all: its face to `decode.batch_runner`.

A batch is N new tokens of many sequences.  `values` holds the registers by name, [N, width] in the batch's dtype; an
operator's `batch(rows)` does for all rows what its `run` does for one.  What looks back (caches) goes through `append`
and `attend`, so that an operator need not know which sequence a row belongs to.

A recurrence takes the rows of a sequence one after the other: in `stages`, each of which holds rows that do not depend
on each other.  For the rows of a stage it asks what state their predecessors have left (`recalled`: the token before in
the sequence, or the parent in a tree), and says what state they leave (`remember`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from weightless.ops.feedforward import activate
from weightless.ops.norm import check_eps, layer_norm

LOG_P = "log p"
"""The name under which a head leaves log p [N, V] in `values`."""
MANY_ROWS = 48
"""Rows from which on it does not matter to BLAS which way round a product is made."""


class Batch(Protocol):
    """N rows under way."""

    values: dict[str, np.ndarray]
    position_N: np.ndarray
    dtype: Any
    exits_N: np.ndarray
    """bool [N], set by a test: which rows exit there (`flow.py`)."""
    target_N: np.ndarray
    """int64 [N]: what a head that scores is asked for; empty where none is."""

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for this batch: what many operators need alike."""
        ...

    def weight(self, name: str) -> np.ndarray:
        """A whole matrix or vector in the batch's dtype."""
        ...

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        """Single rows of a table [len(at), columns]."""
        ...

    def n_rows(self, name: str) -> int:
        """How many rows a table has."""
        ...

    def n_columns(self, name: str) -> int:
        """How wide a tensor is."""
        ...

    def format_of(self, name: str) -> str:
        """How a tensor is stored."""
        ...

    def ids(self, name: str) -> np.ndarray:
        """A column of whole numbers."""
        ...

    def last_tokens(self, order: int, pad: int) -> np.ndarray:
        """uint64 [N, order]: the last tokens at every row, oldest first; `pad` before the first."""
        ...

    def fed(self) -> list[list[int]]:
        """Of every row the tokens of its sequence up to it, oldest first."""
        ...

    def append(self, cache: str, kv_NC: np.ndarray, n_kv_heads: int) -> None:
        """Append a row [k | v] to the cache of every row's sequence, rounded as the program stores it."""

    def attend(self, cache: str, q_NHK: np.ndarray) -> np.ndarray:
        """Every row over what it sees of its own sequence: [N, H K]."""
        ...

    def stages(self) -> list[np.ndarray]:
        """Rows whose predecessors are all in earlier stages, int64 [n] each; every row once."""
        ...

    def is_chain(self) -> bool:
        """Whether the rows are one sequence in order: all of them can then be done in one pass, from the state that is
        recalled for row 0 to the one that the last row leaves."""
        ...

    def recalled(self, state: str, at: np.ndarray) -> np.ndarray:
        """A copy of the state [n, rows, columns] that the predecessors of these rows left; zeros where none is."""
        ...

    def remember(self, state: str, at: np.ndarray, left_NRC: np.ndarray) -> None:
        """The state that these rows leave, rounded as the program stores it."""


def times(W: np.ndarray, x_ND: np.ndarray) -> np.ndarray:
    """x W^T [N, rows].  For a few rows of x BLAS is twice as fast the other way round: it walks W as it is stored."""
    if len(x_ND) == 1 or len(x_ND) >= MANY_ROWS:
        return x_ND @ W.T
    return np.ascontiguousarray((W @ np.ascontiguousarray(x_ND.T)).T)


def normed_rows(
    rows: Batch, x_ND: np.ndarray, norm: str, eps: float, bare: bool = False, norm_bias: str = ""
) -> np.ndarray:
    """RMSNorm with the weights `norm`, without any (`bare`), LayerNorm with a bias, or x as it is."""
    if norm_bias:
        return layer_norm(x_ND, rows.weight(norm), rows.weight(norm_bias), eps)
    return _root_mean_square(x_ND, rows.weight(norm) if norm else None, eps) if norm or bare else x_ND


def _root_mean_square(x_ND: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    """`ops.norm.rms_norm` in fewer passes."""
    check_eps(eps)
    factor_N = 1 / np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND) / x_ND.shape[1] + x_ND.dtype.type(eps))
    y_ND = x_ND * factor_N[:, None]
    if weight is not None:
        y_ND *= weight.reshape(-1)
    return y_ND


def activated(hidden_NF: np.ndarray, activation: str) -> np.ndarray:
    """`ops.feedforward.activate` in fewer passes: z / (1 + exp(-z)) is -0 where the exponential is infinite."""
    if activation not in ("silu", "swiglu"):
        return activate(hidden_NF, activation)
    gate, *value = np.split(hidden_NF, 2, axis=1) if activation == "swiglu" else (hidden_NF,)
    out = np.negative(gate)
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += 1
    np.divide(gate, out, out=out)
    if value:
        out *= value[0]
    return out
