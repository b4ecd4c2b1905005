"""Stochastic grammars whose entropy is known exactly, and the proof that text and derivation are one.

A grammar maps names to rules, a rule is a list of (weight, text) alternatives.  In a text, {name} stands for a choice
by that rule, {name=rule} for a choice that is remembered, {=name} for the words remembered.  Sampling from a rule R
makes independent choices c with p(c) = weight / sum, so with h(R) = -sum p log2 p the means obey linear equations

    H(R) = h(R) + sum_c p(c) sum_{Q in c} H(Q)             bits of a derivation
    L(R) = sum_c p(c) (literal bytes + sum_{Q in c} L(Q) + sum_{memories m in c} L(rule of m))      bytes of its text

which two linear solves answer (mean bytes may be summed like this because what a memory holds never influences a
choice).  `lead_words` proves that the derivation can be read off the text: at every choice, of the literal texts with
which the alternatives begin none is a prefix of another.  So the entropy of the text is H of the start too, and
`log2_probability` reads a text in one pass from the left, without backtracking.
Errors: ConfigError for a grammar that is ambiguous, unending or refers to what it does not define.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError

Alternatives = Sequence[tuple[float, str]]
_SLOT = re.compile(r"\{(\w*)(=?)(\w*)\}")


@dataclass(frozen=True)
class Choice:
    """Choose by `rule`; keep the text under `memory` unless that is empty."""

    rule: str
    memory: str = ""


@dataclass(frozen=True)
class Recall:
    """The text kept under `memory`."""

    memory: str


Piece = str | Choice | Recall


@dataclass(frozen=True)
class Rule:
    """Alternatives: cumulative probabilities, -log2 of the probabilities, and what each consists of."""

    cumulative: tuple[float, ...]
    bits: tuple[float, ...]
    pieces: tuple[tuple[Piece, ...], ...]
    stacked: tuple[tuple[Piece, ...], ...]  # pieces last first, as a stack wants them


class Grammar:
    """Built from {rule: [(weight, text), ...]}; documents are derived from the rule `start`."""

    def __init__(self, rules: Mapping[str, Alternatives], start: str) -> None:
        self.start = start
        self.rules = {name: _rule(name, alternatives) for name, alternatives in rules.items()}
        self._memory_rule: dict[str, str] = {}
        for name in self.rules:
            self._check_choices(name)
        self._check_recalls()
        self._leads = {name: self.lead_words(name) for name in self.rules}
        self._finders = {name: _finder(leads) for name, leads in self._leads.items()}

    def sample(self, draw: Callable[[], float]) -> bytes:
        """One text; `draw` gives uniform numbers in [0, 1)."""
        rules = self.rules
        parts: list[str] = []
        memory: dict[str, str] = {}
        stack: list[Any] = [Choice(self.start)]
        while stack:
            piece = stack.pop()
            kind = type(piece)
            if kind is str:
                parts.append(piece)
            elif kind is Choice:
                rule = rules[piece.rule]
                if piece.memory:
                    stack.append((piece.memory, len(parts)))
                stack += rule.stacked[bisect_right(rule.cumulative, draw())]
            elif kind is Recall:
                parts.append(memory[piece.memory])
            else:
                memory[piece[0]] = "".join(parts[piece[1] :])
        return "".join(parts).encode()

    def log2_probability(self, document: bytes) -> float:
        """log2 of the exact probability of `document`; -inf when the grammar cannot make it."""
        text = document.decode("utf-8", errors="replace")
        at, bits = 0, 0.0
        memory: dict[str, str] = {}
        stack: list[Piece | tuple[str, int]] = [Choice(self.start)]
        while stack:
            piece = stack.pop()
            if isinstance(piece, tuple):
                memory[piece[0]] = text[piece[1] : at]
                continue
            if isinstance(piece, Choice):
                found = self._finders[piece.rule].match(text, at)
                if found is None:
                    return -math.inf
                number = self._leads[piece.rule][found.group()]
                rule = self.rules[piece.rule]
                bits += rule.bits[number]
                if piece.memory:
                    stack.append((piece.memory, at))
                stack += rule.stacked[number]
                continue
            literal = piece if isinstance(piece, str) else memory[piece.memory]
            if not text.startswith(literal, at):
                return -math.inf
            at += len(literal)
        return -bits if at == len(text) else -math.inf

    def lead_words(self, name: str) -> dict[str, int]:
        """{literal: alternative} by which the alternatives of a rule are told apart; proves that they can be."""
        leads: dict[str, int] = {}
        for number, pieces in enumerate(self.rules[name].pieces):
            for lead in self._leads_of(pieces, name, ()):
                if lead in leads:
                    raise ConfigError(f"grammar rule {name!r}: two alternatives begin with {lead!r}")
                leads[lead] = number
        ordered = sorted(leads)  # whatever begins with a word follows it directly in this order
        for first, second in zip(ordered, ordered[1:]):
            if second.startswith(first):
                raise ConfigError(f"grammar rule {name!r} is ambiguous: {first!r} begins {second!r}")
        return leads

    def _leads_of(self, pieces: tuple[Piece, ...], name: str, path: tuple[str, ...]) -> list[str]:
        """The literals a sequence can begin with."""
        first = pieces[0] if pieces else None
        if isinstance(first, str):
            return [first]
        if not isinstance(first, Choice):
            raise ConfigError(f"grammar rule {name!r}: an alternative begins with nothing that tells it apart")
        if first.rule in path:
            raise ConfigError(f"grammar rule {first.rule!r} begins with itself")
        inner = self.rules[first.rule].pieces
        return [lead for alternative in inner for lead in self._leads_of(alternative, name, (*path, first.rule))]

    def entropy_bits(self) -> float:
        """H(start): mean of -log2 p(document)."""
        own = {name: math.fsum(2.0**-b * b for b in rule.bits) for name, rule in self.rules.items()}
        return self._mean(own, lambda piece: piece.rule if isinstance(piece, Choice) else None)

    def mean_bytes(self) -> float:
        """L(start): mean length of a document in UTF-8 bytes."""

        def literal(pieces: tuple[Piece, ...]) -> int:
            return sum(len(piece.encode()) for piece in pieces if isinstance(piece, str))

        own = {
            name: math.fsum(2.0**-b * literal(pieces) for b, pieces in zip(rule.bits, rule.pieces))
            for name, rule in self.rules.items()
        }
        return self._mean(own, self._rule_of)

    def _rule_of(self, piece: Piece) -> str | None:
        if isinstance(piece, Recall):
            return self._memory_rule[piece.memory]
        return piece.rule if isinstance(piece, Choice) else None

    def _mean(self, own: dict[str, float], rule_of: Callable[[Piece], str | None]) -> float:
        """Solve X(R) = own(R) + sum over pieces of X(rule of piece), for the start."""
        place = {name: i for i, name in enumerate(self.rules)}
        expected = np.zeros((len(place), len(place)))
        for name, rule in self.rules.items():
            for bits, pieces in zip(rule.bits, rule.pieces):
                for piece in pieces:
                    if (inner := rule_of(piece)) is not None:
                        expected[place[name], place[inner]] += 2.0**-bits
        if np.abs(np.linalg.eigvals(expected)).max() >= 1.0 - 1e-12:
            raise ConfigError("the grammar derives texts of infinite mean length; make recursion rarer")
        values = np.array([own[name] for name in self.rules])
        return float(np.linalg.solve(np.eye(len(place)) - expected, values)[place[self.start]])

    def _check_choices(self, name: str) -> None:
        for pieces in self.rules[name].pieces:
            for piece in pieces:
                if isinstance(piece, Choice) and piece.rule not in self.rules:
                    raise ConfigError(f"grammar rule {name!r} refers to {piece.rule!r}, which is not defined")
                if isinstance(piece, Choice) and piece.memory:
                    known = self._memory_rule.setdefault(piece.memory, piece.rule)
                    if known != piece.rule:
                        raise ConfigError(f"grammar memory {piece.memory!r} is filled by two rules")

    def _check_recalls(self) -> None:
        pieces = [piece for rule in self.rules.values() for alternative in rule.pieces for piece in alternative]
        for piece in pieces:
            if isinstance(piece, Recall) and piece.memory not in self._memory_rule:
                raise ConfigError(f"the grammar recalls {piece.memory!r}, which nothing fills")


def _rule(name: str, alternatives: Alternatives) -> Rule:
    if not alternatives or any(weight <= 0 for weight, _ in alternatives):
        raise ConfigError(f"grammar rule {name!r} needs alternatives of positive weight")
    weights = np.array([weight for weight, _ in alternatives], float)
    shares = weights / weights.sum()
    pieces = tuple(_pieces(text) for _, text in alternatives)
    below = (*np.cumsum(shares)[:-1].tolist(), 1.0)
    return Rule(below, tuple((-np.log2(shares)).tolist()), pieces, tuple(piece[::-1] for piece in pieces))


def _pieces(text: str) -> tuple[Piece, ...]:
    found: list[Piece] = []
    end = 0
    for slot in _SLOT.finditer(text):
        found += [text[end : slot.start()]] if slot.start() > end else []
        name, remembered, rule = slot.groups()
        found.append(Choice(rule, name) if name and remembered else Choice(name) if name else Recall(rule))
        end = slot.end()
    return tuple(found + ([text[end:]] if end < len(text) else []))


def _finder(leads: dict[str, int]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(leads, key=len, reverse=True))))
