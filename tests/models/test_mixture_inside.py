"""A trained part as one more input of countmix's mixers: what it costs, what is refused, how seldom roundings turn.

Oracles: the trained part's own program for the bytes of its head, the readable engine's log, closed forms.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from contract.beside_cases import CASES
from contract.cases import bench

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.models import mixture
from weightless.program.compose import NEURAL
from weightless.program.compose_inside import by_rank, class_head
from weightless.program.cost import formula, is_exact
from weightless.program.program import Program

MANY = [f"t{k}{j}" for k in range(1, 5) for j in range(k + 1, 7)][:12]
EVERY = list(CASES["mixture"])


@pytest.fixture(params=EVERY)
def b(request):
    return bench("mixture", request.param)


def head_bytes(engine, b) -> int:
    """What the last head read of the rows of classes, groups and words."""
    rows = {t.name for t in b.program.stored() if t.component == "head"}
    return sum(access.n_bytes for _, log, _ in engine.steps for access in log if access.tensor in rows)


def test_it_reads_what_the_head_would_read(b):
    """At every full class the rows of `class_score` and `word_score`; an entry of the table of slots less."""
    room, config = b.config.part(NEURAL)
    own = room.decode_program(config)
    (slots,) = {op.slot_tables()[0] for op in own.heads["score"]} - {""}
    want = formula(own, 1)["head"].T - own.by_name[slots].row_bytes
    engine, found = b.audit_engine(), []
    for token, target in zip(b.tokens.tolist(), b.targets.tolist(), strict=True):
        engine.feed(token)
        engine.score(target)
        found.append(head_bytes(engine, b))
    assert max(found) == want and min(found) > 0.3 * want
    assert np.mean(np.array(found) == want) > 0.5, "most targets are in a full class"


def test_the_tables_of_slots_are_not_stored(b):
    names = {t.name for t in b.program.stored()}
    assert not any("slot" in name for name in names) and "counted.tree.rank" in names


def test_sampling_touches_what_scoring_touches(b):
    """The same addresses for the token that was drawn, but for its entry in the tables of ranks and tokens."""
    engine, rng = b.audit_engine(), np.random.default_rng(5)
    for token in b.tokens[:6].tolist():
        engine.feed(token)
        drawn = engine.sample(rng.random(8))
        by_sample = walk_log(engine)
        engine.score(drawn)
        assert by_sample == walk_log(engine)


def walk_log(engine):
    _, log, _ = engine.steps[-1]
    tables = ("counted.tree.rank", "counted.tree.token")
    return sorted((a.tensor, a.first, a.n_bytes, a.write) for a in log if a.tensor not in tables)


def test_survives_the_round_trip(b):
    assert from_dict(mixture.Config, to_dict(b.config)) == b.config
    assert Program.from_plain(b.program.to_plain()) == b.program
    assert not is_exact(b.program)


def test_the_trained_part_is_heard(b):
    """Without its words another distribution: what it says reaches the mixers."""
    engine, weights = b.engine(), b.weights.copy()
    place = b.program.layout.places["neural.words"]
    weights[place.offset : place.offset + place.tensor.nbytes] = 0
    from weightless.program.engine import Engine

    one = engine.score_stream(b.tokens, b.targets)
    two = Engine(b.program, weights).score_stream(b.tokens, b.targets)
    assert np.isfinite(two).all() and np.abs(one - two).max() > 1e-2


def test_roundings_turn_seldom_and_by_little(b):
    """Engines add float32 in another order: nats are equal but for a few positions, which differ by some 1/256."""
    gaps = []
    for seed in range(4):
        tokens = np.random.default_rng(seed).integers(0, b.config.vocab_size, len(b.tokens) + 1)
        have, want = (e.score_stream(tokens[:-1], tokens[1:]) for e in (b.engine(), b.audit_engine()))
        gaps.append(np.abs(have - want))
    gaps = np.concatenate(gaps)
    assert (gaps > 1e-5).mean() < 0.1 and gaps.max() < 2e-2


def test_probabilities_sum_to_one_from_exact_sides(b):
    """Products of multiples of 2^-22 along all paths, float64: one to 1e-9 before each p is rounded to float32."""
    from weightless.ops.count_mixing import probability
    from weightless.program.operators.countmix.reading import Reader

    engine, op = b.audit_engine(), b.program.heads["score"][-1]
    for token in b.tokens[:3].tolist():
        engine.feed(token)
        engine.score(0)
        reader, total = Reader(op, engine.arena), 0.0
        waiting = [(reader.root(), 1.0)]
        while waiting:
            at, p = waiting.pop()
            right = probability(reader.logit(at))
            for side, share in ((0, 1 - right), (1, right)):
                first, end = at.ends(side)
                if end - first < 2:
                    total += p * share
                else:
                    waiting.append((at.below(op, reader.memory, side), p * share))
        assert abs(total - 1) <= 1e-9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"neural_config": {"head": "full"}}, 'head without classes .* give it head = "class"'),
        ({"neural": "dense"}, 'head without classes .* give it head = "class"'),
        ({"held_out": 5}, "as many tokens as counted_config.held_out says: set that"),
        ({"window_cache": 2}, "countmix counts its window itself: leave it out"),
        ({"counted_config": {"held_out": 0}}, "counted_config.held_out = 0 should be at least 2"),
        (
            {"counted_config": {"lists": [f"t{k}{j}" for k in range(1, 5) for j in range(k + 1, 7)][:12]}},
            "no room for a",
        ),
    ],
)
def test_what_cannot_be_is_told(values, words):
    with pytest.raises(ConfigError, match=words):
        mixture.Config(counted="countmix", **values)


def test_any_family_with_classes_takes_part():
    for name, values in (("dense", {"head": "class", "tied": False}), ("feather", {"head": "class3", "n_experts": 4})):
        config = mixture.Config(neural=name, neural_config=values, counted="countmix")
        found = mixture.FAMILY.decode_program(config)
        assert found.heads["score"][-1].word_rows == "neural.words"


def test_rows_in_the_order_of_a_tree():
    """11 tokens in groups of 2 and classes of 4, padded to three classes: every row moves with its tokens."""
    token_of_rank = np.array([8, 1, 0, 6, 3, 2, 5, 9, 7, 4, 10])
    slots = token_of_rank  # tokens are numbered by slot here
    words = by_rank(np.arange(12.0)[:, None], slots, 1)[:, 0]
    assert words.tolist() == [*slots.tolist(), 11]
    paired = np.array([4, 5, 0, 1, 2, 3, 6, 7, 8, 9, 10])
    assert by_rank(np.arange(6.0)[:, None], paired, 2)[:, 0].tolist() == [2, 0, 1, 3, 4, 5]


def test_a_head_is_found_by_what_it_is():
    room, config = bench("mixture", "three_levels_in_countmix").config.part(NEURAL)
    head = class_head(room.decode_program(config))
    assert head.sizes == (head.n_groups * head.n_words, head.n_words) and list(head.units.values()) == [*head.sizes, 1]


@pytest.mark.parametrize("field", ["above", "h", "word_rows"])
def test_a_head_named_in_part_is_refused(field):
    plain = bench("mixture", EVERY[0]).program.to_plain()
    for head in plain["heads"].values():
        head[-1][field] = ""
    with pytest.raises(CorruptFileError, match="named in part only"):
        Program.from_plain(plain)


@pytest.mark.parametrize(("field", "value"), [("n_words", 1), ("n_words", 10**6), ("n_words", 0), ("n_groups", 3)])
def test_sizes_that_do_not_fit_are_refused(field, value):
    plain = bench("mixture", EVERY[0]).program.to_plain()
    for head in plain["heads"].values():
        head[-1][field] = value
    with pytest.raises(CorruptFileError):
        Program.from_plain(plain)


def test_forged_weights_stay_within_bounds(b):
    """Any bytes at all: finite nats or a refusal, and tokens that there are."""
    from weightless.program.engine import Engine

    rng, places, refused = np.random.default_rng(0), b.program.layout.places, 0
    names = [t.name for t in b.program.stored() if t.component in ("head", "tree", "mixers")]
    for _ in range(60):
        weights = b.weights.copy()
        for _ in range(int(rng.integers(1, 6))):
            offset, tensor = places[str(rng.choice(names))]
            at = offset + int(rng.integers(0, tensor.nbytes))
            weights[at : min(at + 4, offset + tensor.nbytes)] = rng.integers(0, 256)
        engine = Engine(b.program, weights)
        try:
            nats = engine.score_stream(b.tokens[:6], b.targets[:6])
            assert np.isfinite(nats).all() and nats.max() < 24 * math.log(2**22)
            assert 0 <= engine.sample(rng.random(8)) < b.config.vocab_size
            assert np.isfinite(engine.distribution()).all()
        except CorruptFileError:
            refused += 1
    assert refused < 60
