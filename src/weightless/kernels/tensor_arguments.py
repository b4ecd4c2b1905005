"""Checks that the GPU twins share: shapes and types of torch tensors, each refusal an ArgumentError in one line.

They look at shapes only.  Whether a tensor holds NaN would cost a pass over it and stop the queue of the GPU, so GPU
twins do not ask: NaN goes in and NaN comes out, as in PyTorch.  The NumPy twin refuses it.
"""

from __future__ import annotations

from typing import Any

from weightless.base.errors import ArgumentError

KINDS = ("float16", "bfloat16", "float32", "float64")


def float_tensor(name: str, value: Any, axes: str, at_least: bool = False, kinds: tuple[str, ...] = KINDS) -> Any:
    """`value` itself when it is a floating-point tensor with one axis per letter of `axes`, none of them empty.

    With `at_least`, more axes may stand in front.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        raise ArgumentError(f"{name} should be a torch tensor, not {type(value).__name__}")
    shape = tuple(value.shape)
    if not (len(shape) >= len(axes) if at_least else len(shape) == len(axes)):
        wanted = ("..., " if at_least else "") + ", ".join(axes)
        raise ArgumentError(f"{name} should have the axes ({wanted}), but its shape is {shape}")
    kind = str(value.dtype).removeprefix("torch.")
    if kind not in kinds:
        raise ArgumentError(f"{name} of shape {shape} holds {kind}; give {' or '.join(kinds)}")
    if value.numel() == 0:
        raise ArgumentError(f"{name} is empty: its shape is {shape}")
    return value


def same_shape(name: str, tensor: Any, other: str, shape: tuple[int, ...]) -> None:
    """Refuse `tensor` unless it has the shape of `other`."""
    if tuple(tensor.shape) != tuple(shape):
        raise ArgumentError(f"{name} of shape {tuple(tensor.shape)} should have the shape of {other}, {tuple(shape)}")


def same_device(**tensors: Any) -> None:
    """Refuse tensors that lie on different devices."""
    places = {name: str(tensor.device) for name, tensor in tensors.items()}
    if len(set(places.values())) > 1:
        raise ArgumentError("tensors on different devices: " + ", ".join(f"{k} on {v}" for k, v in places.items()))


def rows(tensor: Any) -> Any:
    """The tensor as contiguous rows of its last axis."""
    return tensor.contiguous().view(-1, tensor.shape[-1])
