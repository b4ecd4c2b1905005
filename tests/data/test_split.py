"""Oracles: Python sets of word tuples for the 13-grams; set algebra for the split."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, WeightlessError
from weightless.data.text.documents import document_key
from weightless.data.text.grams import GramSet, id_grams, twin_grams, word_grams, word_hashes
from weightless.data.text.split import drafted, split_by_hash, split_given, split_notes, split_rule


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile before a test is timed."""
    word_grams(b"a fox")


def words_of(document: bytes) -> list[bytes]:
    return re.findall(rb"[a-z0-9\x80-\xff]+", document.lower())


def prose(seed: int, n_words: int = 120) -> bytes:
    rng = np.random.default_rng(seed)
    return " ".join(f"w{i}" for i in rng.integers(0, 10_000, n_words)).encode()


@given(st.text(alphabet="abAB é.\n0", max_size=80), st.integers(1, 5))
def test_grams_agree_with_word_tuples(text, n):
    words = words_of(text.encode())
    width = min(n, len(words))
    tuples = [tuple(words[i : i + width]) for i in range(len(words) - width + 1)] if words else []
    grams = word_grams(text.encode(), n).tolist()
    assert len(grams) == len(tuples)
    assert len(set(grams)) == len(set(tuples))
    assert all((a == b) == (x == y) for a, x in zip(grams, tuples) for b, y in zip(grams, tuples))


@given(st.binary(max_size=300), st.integers(1, 14))
def test_compiled_grams_are_the_twin_bit_for_bit(content, n):
    assert np.array_equal(word_grams(content, n), twin_grams(content, n))


@pytest.mark.parametrize("before", [0, 1, 5, 65_535, 65_536, 65_537])
def test_compiled_grams_of_long_words_and_long_texts(before):
    """Words of more than 65,536 bytes are cut, wherever they begin."""
    for text in (b"-" * before + b"x" * 200_000 + b" tail of it", b"fox " * before + b"y" * 65_536 + b"z end"):
        for n in (1, 2, 13):
            assert np.array_equal(word_grams(text, n), twin_grams(text, n))


def test_word_hashes_do_not_depend_on_where_a_word_stands():
    text = b"fox " * 100_003  # several stretches of 65,536 bytes, cut inside and between words
    hashes = word_hashes(text)
    assert len(hashes) == 100_003 and len(np.unique(hashes)) == 1
    assert word_hashes(b"Fox,")[0] == hashes[0] != word_hashes(b"foxx")[0]
    assert len(word_hashes(b"x" * 200_000)) >= 1 and len(word_hashes(b"...")) == 0


