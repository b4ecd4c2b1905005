"""Behind training: what a model chooses instead of learning it, fitted on training text that it has not learned from.

The last tokens of the training text are held out (never any of the validation text).  When training is over, the
weights are rounded as they will be packed.

The threshold of an early exit.  Thresholds are tried from the strictest on, each with every exit really
taken, so that what an early token leaves for later ones is paid for.  The first that costs too much ends the search: a
sequence of tests in fixed order, as in CALM (Schuster et al. 2022), needs no correction for their number.  Too much:

    mean rise of the nats + Z standard errors over windows > the allowed rise (`exit_loss`)

Between the last that passed and the first that failed it is looked once more, more finely.

The weights of a window cache, by expectation maximisation over the nats that the model has without it, exits taken
(`ops/window_weights.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from weightless.base.errors import ConfigError
from weightless.layers.exits import NEVER, THRESHOLD, ExitAfter
from weightless.layers.stack import StackModel
from weightless.ops.window_weights import fit_on, held_out_from
from weightless.program.cached import CACHE_WEIGHTS
from weightless.train.step import as_tensor
from weightless.train.working_weights import WorkingWeights

HELD_OUT_TOKENS, TOKENS_FOR_A_CACHE = 16_384, 32_768
HELD_OUT_SHARE = 0.1
Z = 1.645  # one-sided, 95 %
THRESHOLDS = (0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
HALVINGS = 3
ROWS = 8
SETTLED = "threshold of the exits"
CACHE_SETTLED = "weights of the window cache"
"""Their names in the run's record."""


class Settling(NamedTuple):
    """What is held out of the training text int64 [n, context + 1]; the rise in nats per token that exits are allowed,
    None where no threshold is fitted; the orders of the window cache, 0 where there is none."""

    rows_NT: np.ndarray
    allowed: float | None
    orders: int = 0


def divided(model: StackModel, tokens: Any, end_of_text: int | None = None) -> tuple[Any, Settling | None]:
    """(tokens to learn from, what is held out): all of them and None unless the model has something to fit.

    For a window cache that begins with a document, where `end_of_text` says which token does (`held_out_from`).
    ConfigError when the text is too short for it.
    """
    allowed = next((layer.allowed for layer in exits_in(model.stack.layers) if layer.allowed is not None), None)
    orders = model.window_cache
    if allowed is None and not orders:
        return tokens, None
    context = model.stack.context
    most = TOKENS_FOR_A_CACHE if orders else HELD_OUT_TOKENS
    n_windows = min(most, int(HELD_OUT_SHARE * len(tokens))) // context
    if n_windows < 2:
        what = "a window cache on: give a longer text, or window_cache = 0"
        if allowed is not None:
            what = "the threshold of an exit on: give exit_threshold, or a longer text"
        raise ConfigError(f"{len(tokens):,} training tokens leave no two windows of {context} to fit {what}")
    n_held = n_windows * context + 1
    first = held_out_from(tokens, n_held, end_of_text) if orders else len(tokens) - n_held
    held = np.asarray(tokens[first : first + n_held]).astype(np.int64)
    rows_NT = np.stack([held[i * context : (i + 1) * context + 1] for i in range(n_windows)])
    return tokens[:first], Settling(rows_NT, allowed, orders)


def exits_in(layers: Any) -> Iterator[ExitAfter]:
    """The exits among layers, and among those that they hold."""
    if isinstance(layers, ExitAfter):
        yield layers
    if isinstance(layers, tuple):
        for layer in layers:
            yield from exits_in(layer)
    elif dataclasses.is_dataclass(layers):
        for f in dataclasses.fields(layers):
            yield from exits_in(getattr(layers, f.name))


@torch.no_grad()
def settle(model: StackModel, weights: WorkingWeights, settling: Settling) -> dict[str, str]:
    """Put what is fitted among the constants; {its name: what is found, in words}."""
    found = {}
    if settling.allowed is not None:
        found[SETTLED] = _settle_threshold(model, weights, settling.rows_NT, settling.allowed)
    if settling.orders:
        found[CACHE_SETTLED] = _settle_cache(model, weights, settling.rows_NT, settling.orders)
    return found


def _settle_cache(model: StackModel, weights: WorkingWeights, rows_NT: np.ndarray, orders: int) -> str:
    packed = weights.packed()
    device = packed[CACHE_WEIGHTS].device
    parts = as_tensor(rows_NT, str(device)).split(ROWS)
    nats_NT = torch.cat([model.losses(packed, rows[:, :-1], rows[:, 1:]) for rows in parts])
    windows = [(row[:-1], row[1:]) for row in rows_NT.tolist()]
    fitted, told = fit_on(nats_NT.double().cpu().numpy().reshape(-1), windows, orders)
    weights.constants[CACHE_WEIGHTS] = torch.from_numpy(fitted).to(device)
    return told


def _settle_threshold(model: StackModel, weights: WorkingWeights, held_NT: np.ndarray, allowed: float) -> str:
    packed = weights.packed()
    device = packed[THRESHOLD].device
    rows_NT = as_tensor(held_NT, str(device))

    def nats(threshold: float) -> np.ndarray:
        """Mean per window [N]."""
        p = {**packed, THRESHOLD: torch.full((1, 1), threshold, device=device)}
        parts = [model.losses(p, rows[:, :-1], rows[:, 1:]).mean(dim=1) for rows in rows_NT.split(ROWS)]
        return torch.cat(parts).double().cpu().numpy()

    deepest = nats(NEVER)
    threshold, rise = searched(lambda t: nats(t) - deepest, allowed)
    n_tokens = held_NT.shape[0] * (held_NT.shape[1] - 1)
    told = f"{threshold:.4f}" if threshold < NEVER else "none is sure enough: every token goes through all layers"
    weights.constants[THRESHOLD] = torch.full((1, 1), threshold, device=device)
    return (
        f"{told}; on {n_tokens:,} held-out training tokens {deepest.mean():.4f} nats at full depth, {rise:+.4f} with "
        f"exits, {allowed:.4f} allowed"
    )


def searched(rises: Callable[[float], np.ndarray], allowed: float) -> tuple[float, float]:
    """(threshold, mean rise at it), from the rise of each window at a threshold; NEVER where none passes."""
    passed, rise = NEVER, 0.0
    failed = passed
    for threshold in THRESHOLDS:
        found = rises(threshold)
        if not _is_cheap(found, allowed):
            failed = threshold
            break
        passed, rise = threshold, float(found.mean())
    for _ in range(HALVINGS if failed < passed else 0):
        middle = (min(passed, 1.0) + failed) / 2
        found = rises(middle)
        if _is_cheap(found, allowed):
            passed, rise = middle, float(found.mean())
        else:
            failed = middle
    return passed, rise


def _is_cheap(rises: np.ndarray, allowed: float) -> bool:
    return bool(rises.mean() + Z * rises.std(ddof=1) / len(rises) ** 0.5 <= allowed)
