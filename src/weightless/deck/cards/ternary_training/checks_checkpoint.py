"""What a checkpoint has to be, before any text is scored with it."""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench
from weightless.deck.cards.ternary_training.checkpoint import GROUP, LIMITS, checked_config, decoded, loaded
from weightless.deck.outcome import Failed

FEWEST_LOSSES = 10


def plain_load(bench: Bench) -> None:
    """All names, shapes and types; what the codes are is asked next."""
    with bench.solution(LIMITS) as worker:
        found = loaded(worker)
    decoded(found)
    if (size := found["config"].get("group_size", GROUP)) != GROUP:
        raise Failed("WRONG_SHAPE", f"config: group_size = {size!r:.20}; groups have {GROUP} columns")


def every_weight(bench: Bench) -> None:
    """Codes are decoded here, where one that is none is refused; and a matrix has weights of both signs."""
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
    for name, weight in model.weights.items():
        if not weight.any():
            raise Failed("WRONG_NUMERIC", f"{name} is 0 everywhere")
        if weight.min() >= 0 or weight.max() <= 0:
            raise Failed("WRONG_NUMERIC", f"{name} has weights of one sign only")


def shape(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        config = checked_config(loaded(worker)["config"])
    if config.num_attention_heads != 2 * config.num_key_value_heads:
        told = f"{config.num_attention_heads} heads of queries and {config.num_key_value_heads} of keys and values"
        raise Failed("WRONG_SHAPE", f"{told}; Qwen3 has two query heads to each key-value head")
    if config.num_hidden_layers < 2:
        raise Failed("WRONG_SHAPE", "one block is no transformer that could copy; at least 2 are asked for")


def losses_fall(bench: Bench) -> None:
    """As reported; what was learnt is measured on hidden text."""
    with bench.solution(LIMITS) as worker:
        losses = decoded(loaded(worker)).losses
    if len(losses) < FEWEST_LOSSES or not np.isfinite(losses).all():
        raise Failed("WRONG_NUMERIC", f"{len(losses)} losses are reported; at least {FEWEST_LOSSES}, all finite")
    tenth = max(1, len(losses) // 10)
    first, last = float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))
    if not last < first:
        raise Failed("WRONG_NUMERIC", f"the reported losses go from {first:.3f} to {last:.3f}: they do not fall")
