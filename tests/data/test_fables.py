"""Oracles: exact enumeration of a small grammar's texts, the law of large numbers, and Shannon's inequality."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.data.text import fables
from weightless.data.text.grammar import Choice, Grammar, Recall

SMALL = {
    "s": [(2, "{who=name} saw {name}{more}"), (1, "no {thing}{more}")],
    "name": [(1, "Ada"), (3, "Bo")],
    "thing": [(1, "a {name}"), (2, "the é")],
    "more": [(5, "."), (1, ", {thing}{more}"), (1, " and {thing}.")],
}
MEMORY = {
    "s": [(1, "{a=n}{rest}")],
    "n": [(1, "x"), (2, "yy"), (5, "zé{n}")],
    "rest": [(3, "-{=a}."), (1, "!{=a}{=a}")],
}


def enumerated(grammar: Grammar, least: float) -> tuple[Counter, float]:
    """Every derivation at least as probable as `least`: its text, probability, and how many made that text."""
    texts: Counter = Counter()
    probability = 0.0
    todo: list[Any] = [(1.0, "", {}, (Choice(grammar.start),))]
    while todo:
        p, text, memory, rest = todo.pop()
        if not rest:
            texts[text, p] += 1
            probability += p
            continue
        piece, rest = rest[0], rest[1:]
        if isinstance(piece, str):
            todo.append((p, text + piece, memory, rest))
        elif isinstance(piece, tuple):
            todo.append((p, text, {**memory, piece[0]: text[piece[1] :]}, rest))
        elif isinstance(piece, Recall):
            todo.append((p, text + memory[piece.memory], memory, rest))
        else:
            keep = ((piece.memory, len(text)),) if piece.memory else ()
            rule = grammar.rules[piece.rule]
            for bits, pieces in zip(rule.bits, rule.pieces):
                if p * 2.0**-bits >= least:
                    todo.append((p * 2.0**-bits, text, memory, (*pieces, *keep, *rest)))
    return texts, probability


@pytest.mark.parametrize("rules", [SMALL, MEMORY])
def test_entropy_and_length_by_enumeration(rules):
    grammar = Grammar(rules, "s")
    texts, covered = enumerated(grammar, 1e-9)
    assert covered > 1 - 1e-5 and len(texts) > 40
    assert len({text for text, _ in texts}) == len(texts) and set(texts.values()) == {1}  # one derivation a text
    for text, p in texts:
        assert grammar.log2_probability(text.encode()) == pytest.approx(math.log2(p), abs=1e-9)
    bits = sum(-p * math.log2(p) for _, p in texts)
    size = sum(p * len(text.encode()) for text, p in texts)
    # What is left out has probability < 1e-5, some tens of bits and bytes: 1e-3 covers it.
    assert grammar.entropy_bits() == pytest.approx(bits, abs=1e-3)
    assert grammar.mean_bytes() == pytest.approx(size, abs=1e-3)


def test_what_the_grammar_cannot_make_has_probability_zero():
    grammar = Grammar(MEMORY, "s")
    assert grammar.log2_probability(b"x-x.") == pytest.approx(math.log2(1 / 8 * 3 / 4))
    for text in (b"", b"x", b"x-yy.", b"x-x.x", b"q-q."):
        assert grammar.log2_probability(text) == -math.inf


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"s": [(1, "a"), (1, "ab")]}, "ambiguous: 'a' begins 'ab'"),
        ({"s": [(1, "a"), (2, "a")]}, "two alternatives begin with 'a'"),
        ({"s": [(1, "{t}"), (1, "b")], "t": [(1, "b"), (1, "c")]}, "two alternatives begin"),
        ({"s": [(1, "{s}a")]}, "begins with itself"),
        ({"s": [(1, "")]}, "begins with nothing"),
        ({"s": [(1, "{t}")]}, "refers to 't'"),
        ({"s": [(1, "a{=t}")]}, "recalls 't'"),
        ({"s": [(0, "a")]}, "positive weight"),
    ],
)
def test_bad_grammars_are_refused(rules, message):
    with pytest.raises(ConfigError, match=message):
        Grammar(rules, "s")


def test_endless_grammars_are_refused():
    with pytest.raises(ConfigError, match="infinite mean length"):
        Grammar({"s": [(1, "a{s}{s}"), (1, "b")]}, "s").mean_bytes()


@pytest.mark.parametrize("n_stories", [1_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mean_log_probability_is_the_entropy(n_stories):
    """Mean bits of a story within 4 standard errors (p < 7e-5 by chance; the seed is fixed)."""
    stories = [fables.document(11, number) for number in range(n_stories)]
    bits = np.array([-fables.log2_probability(story) for story in stories])
    size = np.array([len(story) for story in stories])
    assert np.isfinite(bits).all()
    assert abs(bits.mean() - fables.grammar().entropy_bits()) < 4 * bits.std() / math.sqrt(len(bits))
    assert abs(size.mean() - fables.grammar().mean_bytes()) < 4 * size.std() / math.sqrt(len(size))
    floor = fables.entropy_bits_per_byte()
    error = (bits - floor * size).std() / math.sqrt(len(bits)) / size.mean()
    assert abs(bits.sum() / size.sum() - floor) < 4 * error
    assert 0.9 < floor < 1.1


def test_stories_are_seeded_and_differ():
    first = list(fables.documents(seed=0, n_bytes=50_000))
    assert first == list(fables.documents(seed=0, n_bytes=60_000))[: len(first)]
    assert first[3] == fables.document(0, 3) != fables.document(1, 3)
    assert 50_000 <= sum(map(len, first)) < 60_000 and len(set(first)) == len(first)
    source = fables.source(n_bytes=1000)
    assert list(source) == list(source) and source.description["entropy_bits_per_byte"] > 0.9
    assert fables.log2_probability(first[0] + b" ") == -math.inf
