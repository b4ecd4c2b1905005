"""Forged models of count mixing: refused in a line, or within bounds with finite scores; no crash, no hang.

What a program says is checked when it is read, what tensors hold is not: so whatever they hold, a walk must end at a
token, and no number of theirs may become a place outside.  Oracle: the promise itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from countmix.small import PIECES, V, text

from weightless.base.errors import CorruptFileError
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models import countmix
from weightless.ops.count_layout import CODE, TOKEN, tree_line
from weightless.program.engine import Engine

SMALL = countmix.Config(V, 64, stored_mb=1.0, mixers=("depth", "node", "input"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("forgeries") / "model.wl"
    pack(path, "countmix", *countmix.FAMILY.count(SMALL, text(8000), token_bytes=PIECES))
    return open_packed(path)


def some_bytes(packed, weights, rng) -> None:
    """A few bytes anywhere."""
    places = packed.program.layout.places
    for _ in range(int(rng.integers(1, 6))):
        offset, tensor = places[str(rng.choice([t.name for t in packed.program.stored()]))]
        at = offset + int(rng.integers(0, tensor.nbytes))
        n = min(int(rng.choice([1, 1, 2, 8, 64])), offset + tensor.nbytes - at)
        weights[at : at + n] = rng.choice([0, 255, int(rng.integers(256))]) if n > 2 else rng.integers(0, 256, n)


def column(packed, weights, name: str, width: int) -> np.ndarray:
    """The rows of a tensor of bytes, to be written to."""
    offset, tensor = packed.program.layout.places[name]
    return weights[offset : offset + tensor.nbytes].reshape(-1, width)


def random_tables(packed, weights, rng) -> None:
    for name in ("counts.nodes", "counts.lists", "maps.lists", "maps.dense", "mix.input"):
        if rng.random() < 0.5:
            rows = column(packed, weights, name, 1)
            rows[:] = rng.integers(0, 256, rows.shape)


def no_tree(packed, weights, rng) -> None:
    """Children anywhere: beyond the vocabulary, themselves, their parents, nobody."""
    lines = column(packed, weights, "tree.nodes", tree_line(SMALL.shape.n_inputs))
    for _ in range(int(rng.integers(1, V))):
        node, member, side = int(rng.integers(V)), int(rng.integers(3)), int(rng.integers(2))
        child = int(rng.choice([0, node, rng.integers(V), rng.integers(65536), 65535]))
        lines[node, 4 * member + 2 * side : 4 * member + 2 * side + 2] = child & 255, child >> 8


def no_codes(packed, weights, rng) -> None:
    """Paths of tokens that overlap, end nowhere, or go on for ever."""
    records = column(packed, weights, "tokens.records", TOKEN)
    for _ in range(int(rng.integers(1, V))):
        token = int(rng.integers(V))
        code = int(rng.choice([0, 1, 2, 3, 1 << 24, (1 << 25) - 1, 1 << 25, (1 << 32) - 1, rng.integers(1 << 32)]))
        records[token, CODE : CODE + 4] = np.array([code], "<u4").view(np.uint8)
        if rng.random() < 0.5:
            records[token, CODE + 4 :] = rng.integers(0, 256, TOKEN - CODE - 4)


KINDS = (some_bytes, random_tables, no_tree, no_codes)
FIELDS = {
    "root": (0, 1, V - 1, V, 2**31, -1),
    "node_bits": (0, 1, 28, 29, 63),
    "list_bits": (0, 1, 28, 64),
    "n_slots": (0, 1, 3, 2**20, 2**21),
    "n_followers": (0, 1, 8, 9, 10),
    "node_lines": ("", "1", "-1 1", "9999999999", "shuffled", "zeros"),
    "list_lines": ("", "0 0 1", "1e3", "shuffled", "zeros"),
    "dense": ("o1", "o1 o1 o1 o1", "o99"),
    "mixers": ("", "input depth", "depth node input token"),
}


def lied(packed, rng):
    """The program with a field of its operators that lies, the same lie in every head."""
    name = str(rng.choice(list(FIELDS)))
    value = FIELDS[name][int(rng.integers(len(FIELDS[name])))]
    seed = int(rng.integers(1 << 30))

    def told(op):
        if not hasattr(op, name):
            return op
        numbers = str(getattr(op, name)).split()
        if value == "shuffled":
            return dataclasses.replace(op, **{name: " ".join(np.random.default_rng(seed).permutation(numbers))})
        if value == "zeros":
            total = sum(map(int, numbers))
            return dataclasses.replace(op, **{name: " ".join(["0"] * (len(numbers) - 1) + [str(total)])})
        return dataclasses.replace(op, **{name: value})

    program = packed.program
    heads = {head: tuple(map(told, ops)) for head, ops in program.heads.items()}
    return dataclasses.replace(program, body=tuple(map(told, program.body)), heads=heads).validate()


def outlives(packed, n_files: int) -> int:
    """How many forged models were refused; the others stay within bounds and give finite nats or none."""
    tokens, refused = text(20, seed=8), 0
    for seed in range(n_files):
        rng = np.random.default_rng(seed)
        weights = np.array(packed.weights)
        try:
            program = lied(packed, rng) if seed % 5 == 4 else packed.program
            if seed % 5 < 4:
                KINDS[seed % 5](packed, weights, rng)
            engine = Engine(program, weights)
            nats = engine.score_stream(tokens[:8], tokens[1:9])
            assert np.isfinite(nats).all() and nats.min() >= 0
            assert 0 <= engine.sample(np.full(8, seed % 97 / 97)) < V
            if seed % 3 == 0:
                total = float(engine.distribution().sum(dtype=np.float64))
                assert total < 1 + 1e-5 and (total > 1 - 1e-5 or seed % 5 == 0)  # a token may have two places
        except CorruptFileError as error:
            assert "\n" not in str(error)
            refused += 1
    return refused


def test_forged_models_stay_within_bounds(packed):
    assert 50 < outlives(packed, 400) < 350


@pytest.mark.slow
def test_ten_thousand_forged_models_stay_within_bounds(packed):
    assert 1000 < outlives(packed, 10_000) < 9000
