"""What an operator can ask of a batch of rows, where a weight is read once for all: its face to `decode.batch_runner`.

A batch is N new tokens of many sequences.  `values` holds the registers by name, [N, width] in the batch's dtype; an
operator's `batch(rows)` does for all rows what its `run` does for one.  What looks back (caches) goes through `append`
and `attend`, so that an operator need not know which sequence a row belongs to.

A recurrence takes the rows of a sequence one after the other: in `stages`, each of which holds rows that do not depend
on each other.  For the rows of a stage it asks what state their predecessors have left (`recalled`: the token before in
the sequence, or the parent in a tree), and says what state they leave (`remember`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from weightless.ops.norm import layer_norm, rms_norm

LOG_P = "log p"
"""The name under which a head leaves log p [N, V] in `values`."""


class Batch(Protocol):
    """N rows under way."""

    values: dict[str, np.ndarray]
    position_N: np.ndarray
    dtype: Any
    exits_N: np.ndarray
    """bool [N], set by a test: which rows exit there (`flow.py`)."""

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

    def recalled(self, state: str, at: np.ndarray) -> np.ndarray:
        """A copy of the state [n, rows, columns] that the predecessors of these rows left; zeros where none is."""
        ...

    def remember(self, state: str, at: np.ndarray, left_NRC: np.ndarray) -> None:
        """The state that these rows leave, rounded as the program stores it."""


def times(W: np.ndarray, x_ND: np.ndarray) -> np.ndarray:
    """x W^T [N, rows].  For a few rows of x BLAS is twice as fast the other way round: it walks W as it is stored."""
    if len(x_ND) == 1:
        return x_ND @ W.T
    return np.ascontiguousarray((W @ np.ascontiguousarray(x_ND.T)).T)


def normed_rows(
    rows: Batch, x_ND: np.ndarray, norm: str, eps: float, bare: bool = False, norm_bias: str = ""
) -> np.ndarray:
    """RMSNorm with the weights `norm`, without any (`bare`), LayerNorm with a bias, or x as it is."""
    if norm_bias:
        return layer_norm(x_ND, rows.weight(norm), rows.weight(norm_bias), eps)
    return rms_norm(x_ND, rows.weight(norm) if norm else None, eps) if norm or bare else x_ND
