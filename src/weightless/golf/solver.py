"""Floor 9.  Turn one dial until code and weights fit below the cap: how wide the steps are, or how many bits.

    k       one clip for all matrices, int8_row@stdK: scale = K std(row) / 127.  Codes of b bits take about
            b - log2 K + const bits once they are coded, so it is K that decides the size, not b
    bits    a format for every group of matrices (a line of the ledger), from a list

Of what fits, the plan with the least error is taken: the sum over all matrices of n mean (w - w')^2 / mean w^2.  Sizes
are predicted from the entropy of codes and scales, times what coding a matrix in that base really took beside it.  The
best plan that should fit is made and measured, and so is every better one of which there is doubt.
Errors: ConfigError where nothing fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.format_names import parse_format
from weightless.quant.code_rows import quantise
from weightless.quant.layout import format_named, is_quantised
from weightless.quant.rules import rule_of

MOST_PLANS = 200_000
LEAST_DOUBT = 5e-4
"""A plan that is predicted to miss by less, or by the error of the last prediction, is made and measured."""
K_GRID = tuple(float(f"{3.92 * 2 ** (i / 4):.4g}") for i in range(13))
"""From the clip that errs least for normal numbers to three bits less: k that are measured by their entropy."""
FINE = 16
"""Steps between two of them, in equal ratios; sizes and errors there are read off the line between, in log2 k."""
BITS_MENU = ("int8_row@std", "int6_row@std", "int5_row@std", "int4_row@std", "int3_row")


class Option(NamedTuple):
    """One format of a group: predicted bytes of its matrices, and their error."""

    format: str
    n_bytes: float
    error: float


@dataclass(frozen=True)
class Tried:
    """One plan: the option of every group, what it was predicted to take, and what it took (None: not made)."""

    formats: tuple[str, ...]
    predicted: float
    error: float
    real: int | None = None


@dataclass(frozen=True)
class Solution:
    """The chosen plan, and all that were considered, the least error first."""

    chosen: Tried
    tried: list[Tried] = field(default_factory=list)

    @property
    def prediction_error(self) -> float:
        """Predicted over real, less one."""
        return self.chosen.predicted / max(1, self.chosen.real or 0) - 1


def k_formats(base: str = "int8", grid: Sequence[float] = K_GRID) -> list[str]:
    """Formats of the dial k."""
    return [parse_format(f"{base}_row@std{k:g}").whole for k in grid]


def entropy_bytes(x_RC: np.ndarray, fmt: str) -> tuple[float, float]:
    """(bytes of codes and scales by their entropy of order 0, the error) of x float32 [R, C] in a format."""
    if not is_quantised(fmt):
        raise ConfigError(f"{fmt} has no codes: choose among int8 … int2, t2, t5, binary")
    described = format_named(fmt)
    q_RC, scale_RG, scales_RB = quantise(x_RC, described)
    whole = np.rint(q_RC + np.float32((described.levels - 1) / 2)).astype(np.int64)
    bits = x_RC.size * entropy(np.bincount(whole.ravel()))
    planes = scales_RB.reshape(-1, 2) if scales_RB.shape[1] % 2 == 0 else scales_RB.reshape(-1, 1)
    bits += sum(len(planes) * entropy(np.bincount(plane)) for plane in planes.T)
    size = described.group_size(x_RC.shape[1])
    value_RC = q_RC * np.repeat(scale_RG, size, axis=1)[:, : x_RC.shape[1]]
    power = float(np.square(x_RC, dtype=np.float64).sum())
    error = float(np.square(value_RC - x_RC, dtype=np.float64).sum())
    return bits / 8, x_RC.size * error / power if power else 0.0


def entropy(count_N: np.ndarray) -> float:
    """Bits of one symbol, by how often each was seen."""
    p = count_N[count_N > 0] / max(1, count_N.sum())
    return float(-(p * np.log2(p)).sum())


def plans(groups: Sequence[Sequence[Option]]) -> list[tuple[float, float, tuple[int, ...]]]:
    """(error, bytes, which option of every group) of all plans that no other one beats in both, the least error first.

    ConfigError when there are too many to compare.
    """
    front: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for options in groups:
        grown = sorted(
            (error + o.error, size + o.n_bytes, (*picks, i))
            for error, size, picks in front
            for i, o in enumerate(options)
        )
        front, smallest = [], math.inf
        for plan in grown:
            if plan[1] < smallest:
                front.append(plan)
                smallest = plan[1]
        if len(front) > MOST_PLANS:
            raise ConfigError(f"more than {MOST_PLANS:,} plans to compare: name fewer groups or formats")
    return front


def solve(
    groups: Sequence[Sequence[Option]], around: float, limit: int, measure: Callable[[tuple[str, ...]], int]
) -> Solution:
    """The plan of least error whose file, which `measure` makes, has at most `limit` bytes.

    `around` are predicted bytes of all else in the file.  Every file that is made corrects the predictions of the
    others by what it took.  ConfigError naming the smallest plan when none fits.
    """
    front = [(error, size, tuple(o[i].format for o, i in zip(groups, picks))) for error, size, picks in plans(groups)]
    made: dict[tuple[str, ...], Tried] = {}
    scale, doubt = 1.0, 0.0
    while True:
        tried = [made.get(names) or Tried(names, around + scale * size, error) for error, size, names in front]
        likely = (i for i, plan in enumerate(tried) if _may_fit(plan, limit, doubt))
        if (at := next(likely, None)) is None and made:
            break
        at = len(front) - 1 if at is None else at  # all are predicted to be too large: the smallest says how surely
        plan, size = tried[at], front[at][1]
        if plan.real is not None:
            return Solution(plan, tried[: at + 1])
        real = measure(plan.formats)
        made[plan.formats] = replace(plan, real=real)
        scale = (real - around) / size if size else 1.0
        doubt = max(LEAST_DOUBT, abs(plan.predicted / max(1, real) - 1))
    smallest = min(tried, key=lambda plan: plan.real or plan.predicted)
    takes, named = smallest.real or round(smallest.predicted), ", ".join(sorted(set(smallest.formats)))
    raise ConfigError(
        f"nothing fits {limit:,} bytes: the smallest plan ({named}) takes {takes:,}; "
        "train a smaller model (weightless fit FAMILY --golf), or offer formats of fewer bits"
    )


def _may_fit(plan: Tried, limit: int, doubt: float) -> bool:
    return plan.real <= limit if plan.real is not None else plan.predicted <= limit * (1 + doubt)


def calibrated(
    numbers: Mapping[str, Callable[[], np.ndarray]],
    groups: Mapping[str, Sequence[str]],
    formats: Sequence[str],
    coded_bytes: Callable[[str, np.ndarray, str], int],
    tick: Callable[..., None] = lambda *_: None,
) -> list[list[Option]]:
    """Options of every group: entropy times what coding took beside it, matrix by matrix, measured by base.

    Formats of a base that differ in their rule alone are measured at two of them, a quarter from either end.

    `numbers` give a matrix when they are asked; `coded_bytes(name, x, format)` codes it.
    """
    of_base: dict[str, list[str]] = {}
    for fmt in formats:
        of_base.setdefault(parse_format(fmt).storage, []).append(fmt)
    probes = {
        storage: sorted({names[len(names) // 4], names[-1 - len(names) // 4]}) for storage, names in of_base.items()
    }
    found = []
    for names in groups.values():
        sums = dict.fromkeys(formats, (0.0, 0.0))
        for name in names:
            x_RC = numbers[name]()
            measured = {fmt: entropy_bytes(x_RC, fmt) for fmt in formats}
            for storage, names_of_base in of_base.items():
                probed = sorted((measured[fmt][0], coded_bytes(name, x_RC, fmt)) for fmt in probes[storage])
                for fmt in names_of_base:
                    size, error = sums[fmt]
                    sums[fmt] = (size + _coded(measured[fmt][0], probed), error + measured[fmt][1])
            tick(x_RC.size)
        found.append([Option(fmt, *sums[fmt]) for fmt in formats])
    return found


def _coded(entropy: float, probed: Sequence[tuple[float, int]]) -> float:
    """Bytes after coding by the line through (entropy, bytes) of the probes; one alone gives its ratio."""
    (low, at_low), (high, at_high) = probed[0], probed[-1]
    if high - low < 1e-3 * high or low < 1:
        return entropy * at_high / max(1.0, high)
    return at_low + (entropy - low) * (at_high - at_low) / (high - low)


def refined(options: Sequence[Option], fine: int = FINE) -> list[Option]:
    """Options of the dial k with `fine` steps from one to the next: log2 of bytes and error are linear in log2 k."""
    found = list(options[:1])
    for one, other in zip(options, options[1:]):
        k, last = (parse_format(option.format).number or usual_k(option.format) for option in (one, other))
        for i in range(1, fine):
            share = i / fine
            name = f"{parse_format(one.format).storage}@std{k * (last / k) ** share:.4g}"
            size, error = (_between(a, b, share) for a, b in ((one.n_bytes, other.n_bytes), (one.error, other.error)))
            found.append(Option(parse_format(name).whole, size, error))
        found.append(other)
    return found


def usual_k(fmt: str) -> float:
    """The k of a format whose name says none."""
    return rule_of(parse_format(fmt))[1]


def _between(one: float, other: float, share: float) -> float:
    """Geometric where both are above zero, else linear."""
    if min(one, other) <= 0:
        return one + share * (other - one)
    return one * (other / one) ** share
