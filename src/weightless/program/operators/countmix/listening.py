"""Count mixing, overheard: what every input said at each step on the way to one token, and what came of it.

    listen(op, arena, target)     the walk of `countmix_score`, by the reading engine, with all that was added up

At a node every input has a logit x and, in mixer m, a weight w_m; the last sum weighs the mixers by v_m.  So what an
input moves is  push = x sum_m v_m w_m,  and the pushes of a node add up to the logit of its P(right), as far as no sum
was limited (`ops.count_mixing.mixed` rounds and limits both).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from weightless.ops.count_mixing import LAST_SHIFT, MIDDLE, ONE_LOGIT, WEIGHT_SHIFT
from weightless.program.arena import Arena
from weightless.program.operators.countmix.promise import walk_tree
from weightless.program.operators.countmix.reading import TREE, Reader, Spot


class Step(NamedTuple):
    """One node: the ranks low .. high - 1 are still possible; those from `node` on are on the right.

    logits, weights: of every input, in the order of `input_names`; both 0 where it was silent.
    """

    node: int
    low: int
    high: int
    right: bool
    p_right: float
    logits: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def p(self) -> float:
        """Of the side that the token is on."""
        return self.p_right if self.right else 1 - self.p_right

    @property
    def pushes(self) -> tuple[float, ...]:
        """How far every input moved the logit of P(right)."""
        return tuple(x * w for x, w in zip(self.logits, self.weights, strict=True))


class Listener(Reader):
    """A reader that keeps what was said at the nodes it came to."""

    def __init__(self, op: Any, arena: Arena) -> None:
        super().__init__(op, arena)
        self.heard: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        self._read: list[int] = []

    def _weight(self, name: str, depth: int, at: int, k: int, sure: int) -> int:
        weight = super()._weight(name, depth, at, k, sure)
        self._read.append(weight)
        return weight

    def _mixed(self, at: Spot, deepest: int, x: list[int], sure: list[int]) -> int:
        """The same sum; weights are read mixer by mixer, those of silent inputs never."""
        self._read = []
        logit = super()._mixed(at, deepest, x, sure)
        speaking = [k for k, value in enumerate(x) if value]
        m, weights = len(self.op.mixer_names), [0.0] * len(x)
        last = self.memory.peek(self.op.mix_last, at.depth * m, m)
        for i, weight in enumerate(self._read):
            mixer, k = divmod(i, len(speaking))
            weights[speaking[k]] += (last[mixer] - MIDDLE) * weight / (1 << LAST_SHIFT + WEIGHT_SHIFT)
        self.heard.append((tuple(value / ONE_LOGIT for value in x), tuple(weights)))
        return logit


def listen(op: Any, arena: Arena, target: int) -> list[Step]:
    """The steps from the root to `target`, behind what the arena was fed."""
    listener = Listener(op, arena)
    rank, steps = listener.memory.number(op.rank, target, TREE), []
    low, high = 0, listener.vocab_size

    def side(node: int, p_right: float) -> bool:
        nonlocal low, high
        steps.append(Step(node, low, high, rank >= node, p_right, *listener.heard[-1]))
        low, high = (node, high) if rank >= node else (low, node)
        return rank >= node

    for _ in walk_tree(op, listener, side):
        pass
    return steps


_SPOKEN = {"w0": "this word so far", "w1": "the word before", "w01": "this word and the one before", "o1": "last token"}


def input_names(op: Any) -> list[tuple[str, str]]:
    """(short name, what it looks at) of every input, in the order in which they are added up."""
    names = [("order 0", "how often at all")]
    names += [(name, spoken(name)) for name in f"{op.dense} {op.listed}".split()]
    names += [(f"window {name}", spoken(name)) for name in op.window.split()]
    names += [("window pairs", "this window, at this node"), ("bias", "always there")]
    return names + [("neural", "the trained model")] * (op.n_inputs - len(names))


def spoken(context: str) -> str:
    """A context in words, as far as there are any."""
    if context in _SPOKEN:
        return _SPOKEN[context]
    if found := re.fullmatch(r"o(\d)", context):
        return f"last {found[1]} tokens"
    if found := re.fullmatch(r"t(\d)", context):
        return f"the token {found[1]} back"
    return context
