"""docs/scale.md is what the recorded points give; its lines are NumPy's; the limits that it names refuse cleanly.

Oracles: the committed record; numpy.polyfit with its covariance, and a printed table of Student's distribution.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import read_json
from weightless.data.shards import shards
from weightless.data.shards.prepare import described
from weightless.ngram import kneser_ney, suffix_array
from weightless.tokenizer import Tokenizer, bpe_train
from weightless.tokenizer.word_counter import Words

ROOT = Path(__file__).parents[2]
T_975_3 = 3.182446305284263
"""The 97.5 % point of Student's distribution with three degrees of freedom."""
RECORD = ROOT / "runs/recorded/growth/growth.json"


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import growth_page

        yield growth_page
    sys.modules.pop("growth_page", None)


def test_the_page_is_that_of_the_record(pages):
    command = "python benchmarks/growth.py --only-page --page docs/scale.md"
    assert (ROOT / "docs/scale.md").read_text("utf-8") == pages.page(read_json(RECORD)), f"run {command}"


def test_lines_and_intervals(pages):
    rng = np.random.default_rng(3)
    tokens = np.array([1e6, 3e6, 1e7, 3e7, 1e8])
    values = 1e-6 * tokens**1.25 * np.exp(rng.normal(0, 0.1, 5))
    line, x, y = pages.fitted(tokens, values), np.log(tokens), np.log(values)
    (b, a), covariance = np.polyfit(x, y, 1, cov="unscaled")
    deviation = np.sqrt(((y - a - b * x) ** 2).sum() / 3)
    assert (line.b, line.a) == pytest.approx((b, a), rel=1e-9)
    assert line.half == pytest.approx(T_975_3 * deviation * np.sqrt(covariance[0, 0]), rel=1e-7)
    at, (value, low, high) = np.array([np.log(1e9), 1]), line.at(1e9)
    wide = T_975_3 * deviation * np.sqrt(1 + at @ covariance @ at)
    found = np.array([b * at[0] + a - wide, b * at[0] + a, b * at[0] + a + wide])
    assert np.log([low, value, high]) == pytest.approx(found, rel=1e-7)
    assert line.last == pytest.approx((y[4] - y[3]) / (x[4] - x[3]))
    assert line.beyond(1e9) == pytest.approx(values[4] * 10 ** max(line.b, line.last))
    assert line.beyond(line.reaches(123.0)) == pytest.approx(123.0)


def test_no_line_through_two_points_or_zeros(pages):
    assert pages.fitted([1, 2], [1, 2]) is None
    assert pages.fitted([1, 2, 3, 4], [0, 0, 5, 6]) is None
    exact = pages.fitted([1, 10, 100], [2, 20, 200])
    assert (exact.b, exact.half) == pytest.approx((1, 0), abs=1e-9)


def test_a_shard_of_more_tokens_than_its_header_can_tell(tmp_path, monkeypatch):
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"])
    with pytest.raises(ConfigError, match="1 to 2,147,483,647"):
        described([b"text"], tokenizer, tmp_path, shard_tokens=2**31)
    monkeypatch.setattr(shards, "MOST_TOKENS", 10)
    with pytest.raises(ConfigError, match="at most 10 tokens"):
        shards.write_shard(tmp_path / "a.bin", np.zeros(11, np.uint16))
    assert not list(tmp_path.iterdir())
    shards.write_shard(tmp_path / "a.bin", np.zeros(10, np.uint16))
    assert len(shards.read_shard(tmp_path / "a.bin")) == 10


@pytest.mark.parametrize("build", [lambda x: kneser_ney.build(x, 9, 2), lambda x: suffix_array.build(x, 9)])
def test_more_tokens_than_32_bits_can_number(build):
    """The ids are one number seen 2^32 times, so that nothing has to be held."""
    many = np.broadcast_to(np.uint16(1), (2**32,))
    with pytest.raises(WeightlessError, match=r"4,294,967,296 tokens are more than"):
        build(many)


def test_more_tokens_than_memory(monkeypatch):
    monkeypatch.setattr(kneser_ney, "memory", lambda: 16 * 100 - 1)
    with pytest.raises(WeightlessError, match=r"sorting the suffixes of 100 tokens takes at least 1.6 kB"):
        suffix_array.build(np.ones(100, np.uint16), 9)
    monkeypatch.setattr(kneser_ney, "memory", lambda: 8 * 100 - 1)
    with pytest.raises(WeightlessError, match=r"counting the n-grams of 100 tokens takes at least 800 B of memory"):
        kneser_ney.build(np.ones(100, np.uint16), 9, 2)


def test_more_bytes_of_words_than_positions(monkeypatch):
    monkeypatch.setattr(bpe_train, "LARGEST_LAYOUT", 20)
    words = Words(np.zeros(20, np.uint8), np.array([0, 20]), np.array([1]))
    with pytest.raises(ConfigError, match="train on a part of the text"):
        bpe_train.lay_out(words)