def test_id_grams():
    ids = np.array([0, 1, 2, 0, 1, 2, 7], np.uint16)
    grams = id_grams(ids, 3)
    assert len(grams) == 5 and grams[0] == grams[3] and len(set(grams.tolist())) == 4


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50), min_size=1))
def test_gram_set_is_a_set(met, members):
    def spread(xs):
        return np.array(xs, np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    grams = GramSet(spread(members))
    grams.meet(spread(met))
    assert grams.share_met(spread(members)) == pytest.approx(np.mean([m in set(met) for m in members]))


def test_split_is_by_content_and_stable_under_addition():
    documents = [prose(i) for i in range(400)]
    first = split_by_hash(documents[:300], 0.1)
    more = split_by_hash([prose(9999), *documents], 0.1)
    assert {n + 1 for n in first.validation} == {n for n in more.validation if 1 <= n <= 300}
    assert 15 <= len(first.validation) <= 45  # binomial(300, 0.1): 30 +- 3 sigma
    expected = {i for i, d in enumerate(documents[:300]) if int.from_bytes(document_key(d)[:8], "big") < 0.1 * 2**64}
    assert first.validation == expected
    assert first.documents == {"train": 300 - len(expected), "val": len(expected), "dropped": 0}
    assert sum(first.bytes.values()) == sum(map(len, documents[:300]))


def test_equal_documents_fall_on_one_side():
    documents = [prose(i % 40) for i in range(120)]
    roles = split_by_hash(documents, 0.3)
    assert all(roles.role(i) == roles.role(i % 40) for i in range(120))


def test_two_documents_are_enough_and_one_is_not():
    for fraction in (1e-9, 1 - 1e-9):
        split = split_by_hash([prose(1), prose(2)], fraction)
        assert split.documents["train"] == split.documents["val"] == 1
    for documents in ([], [prose(1)], [prose(1), prose(1)]):
        with pytest.raises(WeightlessError, match="too short to split"):
            split_by_hash(documents, 0.05)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_by_hash([prose(1), prose(2)], 1.5)


def test_validation_that_repeats_training_is_dropped():
    documents = [prose(i) for i in range(60)]
    victim = min(split_by_hash(documents, 0.2).validation)
    words = documents[victim].split()
    for share, is_dropped in ((0.5, True), (0.15, False)):
        n_copied = round(share * len(words)) + 12
        copy = b" ".join(words[:n_copied]).upper()
        salt = next(s for s in range(99) if int.from_bytes(document_key(copy + b"! %d" % s)[:1], "big") > 128)
        split = split_by_hash([*documents, copy + b"! %d" % salt], 0.2)
        assert (split.role(victim) == "dropped") is is_dropped
        assert split.record["dropped_documents"] == int(is_dropped)
        n_grams = len(words) - 12
        if not is_dropped:
            assert split.record["largest_kept_overlap"] == pytest.approx(round(share * len(words)) / n_grams, abs=1e-4)


def test_nothing_left_to_validate_is_an_error():
    text = prose(1)
    with pytest.raises(WeightlessError, match="repeat the training text"):
        split_by_hash([text + b"!" * i for i in range(20)], 0.2)


def test_given_validation_is_kept_whole_and_its_overlap_counted():
    train, validation = [prose(1), prose(2)], [prose(2), prose(3)]
    split = split_given(train, validation)
    assert split.validation == {2, 3} and split.record["overlapping_documents"] == 1
    assert split_given(train, validation, max_overlap=0.2).dropped == {2}
    with pytest.raises(WeightlessError, match="validation text holds no document"):
        split_given(train, [])


def test_first_and_last_documents_validate():
    documents = [prose(i) for i in range(9)]
    for method, n, expected in (("first", 2, {0, 1}), ("last", 2, {7, 8}), ("last", 8, set(range(1, 9)))):
        split = drawn(split_rule(**{method: n}), documents)
        assert split.validation == expected and split.record["method"] == method and split.record["documents"] == n
        assert split.documents == {"train": 9 - n, "val": n, "dropped": 0}
    repeated = [*documents, documents[0]]
    split = drawn(split_rule(last=2), repeated)
    assert split.validation == {8, 9} and split.record["equal_documents"] == split.record["overlapping_documents"] == 1
    assert drawn(split_rule(last=2, max_overlap=0.2), repeated).dropped == {9}
    with pytest.raises(WeightlessError, match="leave none to train on"):
        drawn(split_rule(first=9), documents)


def test_no_document_validates():
    split = drawn(split_rule(fraction=0.0), [prose(1)])
    assert not split.validation and split.documents == {"train": 1, "val": 0, "dropped": 0}
    assert split.record["largest_kept_overlap"] == 0.0


def test_validation_that_is_training_text_is_refused():
    documents = [prose(i) for i in range(5)]
    with pytest.raises(WeightlessError, match=r"each of its 2 document\(s\) stands there too"):
        split_given(documents, documents[2:4])
    assert split_given(documents, [documents[0], prose(9)]).record["equal_documents"] == 1


def drawn(rule, documents):
    draft = drafted(rule, documents)
    draft.compare(documents)
    return draft.finished(rule["max_overlap"])


def test_the_rules_of_a_split():
    assert split_rule() == {"method": "hash", "fraction": 0.05, "max_overlap": 0.2}
    assert split_rule(given=True) == {"method": "given", "max_overlap": 1.0}
    assert split_rule(last=3, max_overlap=0.5) == {"method": "last", "documents": 3, "max_overlap": 0.5}
    for wrong in (
        {"given": True, "first": 1},
        {"first": 1, "last": 1},
        {"fraction": 0.1, "last": 1},
        {"last": -1},
        {"fraction": 1.0},
        {"fraction": -0.1},
        {"fraction": float("nan")},
        {"max_overlap": 2.0},
    ):
        with pytest.raises(ConfigError):
            split_rule(**wrong)


def test_notes_tell_what_was_not_asked_for():
    def manifest(record, n_train=90, n_val=10, val_bytes=10):
        splits = {"train": {"documents": n_train, "bytes": 90}, "val": {"documents": n_val, "bytes": val_bytes}}
        return {"split": record, "splits": splits}

    usual = {"method": "hash", "fraction": 0.1, "max_overlap": 0.2, "dropped_documents": 0, "overlapping_documents": 0}
    assert split_notes(manifest(usual)) == []
    assert "10.0% of the text, 1.0% was asked for" in split_notes(manifest({**usual, "fraction": 0.01}))[0]
    dropped = {**usual, "dropped_documents": 3, "overlapping_documents": 3}
    assert split_notes(manifest(dropped)) == [
        "3 validation document(s) were dropped: more than 20% of their 13-word-grams stand in the training text"
    ]
    given = {
        "method": "given",
        "max_overlap": 1.0,
        "dropped_documents": 0,
        "overlapping_documents": 4,
        "equal_documents": 2,
    }
    (note,) = split_notes(manifest(given))
    assert note.startswith("WARNING") and "of 10 documents, 4 have" in note and "2 stand there to the byte" in note
    assert split_notes({"splits": manifest(usual)["splits"]}) == []  # as imported corpora of before have it
