"""What a model of count mixing went by when it predicted one token, as plain data: pictures and tables draw it.

    overheard(packed, tokens, at)    {"before", "token", "inputs", "steps", "nats"}: the path to tokens[at], and who
                                     said what at each of its steps (`program/operators/countmix/listening.py`)
    top_of_tree(packed, tokens, n)   {"share", "tokens", "examples", "sides"}: the first n levels of the tree, with
                                     the shares that a text has in its branches

The reading engine walks and the compiled engine scores; where the two disagree nothing is shown.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.export.packed import Packed
from weightless.program.arena import Arena
from weightless.program.operators.countmix import CountmixScore
from weightless.program.operators.countmix.listening import Step, input_names, listen

N_EXAMPLES, N_BEFORE = 12, 24
AGREE = 1e-5
"""Nats by which two engines may differ: the compiled one leaves its score in a float32."""


def overheard(packed: Packed, tokens: np.ndarray, at: int) -> dict[str, Any]:
    """The prediction of tokens[at] from those before it, which fill the window; ConfigError where it cannot be."""
    op, tokens = _head(packed), np.asarray(tokens, np.int64)
    if not 1 <= at < len(tokens) or at > packed.program.context:
        most = min(len(tokens) - 1, packed.program.context)
        raise ConfigError(f"token {at} of {len(tokens)} cannot be looked at: choose one of 1..{most}")
    before, target = tokens[:at], int(tokens[at])
    steps, nats, p_V = _walked(packed, op, before, target)
    order = _column(packed, op.token)
    pieces = _pieces(packed)
    return {
        "before": [pieces[int(token)] for token in before[-N_BEFORE:]],
        "position": at,
        "token": pieces[target],
        "nats": nats,
        "inputs": [list(names) for names in input_names(op)],
        "steps": [_step(step, order, p_V, pieces) for step in steps],
    }


def _head(packed: Packed) -> CountmixScore:
    *_, op = packed.program.heads["score"]
    if not isinstance(op, CountmixScore):
        raise ConfigError(
            f"{packed.artifact.path} is of family {packed.family}: only a model whose last word is count mixing "
            "(family countmix, without window_cache around it) walks through a tree"
        )
    return op


def _walked(packed: Packed, op: CountmixScore, before: np.ndarray, target: int) -> tuple[list[Step], float, np.ndarray]:
    """(steps, nats, p of every token), by two engines that have to agree."""
    engine, reading = packed.engine(), packed.audit_engine()
    for token in before:
        engine.feed(int(token))
        reading.feed(int(token))
    reading.score(target)
    steps, scored = listen(op, reading.arena, target), engine.score(target)
    nats = -sum(math.log(step.p) for step in steps)
    if abs(nats - scored) > AGREE * max(1.0, scored):
        raise WeightlessError(f"the readable walk gives {nats:.6f} nats, the compiled engine {scored:.6f}: a defect")
    return steps, nats, engine.distribution().astype(np.float64)


def _step(step: Step, order: np.ndarray, p_V: np.ndarray, pieces: list[str]) -> dict[str, Any]:
    """One step, with the likeliest tokens on either side, likeliest first."""
    sides = []
    for low, high in ((step.low, step.node), (step.node, step.high)):
        there = order[low:high]
        likely = there[np.argsort(-p_V[there], kind="stable")[:N_EXAMPLES]]
        sides.append({"tokens": high - low, "p": float(p_V[there].sum()), "examples": [pieces[i] for i in likely]})
    return {
        "right": step.right,
        "p_right": step.p_right,
        "sides": sides,
        "logits": list(step.logits),
        "weights": [round(weight, 6) for weight in step.weights],
    }


def top_of_tree(packed: Packed, tokens: np.ndarray, n_levels: int = 4) -> dict[str, Any]:
    """The tree's first levels; `examples` are the tokens that occur most in `tokens`."""
    op, reading = _head(packed), packed.audit_engine()
    reading.feed(0)
    order, pieces = _column(packed, op.token), _pieces(packed)
    counts = np.bincount(np.asarray(tokens, np.int64), minlength=len(order))[order]
    return _branch(op, reading.arena, order, pieces, counts, 0, len(order), n_levels)


def _branch(
    op: CountmixScore,
    arena: Arena,
    order: np.ndarray,
    pieces: list[str],
    counts: np.ndarray,
    low: int,
    high: int,
    n_levels: int,
) -> dict[str, Any]:
    """The ranks low .. high - 1 and what they are halved to."""
    here = counts[low:high]
    often = low + np.argsort(-here, kind="stable")[: 2 * N_EXAMPLES]
    found = {
        "share": float(here.sum() / max(1, counts.sum())),
        "tokens": high - low,
        "examples": [pieces[int(order[rank])] for rank in often],
        "sides": [],
    }
    if n_levels and high - low > 1:
        steps = listen(op, arena, int(order[low]))
        node = next(step.node for step in steps if (step.low, step.high) == (low, high))
        for ends in ((low, node), (node, high)):
            found["sides"].append(_branch(op, arena, order, pieces, counts, *ends, n_levels - 1))
    return found


def _column(packed: Packed, name: str) -> np.ndarray:
    """A tensor of token ids, int64 [V]."""
    return np.ascontiguousarray(packed.artifact.view(name)).view("<u2").reshape(-1).astype(np.int64)


def _pieces(packed: Packed) -> list[str]:
    """How every token is written: its text, its bytes where they are no text, its number without a tokenizer."""
    n = packed.program.vocab_size
    if not packed.has_tokenizer:
        return [f"#{i}" for i in range(n)]
    return [_written(packed.tokenizer.decode_bytes([i])) for i in range(n)]


def _written(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return f"‹{piece.hex(' ')}›"
