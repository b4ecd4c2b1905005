"""Oracles: zlib itself on the joined bytes; the messages a person needs for a score file that does not fit."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.batches.packing import document_starts
from weightless.data.batches.scores import compression_ratio, compression_ratios, document_lengths, read_scores


@pytest.mark.parametrize("n_threads", [1, 3])
def test_ratios_are_those_of_zlib_on_each_document(n_threads):
    rng = np.random.default_rng(0)
    texts = [bytes(rng.integers(97, 97 + 1 + i % 26, 3 + i % 400).astype(np.uint8)) for i in range(1100)]
    texts[5] = b""
    ids = [np.frombuffer(b"\xff" + text, np.uint8) for text in texts]
    tokens = np.concatenate(ids).astype(np.uint16)
    pieces = [bytes([i]) for i in range(256)]
    starts = document_starts(tokens, 255)
    found = compression_ratios(tokens, starts, pieces, 255, n_threads=n_threads)
    wanted = [len(zlib.compress(text)) / len(text) if text else 1.0 for text in texts]
    assert found.tolist() == wanted and pieces[255] == b"\xff"
    assert document_lengths(starts).tolist() == [len(text) + 1 for text in texts]


def test_repetition_compresses():
    assert compression_ratio(b"ab" * 500) < 0.05 < 0.9 < compression_ratio(np.random.default_rng(0).bytes(1000))
    assert compression_ratio(b"") == 1.0


def test_score_files(tmp_path):
    values = [1.5, -2.0, 3.0]
    lines, objects, array = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.npy"
    lines.write_text("\n".join(map(json.dumps, values)) + "\n\n")
    objects.write_text("\n".join(json.dumps({"id": i, "score": v}) for i, v in enumerate(values)))
    np.save(array, np.array(values, np.float32))
    for path in (lines, objects, array):
        assert read_scores(path, 3).tolist() == values
        with pytest.raises(ConfigError, match="3 scores, the training split 4 documents"):
            read_scores(path, 4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"1\nx\n2", "line 2 is neither"),
        ("a.jsonl", b"1\nNaN\n2", "line 2 is neither"),
        ("a.jsonl", b'1\n{"value": 3}\n2', 'object with "score"'),
        ("a.jsonl", b"true\n1\n2", "line 1 is neither"),
        ("a.jsonl", b"[" * 100_000, "line 1 is neither"),
        ("a.npy", b"no array", "is not a .npy file"),
        ("a.npy", b"", "is not a .npy file"),
    ],
)
def test_broken_score_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        read_scores(path, 3)


def test_arrays_that_are_no_list_of_numbers(tmp_path):
    path = tmp_path / "a.npy"
    for wrong, message in [
        (np.zeros((3, 1)), "one-dimensional"),
        (np.array(["a", "b", "c"]), "one-dimensional"),
        (np.array([1.0, np.inf, 2.0]), "score 1 is inf"),
    ]:
        np.save(path, wrong)
        with pytest.raises(CorruptFileError, match=message):
            read_scores(path, 3)
    np.save(path, np.array([object()] * 3), allow_pickle=True)
    with pytest.raises(CorruptFileError, match="is not a .npy file"):
        read_scores(path, 3)
    with pytest.raises(WeightlessError, match="cannot read the score file"):
        read_scores(tmp_path / "absent.npy", 3)
