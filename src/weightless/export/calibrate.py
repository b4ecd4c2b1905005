"""Rounding that looks at what a matrix is multiplied with: GPTQ over a trained model, matrix after matrix.

In the order in which they are used, each matrix is rounded for the inputs that it gets in the model as it is by then,
with everything before it rounded.  Inputs are seen by watching PyTorch's products (a linear function, or x @ w') whose
weights are rows of a trained tensor; experts that share a tensor have moments of their own.  What is never multiplied
so (looked-up rows, slots) is rounded to nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.export.lower import StoredRows
from weightless.layers.stack import StackModel
from weightless.program.tensor import Parameter
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.gptq import compress
from weightless.quant.layout import format_named

BATCH_POSITIONS = 4096


class Part(NamedTuple):
    """Rows of a tensor that are multiplied with the same inputs."""

    name: str
    first: int
    rows: int


class Watching(TorchFunctionMode):
    """Adds up x x' of every product with rows of one of the tensors `p`, by parts; `order` is that of first use."""

    def __init__(self, p: Mapping[str, torch.Tensor], wanted: Callable[[str], bool]) -> None:
        super().__init__()
        self.by_storage = {t.untyped_storage().data_ptr(): name for name, t in p.items() if wanted(name)}
        self.cols = {name: t.shape[-1] for name, t in p.items()}
        self.moments: dict[Part, torch.Tensor] = {}
        self.counts: dict[Part, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "linear":
            self._see(args[0], args[1])
        elif name in ("matmul", "__matmul__", "mm") and len(args) > 1 and args[1].ndim == 2:
            self._see(args[0], args[1].detach().T)
        return func(*args, **(kwargs or {}))

    def _see(self, x: torch.Tensor, w_RC: torch.Tensor) -> None:
        name = self.by_storage.get(w_RC.untyped_storage().data_ptr())
        if name is None or w_RC.ndim != 2 or w_RC.shape[1] != self.cols[name] or w_RC.stride(1) != 1:
            return
        part = Part(name, w_RC.storage_offset() // self.cols[name], w_RC.shape[0])
        with torch.no_grad():
            flat = x.detach().reshape(-1, x.shape[-1]).float()
            moment = (flat.T @ flat).double()
        self.moments[part] = self.moments[part] + moment if part in self.moments else moment
        self.counts[part] = self.counts.get(part, 0) + len(flat)


def compressed(
    model: StackModel, arrays: Mapping[str, np.ndarray], text_NT: np.ndarray, show_progress: bool = False
) -> dict[str, StoredRows]:
    """Stored rows of every trained tensor that has codes, for the inputs that windows of training text give it.

    arrays   trained tensors and constants by name          text_NT   token ids, windows of at most the model's context
    """
    specs = {spec.name: spec for spec in model.tensors() if format_named(spec.format).levels}
    tokens_NT = torch.from_numpy(np.asarray(text_NT, np.int64))
    p = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    order = list(dict.fromkeys(part.name for part in _watched(model, p, tokens_NT[:1], specs).moments))
    out = {name: _nearest(spec, arrays[name]) for name, spec in specs.items() if name not in order}
    _take(p, out)
    with progress("GPTQ", len(order), "matrices") if show_progress else nullcontext() as tick:
        for name in order:
            seen = _watched(model, p, tokens_NT, {name: specs[name]})
            out[name] = _compressed(specs[name], arrays[name], seen)
            _take(p, {name: out[name]})
            if tick:
                tick(1)
    return out


def spread_windows(tokens: Any, n_tokens: int, context: int) -> np.ndarray:
    """Windows of `context` tokens, about `n_tokens` in all, spread over a text; ConfigError when it is too short."""
    n = max(1, min(n_tokens, len(tokens)) // context)
    if len(tokens) < context:
        raise ConfigError(f"calibration takes a window of {context} tokens, and the text has {len(tokens)}")
    starts = np.linspace(0, len(tokens) - context, n).astype(np.int64)
    return np.stack([np.asarray(tokens[start : start + context], np.int64) for start in starts])


def _watched(
    model: StackModel, p: Mapping[str, torch.Tensor], text_NT: torch.Tensor, specs: Mapping[str, Parameter]
) -> Watching:
    watching, step = Watching(p, specs.__contains__), max(1, BATCH_POSITIONS // text_NT.shape[1])
    with torch.no_grad(), watching:
        for first in range(0, len(text_NT), step):
            model.log_probs(p, text_NT[first : first + step])
    return watching


def _nearest(spec: Parameter, array: np.ndarray) -> StoredRows:
    rows, cols = spec.shape
    return StoredRows(spec.format, (rows, cols), encode_rows(array.reshape(rows, cols), spec.format))


def _compressed(spec: Parameter, array: np.ndarray, seen: Watching) -> StoredRows:
    """Part by part for its own inputs; rows that no input met are rounded to nearest."""
    nearest = _nearest(spec, array)
    for part, moment in seen.moments.items():
        rows = slice(part.first, part.first + part.rows)
        w_RC = np.ascontiguousarray(array.reshape(spec.shape)[rows], np.float32)
        nearest.rows[rows] = compress(w_RC, moment.numpy() / seen.counts[part], format_named(spec.format))
    return nearest


def _take(p: dict[str, torch.Tensor], found: Mapping[str, StoredRows]) -> None:
    """Compute with what was rounded from here on."""
    for name, stored in found.items():
        values = decode_rows(stored.rows, stored.format, stored.shape[1])
        p[name] = torch.from_numpy(values).reshape(p[name].shape)
