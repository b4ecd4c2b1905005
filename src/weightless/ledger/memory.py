"""Bytes: of stored weights, of optimizer state, of activations kept for the backward pass, and of all of training.

    peak = parameters + gradients + optimizer state + batch x activations of one sequence

An upper bound that is nearly met: activations are released while gradients appear.  Everything in training is
float32 unless `width` says otherwise.

Optimizer state per parameter: AdamW 8 bytes (two moments), Muon 4 (one momentum; matrices only, all else AdamW),
SGD 0, row-wise Adagrad 4 per row.  Tables of looked-up rows take row-wise Adagrad unless the optimizer is SGD.

Activations are lists of named tensors, so that a reader can disagree with an entry instead of with a sum:
`textbook_activations` is the list of an ordinary implementation (attention matrices and logits kept; the exercise of
document 004); what the layers of this library keep (no T x T matrix, no logits) they say themselves, in `kept`.
Letters: B batch, T tokens, V vocabulary, D d_model, H heads, K head width, F d_ff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from weightless.base.errors import ConfigError, nearest
from weightless.ledger.shape import TransformerShape, Weight

OPTIMIZERS = ("adamw", "muon", "sgd", "rowwise_adagrad")


def stored_bytes(weights: Iterable[Weight], row_bytes: Callable[[int], int]) -> int:
    """Matrices, embeddings and tables at row_bytes(cols) per row; vectors (norms, biases, gains) in float32."""
    return sum(w.n * w.rows * (4 * w.cols if w.group == "vector" else row_bytes(w.cols)) for w in weights)


def optimizer_bytes(weights: Iterable[Weight], optimizer: str, width: int = 4) -> dict[str, int]:
    """{group: bytes of state}; ConfigError for an unknown optimizer."""
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"optimizer {optimizer!r}: {nearest(optimizer, OPTIMIZERS)}")
    out: dict[str, int] = {}
    for weight in weights:
        out[weight.group] = out.get(weight.group, 0) + width * _state_elements(weight, optimizer)
    return out


def _state_elements(weight: Weight, optimizer: str) -> int:
    if optimizer == "sgd":
        return 0
    if optimizer == "rowwise_adagrad" or weight.group == "table":
        return weight.n * weight.rows
    return weight.parameters * (1 if optimizer == "muon" and weight.group == "matrix" else 2)


class Activation(NamedTuple):
    """`times` tensors of `elements` numbers of `width` bytes, per sequence."""

    name: str
    elements: int
    times: int = 1
    width: int = 4

    @property
    def nbytes(self) -> int:
        return self.elements * self.times * self.width


def textbook_activations(
    shape: TransformerShape, T: int = 0, ffn: Literal["gated", "plain", ""] = ""
) -> list[Activation]:
    """What an implementation without fused kernels keeps of one sequence; `ffn` overrides the shape's."""
    T, n, D, F = T or shape.context, shape.n_layers, shape.d_model, shape.d_ff
    inner = ("gate", "SiLU of the gate", "up", "product") if (ffn or shape.ffn) == "gated" else ("up", "activation")
    return [
        Activation("norms (two per block)", 2 * T * D, n),
        Activation("queries", T * shape.d_q, n),
        Activation("keys", T * shape.d_kv, n),
        Activation("values", T * shape.d_kv, n),
        Activation("attention scores", shape.n_heads * T * T, n),
        Activation("attention weights", shape.n_heads * T * T, n),
        Activation("weighted values", T * shape.d_q, n),
        Activation("out-projection", T * D, n),
        *(Activation(name, T * F, n) for name in inner),
        Activation("down", T * D, n),
        Activation("final norm", T * D),
        Activation("logits", T * shape.vocab_size),
        Activation("softmax of the logits", T * shape.vocab_size),
    ]


class TrainingMemory(NamedTuple):
    """Bytes; `activations` are those of one sequence."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.parameters + self.gradients + self.optimizer

    def peak(self, batch_size: int) -> int:
        return self.fixed + batch_size * self.activations

    def largest_batch(self, device_bytes: int) -> int:
        """Sequences per step that fit; ConfigError naming what does not fit when not even one does."""
        if device_bytes < self.fixed:
            sizes = {"parameters": self.parameters, "gradients": self.gradients, "optimizer state": self.optimizer}
            largest = max(sizes, key=lambda name: sizes[name])
            raise ConfigError(
                f"{device_bytes:,} bytes cannot hold parameters, gradients and optimizer state of "
                f"{self.fixed:,} bytes (most of it {largest}, {sizes[largest]:,}): take a smaller model, "
                "or an optimizer with less state"
            )
        return (device_bytes - self.fixed) // self.activations


def training_memory(
    weights: Iterable[Weight], optimizer: str, activations: Iterable[Activation], width: int = 4
) -> TrainingMemory:
    """Of a model with these weights, all of them with a dense gradient except the rows of tables."""
    weights = list(weights)
    total = sum(weight.parameters for weight in weights)
    dense = sum(weight.parameters for weight in weights if weight.group != "table")
    state = sum(optimizer_bytes(weights, optimizer, width).values())
    return TrainingMemory(width * total, width * dense, state, sum(part.nbytes for part in activations))
