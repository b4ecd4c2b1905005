"""Feed-forward blocks y = W_down act(...) without biases; D model width, F feed-forward width, rows are positions.

    swiglu   act = silu(W_gate x) * (W_up x)     up_2FD = [W_gate; W_up]     Shazeer 2020
    silu     act = silu(W_up x)                  up_FD                       silu(z) = z / (1 + exp(-z))
    relu2    act = max(W_up x, 0)^2              up_FD                       So et al. 2021
    gelu     act = gelu(W_up x)                  up_FD                       by tanh (Hendrycks & Gimpel 2016, GPT-2)

Products and activations are float32 at least; the result has the dtype of x.
Errors: ConfigError for an unknown activation or shapes that do not fit.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.ops.arguments import as_given, working_dtype

ACTIVATIONS = ("swiglu", "silu", "relu2", "gelu")


def feedforward(x_TD: np.ndarray, up: np.ndarray, down_DF: np.ndarray, activation: str) -> np.ndarray:
    """y [..., D]; `up` is stacked [gate; up] of 2F rows for swiglu, F rows otherwise."""
    if activation not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {activation!r}: {nearest(activation, ACTIVATIONS)}")
    rows = down_DF.shape[1] * (2 if activation == "swiglu" else 1)
    if len(up) != rows:
        raise ConfigError(f"{activation} with d_ff = {down_DF.shape[1]} needs {rows} rows of `up`, got {len(up)}")
    work = working_dtype(x_TD, up, down_DF)
    hidden = x_TD.astype(work, copy=False) @ up.T.astype(work, copy=False)
    return as_given(activate(hidden, activation) @ down_DF.T.astype(work, copy=False), x_TD)


def activate(hidden: np.ndarray, activation: str) -> np.ndarray:
    """act of the projected input: [..., 2F] -> [..., F] for swiglu, the same shape otherwise."""
    z = hidden.astype(working_dtype(hidden), copy=False)
    if activation == "swiglu":
        gate, value = np.split(z, 2, axis=-1)
        return as_given(silu(gate) * value, hidden)
    if activation == "gelu":
        return as_given(gelu(z), hidden)
    return as_given(silu(z) if activation == "silu" else np.square(np.maximum(z, 0)), hidden)


def gelu(z: np.ndarray) -> np.ndarray:
    """z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2."""
    return z * (1 + np.tanh(np.sqrt(2 / np.pi).astype(z.dtype) * (z + 0.044715 * z**3))) / 2


def silu(z: np.ndarray) -> np.ndarray:
    """z * sigmoid(z), with the exponential always of a number <= 0 so that it cannot overflow."""
    small = np.exp(-np.abs(z))
    return z * np.where(z >= 0, 1, small) / (1 + small)
