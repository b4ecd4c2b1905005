"""A program or an index table from a stranger ends in CorruptFileError, never in another exception or a wild read.

Oracle: the error type.  2,000 seeded mutations of the JSON of real programs are either refused or run on random
weights through every verb of both engines.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random

import numpy as np
import pytest
from contract.cases import bench, packed_bytes

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.program.engine import AuditEngine, Engine
from weightless.program.program import Program

SOURCES = [
    ("dense", "tied_mha_swiglu_f32"),
    ("feather", "square_vocabulary"),
    ("feather", "full_head_bigrams"),
    ("ngram", "order_3"),
    ("infinigram", "length_3"),
    ("mixture", "dense_and_ngram"),
]
ODD = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    7,
    8,
    64,
    2**31,
    2**40 - 1,
    2**40,
    2**63,
    2**64,
    2**70,
    0.0,
    -1.0,
    0.5,
    1e30,
    float("inf"),
    float("nan"),
    "",
    "x",
    "é" * 99,
    "f32",
    "u32",
    "int4",
    "bf17",
    "state",
    "constant",
    [],
    {},
    [1, 2],
    [2**39, 2**39],
    [0, 4],
    [1, 0],
    {"op": "attend"},
    "outcome",
    "probabilities",
    "history",
]
SMALL = 1 << 22


def plain(name: str, case: str) -> dict:
    return bench(name, case).program.to_plain()


def containers(value):
    """Every dict and list inside, the outermost included."""
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def mutated(values: dict, rng: random.Random) -> dict:
    """One to three changes: a plausible value from elsewhere, an odd value, a part too many, too few or moved."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        target = rng.choice([c for c in containers(values) if len(c)])
        key = rng.choice(list(target)) if isinstance(target, dict) else rng.randrange(len(target))
        action, old = rng.random(), target[key]
        held = [v for c in containers(values) for v in (c.values() if isinstance(c, dict) else c)]
        alike = [value for value in held if type(value) is type(old)]
        if action < 0.4:
            target[key] = copy.deepcopy(rng.choice(alike))
        elif action < 0.6 and type(old) in (int, float):
            target[key] += rng.choice([-64, -2, -1, 1, 2, 64, 2**20])
        elif action < 0.75:
            target[key] = copy.deepcopy(rng.choice(ODD))
        elif isinstance(target, list):
            rng.choice([target.reverse, target.pop, lambda t=target, o=old: t.append(copy.deepcopy(o))])()
        else:
            target[rng.choice(["surprise", "shape", "op", "level"])] = rng.choice(ODD)
    return values


def run_both(program: Program, seed: int) -> None:
    """Feed, score, draw and read the distribution on random bytes; they may be told to be corrupt, or NaN."""
    weights = np.random.default_rng(seed).integers(0, 256, program.layout.weight_bytes, dtype=np.uint8)
    for kind in (Engine, AuditEngine):
        with np.errstate(all="ignore"):
            try:
                engine = kind(program, weights, poison=True)
                for token in (0, program.vocab_size - 1)[: program.context]:
                    engine.feed(token)
                    engine.score(program.vocab_size - 1)
                    assert 0 <= engine.sample(np.full(program.n_uniforms, 0.99)) < program.vocab_size
                    assert engine.distribution().shape == (program.vocab_size,)
            except (CorruptFileError, ConfigError):
                continue


@pytest.mark.parametrize("source", SOURCES, ids="-".join)
@pytest.mark.filterwarnings("ignore:.*invalid value encountered.*:RuntimeWarning")
def test_500_mutations_are_refused_or_run(source):
    values, rng, outcomes = plain(*source), random.Random(str(source)), []
    for seed in range(500):
        mutant = mutated(values, rng)
        try:
            program = Program.from_plain(mutant)
        except (CorruptFileError, ConfigError) as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
            continue
        if program.layout.state_bytes + program.layout.weight_bytes < SMALL:
            run_both(program, seed)
            outcomes.append("ran")
    assert outcomes.count("refused") > 200 and outcomes.count("ran") > 20, "the mutations are too wild or too tame"


def changed(values: dict, *path, to) -> dict:
    values = copy.deepcopy(values)
    target = values
    for key in path[:-1]:
        target = target[key]
    if to is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = to
    return values


def tensor_at(values: dict, name: str) -> int:
    return next(i for i, entry in enumerate(values["tensors"]) if entry["name"] == name)


