"""Rotary positions (Su et al. 2021): each pair of a head's elements is turned by an angle that grows with the position.

    angle(t, j) = t * theta^(-2j / K)        for pair j = 0 … K/2 - 1 of a head of width K
    (a, b) -> (a cos - b sin, a sin + b cos)

Two conventions of what a pair is, equal up to a fixed permutation of the head's elements:

    half_split    (j, j + K/2)      Hugging Face, GGUF's "neox" and this project
    interleaved   (2j, 2j + 1)      the paper, GGUF's "norm"

A model that was trained on short texts first may be stretched to longer ones (Llama 3.1): what turns seldom within the
`learned` positions turns `factor` times slower, what turns often stays, and what lies between is interpolated,

    turns(j) = learned * theta^(-2j / K) / 2 pi        kept(j) = clip((turns(j) - low) / (high - low), 0, 1)
    angle(t, j) = t * theta^(-2j / K) * (kept(j) + (1 - kept(j)) / factor)

Worked out in float32 at least, given back in the dtype of the input.
Errors: ConfigError for an odd K, an unknown pairing, a theta that is not above 1 and at most 1e300, a stretch that
cannot be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.ops.arguments import working_dtype

LARGEST_THETA = 1e300
PAIRINGS = ("half_split", "interleaved")


LARGEST_STRETCH = 1e6
MOST_LEARNED = 2**31 - 1


class Stretch(NamedTuple):
    """How far positions reach beyond those that were learned first; a factor of 1: not at all."""

    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    learned: int = 8192

    def check(self, prefix: str = "") -> None:
        """ConfigError unless it says something that can be, or nothing; fields are called by their names here.

        `prefix` stands before the names, of which the first is `stretch`.
        """
        if not 1 <= self.factor <= LARGEST_STRETCH:
            raise ConfigError(f"{prefix}stretch = {self.factor!r} is not in 1..{LARGEST_STRETCH:g}; 1 means none")
        if self.factor == 1 and self != UNSTRETCHED:
            names = ", ".join(f"{prefix}{name}" for name in ("low", "high", "learned"))
            raise ConfigError(f"{names} say how positions are stretched, and {prefix}stretch = 1: leave them out")
        if not 0 < self.low < self.high <= LARGEST_STRETCH:
            told = f"{prefix}low = {self.low!r} and {prefix}high = {self.high!r}"
            raise ConfigError(f"{told} are numbers of turns, the second above the first and that above 0")
        if not 1 <= self.learned <= MOST_LEARNED:
            raise ConfigError(f"{prefix}learned = {self.learned!r} positions are not in 1..{MOST_LEARNED}")


UNSTRETCHED = Stretch()


def stretched(frequency_J: np.ndarray, by: Stretch) -> np.ndarray:
    """The frequencies of a stretched model, float64 [K/2]."""
    kept_J = np.clip((by.learned * frequency_J / (2 * np.pi) - by.low) / (by.high - by.low), 0, 1)
    return frequency_J * (kept_J + (1 - kept_J) / by.factor)


def rope_angles(positions_T: np.ndarray, d_head: int, theta: float, stretch: Stretch = UNSTRETCHED) -> np.ndarray:
    """float64 [T, K/2]."""
    if d_head % 2:
        raise ConfigError(f"RoPE turns pairs: d_head = {d_head} must be even")
    check_theta(theta)
    frequency_J = float(theta) ** (-2.0 * np.arange(d_head // 2) / d_head)
    if stretch != UNSTRETCHED:
        stretch.check()
        frequency_J = stretched(frequency_J, stretch)
    return np.asarray(positions_T, np.float64)[:, None] * frequency_J


def rope(
    x_THK: np.ndarray,
    positions_T: np.ndarray,
    theta: float,
    pairing: str = "half_split",
    stretch: Stretch = UNSTRETCHED,
) -> np.ndarray:
    """Turn every head of every position; any leading axes may stand before T."""
    return turned(x_THK, *turns(positions_T, x_THK.shape[-1], theta, stretch, working_dtype(x_THK)), pairing)


def turns(
    positions_T: np.ndarray, d_head: int, theta: float, stretch: Stretch, work: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin) of the angles, [T, 1, K/2] of the type `work`: the same for every head and every layer."""
    angle_T1J = rope_angles(positions_T, d_head, theta, stretch)[:, None, :]
    return np.cos(angle_T1J).astype(work), np.sin(angle_T1J).astype(work)


def turned(x_THK: np.ndarray, cos: np.ndarray, sin: np.ndarray, pairing: str) -> np.ndarray:
    """Every pair of every head turned by its angle."""
    first, second = _pairs(x_THK.shape[-1], pairing)
    a, b = x_THK[..., first], x_THK[..., second]
    y_THK = np.empty_like(x_THK)
    y_THK[..., first] = a * cos - b * sin
    y_THK[..., second] = a * sin + b * cos
    return y_THK


def check_theta(theta: float) -> None:
    """ConfigError unless the slowest pair of every head turns slower than the fastest, by a finite angle."""
    if not 1 < theta <= LARGEST_THETA:
        raise ConfigError(f"rope_theta = {theta!r} should be above 1 and at most {LARGEST_THETA:g} (10000 is usual)")


def half_split_order(d_head: int) -> np.ndarray:
    """Indices p with which x_interleaved[..., p] is x in half-split order: rows 0, 2, 4 … then 1, 3, 5 …"""
    return np.concatenate(_pairs_as_indices(d_head))


def _pairs_as_indices(d_head: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(0, d_head, 2), np.arange(1, d_head, 2)


def _pairs(d_head: int, pairing: str) -> tuple[slice, slice]:
    if pairing == "half_split":
        return slice(0, d_head // 2), slice(d_head // 2, d_head)
    if pairing == "interleaved":
        return slice(0, d_head, 2), slice(1, d_head, 2)
    raise ConfigError(f"unknown RoPE pairing {pairing!r}: {nearest(pairing, PAIRINGS)}")
