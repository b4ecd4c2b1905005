"""Checks that the references share: each raises ArgumentError (a ValueError) naming the argument and its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError


def float_array(name: str, value: Any, axes: str, at_least: bool = False) -> np.ndarray:
    """`value` as a floating-point array with one axis per letter of `axes`, none of them empty.

    With `at_least`, more axes may stand in front.  Integers and booleans are refused: a gradient has no meaning there.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ArgumentError(f"{name} is no array: {error}") from None
    fits = array.ndim >= len(axes) if at_least else array.ndim == len(axes)
    if not fits:
        wanted = ("..., " if at_least else "") + ", ".join(axes)
        raise ArgumentError(f"{name} should have the axes ({wanted}), but its shape is {array.shape}")
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise ArgumentError(f"{name} of shape {array.shape} holds {array.dtype}; give float16, float32 or float64")
    if array.size == 0:
        raise ArgumentError(f"{name} is empty: its shape is {array.shape}")
    return array


def working_dtype(*arrays: np.ndarray) -> Any:
    """The type to compute in: float64 where an array has it (or holds whole numbers), else float32, never a half."""
    return np.float32 if all(array.dtype in (np.float16, np.float32) for array in arrays) else np.float64


def as_given(result: np.ndarray, given: np.ndarray) -> np.ndarray:
    """`result` in the dtype of the floating-point input it came from; as it is where that held whole numbers."""
    return result.astype(given.dtype, copy=False) if given.dtype.kind == "f" else result


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """`array` itself when it holds neither NaN nor infinity."""
    good = np.isfinite(array)
    if not good.all():
        raise ArgumentError(f"{name} of shape {array.shape} holds {array[~good].flat[0]} at {first_true(~good)}")
    return array


def first_true(flags: np.ndarray) -> tuple[int, ...]:
    """Index of the first True."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(flags)), flags.shape))


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int that is at least `least`; True and 2.0 are no whole numbers."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} should be a whole number of at least {least}, not {value!r}")
    return int(value)


def whole_numbers(name: str, values: Any, least: int = 0) -> list[int]:
    """A flat sequence of whole numbers of at least `least` as a list; token ids, parents, positions."""
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)):
        raise ArgumentError(f"{name} should be a list of whole numbers, not {values!r:.60}")
    return [whole_number(f"{name}[{i}]", value, least) for i, value in enumerate(values)]


def real_number(name: str, value: Any) -> float:
    """`value` as a float that is neither NaN nor infinite; True is no number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{name} should be a finite number, not {value!r}")
    if not math.isfinite(value):
        raise ArgumentError(f"{name} should be a finite number, not {value!r}")
    return float(value)


def same_shape(name: str, array: np.ndarray, other: str, shape: tuple[int, ...]) -> None:
    """Refuse `array` unless it has the shape of `other`."""
    if array.shape != shape:
        raise ArgumentError(f"{name} of shape {array.shape} should have the shape of {other}, {shape}")