DENSE, FEATHER, NGRAM = SOURCES[0], SOURCES[1], SOURCES[3]
REFUSALS = {
    "not a program": (DENSE, lambda v: [v]),
    "another version": (DENSE, lambda v: changed(v, "version", to=2)),
    "no tensors": (DENSE, lambda v: changed(v, "tensors", to=...)),
    "missing tensor": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "x"), to=...)),
    "missing head": (DENSE, lambda v: changed(v, "heads", "sample", to=...)),
    "two of one name": (DENSE, lambda v: changed(v, "tensors", to=[*v["tensors"], v["tensors"][0]])),
    "extra field of the program": (DENSE, lambda v: changed(v, "surprise", to=1)),
    "extra field of a tensor": (DENSE, lambda v: changed(v, "tensors", 0, "surprise", to=1)),
    "extra field of an operator": (DENSE, lambda v: changed(v, "body", 0, "surprise", to=1)),
    "extra head": (DENSE, lambda v: changed(v, "heads", "surprise", to=[])),
    "missing field": (DENSE, lambda v: changed(v, "body", 2, "weight", to=...)),
    "field of another type": (DENSE, lambda v: changed(v, "body", 3, "n_heads", to="2")),
    "truth for a number": (DENSE, lambda v: changed(v, "body", 3, "n_heads", to=True)),
    "unknown operator": (DENSE, lambda v: changed(v, "body", 0, "op", to="accept_tokens")),
    "unknown format": (DENSE, lambda v: changed(v, "tensors", 0, "format", to="f33")),
    "unknown kind": (DENSE, lambda v: changed(v, "tensors", 0, "kind", to="code")),
    "odd int4": (
        DENSE,
        lambda v: changed(changed(v, "tensors", 0, "format", to="int4"), "tensors", 0, "shape", to=[301, 41]),
    ),
    "a weight as state": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "block.0.qkv"), "kind", to="state")),
    "state as a weight": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "x"), "kind", to="weight")),
    "a matrix of ids": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "block.0.up"), "format", to="u16")),
    "wrong shape": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "block.0.up"), "shape", to=[213, 40])),
    "huge tensor": (DENSE, lambda v: changed(v, "tensors", 0, "shape", to=[2**62, 40])),
    "huge state": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "kv.0"), "shape", to=[2**34, 80])),
    "huge window": (DENSE, lambda v: changed(v, "body", 4, "window", to=2**70)),
    "negative size": (DENSE, lambda v: changed(v, "tensors", 0, "shape", to=[-1, 40])),
    "huge context": (DENSE, lambda v: changed(v, "context", to=10**300)),
    "short cache": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "kv.0"), "shape", to=[22, 80])),
    "short history": (DENSE, lambda v: changed(v, "tensors", tensor_at(v, "history"), "shape", to=[1, 22])),
    "empty history": (
        DENSE,
        lambda v: changed(
            changed(v, "tensors", tensor_at(v, "history"), "shape", to=[0, 23]), "body", to=v["body"][1:]
        ),
    ),
    "unlimited context": (DENSE, lambda v: changed(v, "context", to=float("inf"))),
    "fractional vocabulary": (DENSE, lambda v: changed(v, "vocab_size", to=301.5)),
    "context as text": (DENSE, lambda v: changed(v, "context", to="23")),
    "other vocabulary": (DENSE, lambda v: changed(v, "vocab_size", to=302)),
    "heads that do not divide": (DENSE, lambda v: changed(v, "body", 4, "n_kv_heads", to=3)),
    "unknown activation": (DENSE, lambda v: changed(v, "body", 6, "activation", to="gelu2")),
    "no classes": (FEATHER, lambda v: changed(v, "tensors", tensor_at(v, "classes"), "shape", to=[0, 72])),
    "uneven classes": (FEATHER, lambda v: changed(v, "tensors", tensor_at(v, "words"), "shape", to=[290, 72])),
    "short slots": (FEATHER, lambda v: changed(v, "tensors", tensor_at(v, "slot_of_token"), "shape", to=[288, 1])),
    "class width": (FEATHER, lambda v: changed(v, "heads", "score", 1, "n_words", to=16)),
    "endless epsilon": (FEATHER, lambda v: changed(v, "heads", "score", 0, "eps", to=10**400)),
    "no epsilon": (FEATHER, lambda v: changed(v, "heads", "score", 0, "eps", to=float("nan"))),
    "level too deep": (NGRAM, lambda v: changed(v, "heads", "sample", 0, "level", to=100)),
    "level below zero": (NGRAM, lambda v: changed(v, "heads", "sample", 0, "level", to=-9)),
    "uneven lists": (NGRAM, lambda v: changed(v, "tensors", tensor_at(v, "cont.1.word"), "shape", to=[9, 1])),
    "unigrams": (NGRAM, lambda v: changed(v, "tensors", tensor_at(v, "cont.0.cum"), "shape", to=[300, 1])),
    "result elsewhere": (NGRAM, lambda v: changed(v, "heads", "full", 0, "outcome", to="p")),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_each_fault_is_told_in_one_line(fault):
    source, change = REFUSALS[fault]
    with pytest.raises(CorruptFileError) as caught:
        Program.from_plain(change(plain(*source)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("source", SOURCES, ids="-".join)
def test_json_round_trip(source):
    program = bench(*source).program
    assert Program.from_plain(program.to_plain()) == program


HOSTILE = {
    "slot_of_token": ("feather", "square_vocabulary", lambda a: np.full_like(a, 2**16 - 1)),
    "token_of_slot": ("feather", "square_vocabulary", lambda a: np.full_like(a, 2**16 - 1)),
    "ctx.1.node": ("ngram", "order_3", lambda a: a + np.uint32(2**31)),
    "ctx.2.node": ("ngram", "order_3", lambda a: a + np.uint32(2**31)),
    "cont.1.word": ("ngram", "order_3", lambda a: np.full_like(a, 2**16 - 1)),
    "unigram.alias": ("ngram", "order_1", lambda a: np.array([0, 2**32 - 1], np.uint32) + 0 * a),
    "suffixes": ("infinigram", "length_3", lambda a: np.full_like(a, 2**32 - 1)),
    "text": ("infinigram", "length_3", lambda a: np.full_like(a, 2**16 - 1)),
    "first_row": ("infinigram", "length_3", lambda a: a + np.uint32(2**31)),
    "counted.ctx.1.node": ("mixture", "dense_and_ngram", lambda a: a + np.uint32(2**31)),
}


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
@pytest.mark.parametrize("name", HOSTILE)
def test_index_tables_that_point_outside_are_told(name, kind):
    """At least one verb must notice, none may do anything but answer or raise CorruptFileError."""
    family, case, spoil = HOSTILE[name]
    b = bench(family, case)
    weights = packed_bytes(b.program, b.arrays | {name: spoil(b.arrays[name])})
    told = 0
    for verb in (lambda e: e.score(3), lambda e: e.sample(np.full(8, 0.999)), lambda e: e.distribution()):
        engine = kind(b.program, weights)
        try:
            with np.errstate(all="ignore"):
                for token in b.tokens[:3]:
                    engine.feed(int(token))
                verb(engine)
        except CorruptFileError as error:
            told += 1
            assert "\n" not in str(error)
    assert told


def test_too_few_weights_and_wrong_ids_are_told():
    b = bench("dense", "tied_mha_swiglu_f32")
    for kind in (Engine, AuditEngine):
        with pytest.raises(CorruptFileError, match="bytes"):
            kind(b.program, b.weights[:-64])
        engine = kind(b.program, b.weights)
        for token in (-1, 301):
            with pytest.raises(ConfigError, match="vocabulary"):
                engine.feed(token)
        with pytest.raises(ConfigError, match="nothing has been fed"):
            engine.distribution()
        engine.score_stream(b.tokens, b.targets)
        with pytest.raises(ConfigError, match="context"):
            engine.feed(1)
        with pytest.raises(ConfigError, match="vocabulary"):
            engine.score(301)
        engine.reset()
        with pytest.raises(ConfigError, match="targets"):
            engine.score_stream(b.tokens[:3], b.targets[:2])


def test_a_program_of_another_vocabulary_is_refused():
    program = bench("dense", "tied_mha_swiglu_f32").program
    with pytest.raises(CorruptFileError):
        dataclasses.replace(program, vocab_size=300).validate()
    with pytest.raises(ConfigError, match="2.."):
        dataclasses.replace(program, vocab_size=1).validate()


def test_poisoned_weights_are_told_or_come_out_as_nan():
    """NaN everywhere: no verb may take it for an id, and no number may look like a loss."""
    for source in SOURCES[:3]:
        b = bench(*source)
        poisoned = np.full_like(b.weights, 0xFF)
        for kind in (Engine, AuditEngine):
            engine, nats = kind(b.program, poisoned), np.nan
            with np.errstate(all="ignore"), contextlib.suppress(CorruptFileError, ConfigError):
                engine.feed(1)
                nats = engine.score(1)
            assert np.isnan(nats)


def test_padding_behind_a_vector_is_no_part_of_it():
    """A result declared `by_row` is padded to a line; the distribution is still V numbers."""
    b = bench("dense", "tied_mha_swiglu_f32")
    memory = tuple(dataclasses.replace(t, by_row=True) if t.name == "probabilities" else t for t in b.program.tensors)
    engine = Engine(dataclasses.replace(b.program, tensors=memory).validate(), b.weights)
    engine.feed(1)
    assert engine.distribution().shape == (301,)
