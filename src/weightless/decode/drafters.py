"""Where drafted tokens come from: cheap guesses that the target model verifies in one pass.

    SuffixDrafter    the text so far: what followed its last few tokens earlier (prompt lookup, Saxena 2023)
    RunnerDrafter    another model, an n-gram table or a smaller network: its likeliest continuations
A draft is a tree (tree_verification.py): `branches` paths of `length` tokens, beginnings in common merged.
A drafter can only cost time, never change the output: verification takes from the tree what the target would have said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from weightless.base.errors import ConfigError
from weightless.decode.engine_runner import Runner

Draft = tuple[list[int], list[int]]


class Drafter(Protocol):
    """Anything that can guess."""

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """(tree_tokens, tree_parents) below the last of `tokens`, no deeper than `most`; both may be empty."""
        ...


def parse_tree(shape: str) -> tuple[int, int]:
    """(branches, length) of "4x3"; ConfigError for anything else."""
    found = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", shape)
    if not found:
        raise ConfigError(f"a tree is BRANCHESxLENGTH such as 4x3 (four paths of three tokens), not {shape!r}")
    return int(found[1]), int(found[2])


def merged(paths: Sequence[Sequence[int]]) -> Draft:
    """The tree of several paths; each common beginning appears once, parents before children."""
    tokens: list[int] = []
    parents: list[int] = []
    child: dict[tuple[int, int], int] = {}
    for path in paths:
        at = -1
        for token in path:
            if (at, token) not in child:
                child[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
            at = child[at, token]
    return tokens, parents


class SuffixDrafter:
    """Looks up the longest end of the text, of at most `order` tokens, that stood in it before; latest places first."""

    def __init__(self, branches: int = 2, length: int = 8, order: int = 4) -> None:
        self.branches, self.length, self.order = branches, length, order
        self._known: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = {}

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """Continuations of earlier occurrences; nothing when the last token is new."""
        self._learn(tokens)
        length = min(self.length, most)
        if length < 1:
            return [], []
        paths: list[list[int]] = []
        for n in range(min(self.order, len(tokens) - 1), 0, -1):
            for place in reversed(self._places.get(tuple(tokens[-n:]), [])[:-1]):
                path = list(tokens[place : place + length])
                if path and path not in paths:
                    paths.append(path)
                if len(paths) == self.branches:
                    return merged(paths)
        return merged(paths)

    def _learn(self, tokens: Sequence[int]) -> None:
        """File the places after every run of 1 … order tokens; begins again when it is another text."""
        if list(tokens[: len(self._known)]) != self._known:
            self._known, self._places = [], {}
        for end in range(len(self._known) + 1, len(tokens) + 1):
            for n in range(1, min(self.order, end) + 1):
                self._places.setdefault(tuple(tokens[end - n : end]), []).append(end)
        self._known = list(tokens)


class RunnerDrafter:
    """The likeliest paths of another model: its `branches` best first tokens, each continued by the likeliest."""

    def __init__(self, runner: Runner, branches: int = 2, length: int = 4) -> None:
        self.runner, self.branches, self.length = runner, branches, length
        self._sequence = runner.begin()

    def draft(self, tokens: Sequence[int], most: int) -> Draft:
        """One forward pass per level of the tree."""
        log_p_V = self._catch_up(tokens)
        length = min(self.length, most, self.runner.context - len(self.runner.tokens(self._sequence)))
        if length < 1:
            return [], []
        first = np.argsort(-log_p_V, kind="stable")[: self.branches].tolist()
        base = len(self.runner.tokens(self._sequence))
        tree, parents = list(first), [-1] * len(first)
        leaves = list(range(len(first)))
        for _ in range(length - 1):
            (rows,) = self.runner.forward([(self._sequence, tree, parents)])
            self.runner.keep(self._sequence, base)
            grown = []
            for leaf in leaves:
                tree.append(int(np.argmax(rows[leaf])))
                parents.append(leaf)
                grown.append(len(tree) - 1)
            leaves = grown
        return tree, parents

    def _catch_up(self, tokens: Sequence[int]) -> np.ndarray:
        """Feed what the draft model has not seen, from scratch where the past differs or no longer fits."""
        known = self.runner.tokens(self._sequence)
        wanted = list(tokens)
        if len(wanted) > self.runner.context:
            wanted = wanted[-max(1, self.runner.context // 2) :]
        if not known or wanted[: len(known)] != known or len(known) == len(wanted):
            self.runner.free(self._sequence)
            self._sequence, known = self.runner.begin(), []
        return self.runner.forward([(self._sequence, wanted[len(known) :])])[0][-1]
