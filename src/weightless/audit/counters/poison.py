"""The log proved complete and tight, by destroying memory.

Complete: every byte that the log does not name is filled with 0xFF (a NaN, a huge id); the step must score the same
nats to the bit, and must leave every byte that the log does not name as written as it found it.
Tight: a random block of what the log names is damaged; what the step writes (nats, logits, cache rows, activations)
must change, or the damage be refused, in at least 99 % of the trials.

Some bytes are read and yet may change without changing the output, whatever the program; no trial damages them:

    what is searched   a probe of a binary search asks "less, equal or greater": most other keys give the same answer,
                       in the column and in the token that is looked for
    slots without word the last class is read whole, but its slots behind the vocabulary have probability zero
    fill bytes         the zero byte that keeps the scales of an odd number of codes on even addresses
    rows never set     a table that is never cleared is asked whether a word has occurred: if not, any row says so
    silent units       with ReLU^2 a hidden unit below zero hides the weights into and out of it

At position 1 there is one row to attend to, and no query or key can change that: blocks are damaged from position 2 on.
A value that is multiplied by almost nothing (a cache row that attention passes over, a word that is impossible here)
can be damaged in vain as well: hence 99 %, and not all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.audit.counters.addresses import Addresses, Replay, addresses
from weightless.audit.counters.subjects import Runnable
from weightless.base.errors import CorruptFileError
from weightless.base.random import rng_for
from weightless.program.operator import BISECTED, NOT_SET, SILENT, UNCHOSEN, WEIGHTLESS, WITHOUT_WORD
from weightless.program.program import Program
from weightless.program.tensor import LINE
from weightless.quant.layout import filling

BLOCK = LINE
TRIALS = 200
MUST_CHANGE = 0.99
FILL = 0xFF
FILLED = "fill bytes"
REASONS = (BISECTED, WITHOUT_WORD, FILLED, SILENT, UNCHOSEN, NOT_SET, WEIGHTLESS)


@dataclass(frozen=True)
class Poisoned:
    """`leaks` in words, empty when the log is complete; trials of damage, and what was left out of them."""

    positions: tuple[int, ...]
    unread_bytes: int
    leaks: tuple[str, ...]
    n_trials: int
    n_changed: int
    unchanged: tuple[str, ...]
    excluded: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.leaks

    @property
    def tight(self) -> bool:
        return self.n_changed >= MUST_CHANGE * self.n_trials

    def to_plain(self) -> dict[str, Any]:
        return {
            "positions": list(self.positions),
            "complete": self.complete,
            "unread_bytes": self.unread_bytes,
            "leaks": list(self.leaks),
            "tight": self.tight,
            "trials": self.n_trials,
            "changed": self.n_changed,
            "unchanged": list(self.unchanged),
            "excluded_bytes": dict(self.excluded),
        }


def poison(
    runnable: Runnable,
    tokens: np.ndarray,
    targets: np.ndarray,
    positions: tuple[int, ...],
    trials: int = TRIALS,
    seed: int = 0,
) -> Poisoned:
    """Both tests at the given positions (from 1), `trials` blocks in all."""
    program, rng = runnable.program, rng_for(seed, "poison")
    spared = spared_bytes(program)
    leaks: list[str] = []
    unchanged: list[str] = []
    n_unread = n_trials = 0
    damaged_at = [t for t in positions if t > 1]
    for t in positions:
        found = addresses(runnable, tokens, targets, t)
        replay = Replay(runnable, found.before, int(tokens[t - 1]), int(targets[t - 1]), t)
        n_unread += int((~found.weights).sum() + (~found.state_read).sum())
        leaks += _leaks(replay, program, found, t)
        if leaks:  # what is damaged now would be damaged already
            break
        if t in damaged_at:
            i, n = damaged_at.index(t), len(damaged_at)
            share = trials * (i + 1) // n - trials * i // n
            tried, vain = _damaged(replay, program, found, t, share, rng, spared)
            n_trials += tried
            unchanged += vain
    excluded = {reason: int(mask.sum()) for reason, mask in spared.items() if mask.any()}
    changed = n_trials - len(unchanged)
    return Poisoned(tuple(positions), n_unread, tuple(leaks), n_trials, changed, tuple(unchanged), excluded)


def _leaks(replay: Replay, program: Program, found: Addresses, t: int) -> list[str]:
    """What shows that the log is not complete; leaves the replay poisoned."""
    truth, left = replay.run()
    after = left.copy()
    replay.weights[~found.weights], replay.state[~found.state_read] = FILL, FILL
    try:
        have, left = replay.run()
    except CorruptFileError as error:
        return [f"position {t}: with unread bytes poisoned the step is refused ({error})"]
    leaks = []
    if not have == truth:
        leaks.append(f"position {t}: with unread bytes poisoned the step scores {have!r} instead of {truth!r} nats")
    if not np.array_equal(left[found.state_written], after[found.state_written]):
        leaks.append(f"position {t}: with unread bytes poisoned the step leaves another state")
    changed = np.flatnonzero((left != replay.state) & ~found.state_written)
    if len(changed):
        name = tensor_at(program, int(changed[0]), state=True)
        leaks.append(f"position {t}: {len(changed)} bytes are written that the log does not name, first in {name!r}")
    return leaks


def _damaged(
    replay: Replay,
    program: Program,
    found: Addresses,
    t: int,
    n: int,
    rng: np.random.Generator,
    spared: Mapping[str, np.ndarray],
) -> tuple[int, list[str]]:
    """(trials made, where damage changed nothing)."""
    truth, left = replay.run()
    after = left[found.state_written].copy()
    blocks = _blocks(found, spared)
    vain = []
    chosen = rng.choice(len(blocks), n, replace=n > len(blocks)) if len(blocks) else np.zeros(0, dtype=int)
    for memory_name, at in (blocks[i] for i in chosen):
        memory, damage = getattr(replay, memory_name), rng.integers(1, 256, len(at), dtype=np.uint8)
        memory[at] ^= damage
        try:
            nats, left = replay.run()
            if nats == truth and np.array_equal(left[found.state_written], after):
                vain.append(f"position {t}: {tensor_at(program, int(at[0]), memory_name == 'state')}")
        except CorruptFileError:  # a damaged index that is noticed has been read
            pass
        memory[at] ^= damage
    return len(chosen), vain


def _blocks(found: Addresses, spared: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """(memory, addresses) of what may be damaged, at most BLOCK bytes at a time, each block within one line."""
    readable, n_weights = np.concatenate([found.weights, found.state_read]), len(found.weights)
    for mask in spared.values():
        readable[: len(mask)] &= ~mask
    out = []
    for name, mask in (("weights", readable[:n_weights]), ("state", readable[n_weights:])):
        at = np.flatnonzero(mask)
        parts = np.split(at, np.flatnonzero(np.diff(at // BLOCK)) + 1) if len(at) else []
        out += [(name, part) for part in parts]
    return out


def tensor_at(program: Program, address: int, state: bool) -> str:
    """The tensor in whose bytes an address lies."""
    for name, (offset, tensor) in program.layout.places.items():
        if (tensor.kind == "state") == state and offset <= address < offset + tensor.nbytes:
            return name
    return "the gap between tensors"


def spared_bytes(program: Program) -> dict[str, np.ndarray]:
    """{reason: mask over weights and state, one behind the other} of bytes that may change without any effect."""
    layout = program.layout
    masks = {reason: np.zeros(layout.weight_bytes + layout.state_bytes, bool) for reason in REASONS}
    for op in (*program.body, *program.heads["score"]):
        for reason, name, first in op.indifferent():
            _cover(program, name, masks[reason], first)
    for offset, tensor in layout.places.values():
        fill = filling(tensor.format, tensor.shape[1])
        if fill.any():
            start = offset + (layout.weight_bytes if tensor.kind == "state" else 0)
            rows = masks[FILLED][start : start + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
            rows[:, : tensor.row_bytes] |= fill
    return masks


def _cover(program: Program, name: str, mask: np.ndarray, first: int = 0) -> None:
    if name:
        offset, tensor = program.layout.places[name]
        start = offset + (program.layout.weight_bytes if tensor.kind == "state" else 0)
        mask[start + first * tensor.row_stride : start + tensor.nbytes] = True
