"""pydivsufsort sorts as we do; infini-gram's engine, over an index that its own program made, counts as we do.

Its engine answers `infgram_prob`: the longest suffix of a context that occurs, its count, and the count with a word
behind it: the published rule.  All whole numbers, so equality is exact.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from weightless.ngram import infinigram
from weightless.ngram.suffix_array import SuffixArray, build

V = 600


def text_of(n: int, seed: int = 0) -> np.ndarray:
    """Phrases come again, and once in a while a whole stretch."""
    rng = np.random.default_rng(seed)
    words = (1 + (rng.zipf(1.3, n) - 1) % (V - 1)).astype(np.uint16)
    for start in range(64, n - 32, 48):
        earlier = int(rng.integers(0, start - 32))
        words[start : start + 24] = words[earlier : earlier + 24]
    return words


@pytest.mark.parametrize("kind", ["text", "one word", "period", "twice"])
def test_pydivsufsort_gives_the_same_array(kind):
    pydivsufsort = pytest.importorskip("pydivsufsort")
    text = text_of(50_001)
    text = {
        "text": text,
        "one word": np.full_like(text, 9),
        "period": np.tile(text[:77], 300),
        "twice": np.tile(text[:9001], 2),
    }[kind]
    assert np.array_equal(pydivsufsort.divsufsort(text), build(text, V).suffixes)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """infini-gram over one document; its documents begin with the word 65,535, which we write down ourselves."""
    package = pytest.importorskip("infini_gram.engine")
    folder = tmp_path_factory.mktemp("index")
    stream = np.concatenate([[65_535], text_of(20_001)]).astype("<u2")
    stream.tofile(folder / "tokenized.0")
    np.zeros(1, np.uint64).tofile(folder / "offset.0")
    program = Path(package.__file__).with_name("rust_indexing")
    parts, merged = folder / "parts", folder / "merged"
    parts.mkdir()
    merged.mkdir()
    common = ["--data-file", folder / "tokenized.0", "--ratio", "2", "--token-width", "2"]
    for command in (
        ["make-part", "--parts-dir", parts, "--start-byte", "0", "--end-byte", str(stream.nbytes)],
        ["merge", "--parts-dir", parts, "--merged-dir", merged, "--num-threads", "1", "--hacksize", "100000"],
        ["concat", "--merged-dir", merged, "--merged-file", folder / "table.0", "--num-threads", "1"],
    ):
        subprocess.run([program, *command, *common], check=True, capture_output=True)
    return package.InfiniGramEngine(index_dir=str(folder), eos_token_id=0, vocab_size=65_535, token_dtype="u16")


@pytest.fixture(scope="module")
def array() -> SuffixArray:
    return build(text_of(20_001), V)


def test_counts(engine, array):
    rng, text = np.random.default_rng(1), array.text
    starts, lengths = rng.integers(0, len(text) - 9, 400), rng.integers(1, 9, 400)
    patterns = [text[s : s + n].copy() for s, n in zip(starts, lengths, strict=True)]
    for pattern in patterns[::2]:
        pattern[-1] = rng.integers(1, V)
    theirs = [engine.count(input_ids=[int(w) for w in pattern])["count"] for pattern in patterns]
    assert array.count(patterns).tolist() == theirs and 0 in theirs


def test_the_published_rule(engine, array):
    """Longest suffix, its count, and the count of the word behind it, for contexts from the text and changed ones."""
    rng, stream = np.random.default_rng(2), np.concatenate([array.text[700:760], text_of(60, seed=3)])
    stream[rng.integers(0, len(stream), 12)] = rng.integers(1, V, 12)
    contexts = [stream[max(0, t - 15) : t] for t in range(1, len(stream))]
    lengths, low, high = array.longest_suffix(contexts)
    n, hits, _ = infinigram.counts(array, stream.astype(np.uint16), 15)
    for t, context in enumerate(contexts, start=1):
        told = engine.infgram_prob(prompt_ids=[int(w) for w in context], cont_id=int(stream[t]))
        length = int(lengths[t - 1])
        assert (told["suffix_len"], told["prompt_cnt"]) == (length, high[t - 1] - low[t - 1])
        if length:
            assert told["cont_cnt"] == hits[t, length - 1] and told["prompt_cnt"] >= n[t, length - 1]
