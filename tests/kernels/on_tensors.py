"""Functions over torch tensors as functions over NumPy arrays, so that the checks of tests/ops can hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def over_arrays(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """`function` with arrays (also inside dicts and tuples) put on the device, and its results fetched back."""

    def called(*arguments: Any, **named: Any) -> Any:
        arguments = tuple(_to_tensor(value, device) for value in arguments)
        return _to_array(function(*arguments, **{key: _to_tensor(value, device) for key, value in named.items()}))

    return called


def _to_tensor(value: Any, device: str) -> Any:
    if isinstance(value, np.ndarray):
        # a transposed view stays one, so that kernels meet tensors that are not contiguous
        return torch.from_numpy(value.copy() if any(step < 0 for step in value.strides) else value).to(device)
    if isinstance(value, dict):
        return {key: _to_tensor(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_to_tensor(item, device) for item in value))
    return value


def _to_array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu().numpy()
    if isinstance(value, dict):
        return {key: _to_array(item) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [_to_array(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def fitting(check: Callable[..., None], **wanted: Any) -> dict[str, Any]:
    """Those of the named arguments that a check takes."""
    takes = check.__code__.co_varnames[: check.__code__.co_argcount]
    return {name: value for name, value in wanted.items() if name in takes}
