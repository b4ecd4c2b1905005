"""Oracles: scipy (where it is installed, and values that it gave), and hand-made folders of one text and of others."""

from __future__ import annotations

import json
import math

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.golf.compare import compare, welch
from weightless.golf.known import BYTES_PER_TOKEN, RECORD_NATS
from weightless.golf.scores import scores_of

A, B = [3.2790, 3.2785, 3.2796], [3.2860, 3.2848, 3.2871, 3.2855]
X = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
Y = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.0, 23.9]


@pytest.mark.parametrize(
    ("x", "y", "bar", "t", "df", "p"),
    [
        (A, B, 0.0, 11.772526398195987, 4.806004664649423, 4.999656788799425e-05),
        (A, B, 0.005, 3.13742146064365, 4.806004664649424, 0.01358339447889405),
        (X, Y, 0.0, 2.835263800664482, 27.713625968118762, 0.008452732437443423 / 2),
    ],
)
def test_welch_is_scipys(x, y, bar, t, df, p):
    """scipy.stats.ttest_ind(x + bar, y, equal_var=False, alternative="less") of scipy 1.17; Simpson's rule to 1e-9."""
    found = welch(x, y, bar)
    assert (found.t, found.df, found.p) == pytest.approx((t, df, p), rel=1e-9, abs=1e-12)


def test_welch_is_scipys_where_it_is_installed():
    stats = pytest.importorskip("scipy.stats")
    for x, y, bar in ((A, B, 0.0), (B, A, 0.002), (X, Y, 1.0), (Y[:2], X[:5], 0.3)):
        told = stats.ttest_ind([v + bar for v in x], y, equal_var=False, alternative="less")
        found = welch(x, y, bar)
        assert (found.t, found.df, found.p) == pytest.approx((-told.statistic, told.df, told.pvalue), rel=1e-7)


def test_a_side_that_loses_has_a_large_p():
    better, worse = welch(A, B), welch(B, A)
    assert better.p + worse.p == pytest.approx(1.0, abs=1e-12) and better.t == -worse.t
    equal = welch([1.0, 1.0], [1.0, 1.0])
    assert equal.p == 1.0 and welch([1.0, 1.0], [2.0, 2.0]).p == 0.0


def test_one_score_has_no_spread():
    with pytest.raises(WeightlessError, match="two seeds or more"):
        welch([1.0], [2.0, 2.1])


def ours(folder, losses, *, tokens=1000, n_bytes=2000, val="a" * 64, tokenizer="b" * 64):
    """A folder with these losses by seed."""
    folder.mkdir()
    seeds = {
        str(i): {"val_loss": loss, "val_bpb": loss * tokens / (math.log(2) * n_bytes)} for i, loss in enumerate(losses)
    }
    values = {
        "format": "weightless-golf",
        "seed_results": seeds,
        "val_loss": losses[0],
        "eval_tokens": tokens,
        "eval_bytes": n_bytes,
        "val_sha256": val,
        "tokenizer_sha256": tokenizer,
    }
    (folder / "submission.json").write_text(json.dumps(values))
    return scores_of(folder)


def test_folders_of_one_tokenizer_are_compared_in_nats(tmp_path):
    found = compare(ours(tmp_path / "a", A), ours(tmp_path / "b", B))
    assert found.unit == "nats per token" and found.over_bar.p == pytest.approx(0.01358339447889405, rel=1e-9)
    assert found.bar_bits == pytest.approx(RECORD_NATS / (math.log(2) * 2.0))
    assert not found.is_better(0.01) and found.is_better(0.02)
    assert compare(ours(tmp_path / "c", A), ours(tmp_path / "d", B), bar=0.0).is_better(0.001)
    with pytest.raises(ConfigError, match="negative"):
        compare(ours(tmp_path / "e", A), ours(tmp_path / "f", B), bar=-1)


def test_the_published_bars_in_bits_per_byte():
    """0.005 nats are 0.00296 bits per byte at sp1024 and 0.00194 at sp8192."""
    told = {v: round(RECORD_NATS / (math.log(2) * BYTES_PER_TOKEN[v]), 5) for v in (1024, 8192)}
    assert told == {1024: 0.00296, 8192: 0.00194}


def test_other_tokenizers_are_compared_in_bits_per_byte_of_the_same_text(tmp_path):
    a = ours(tmp_path / "a", A, tokens=500, val="c" * 64, tokenizer="d" * 64)
    found = compare(a, ours(tmp_path / "b", B))
    assert found.unit == "bits per byte" and found.notes


@pytest.mark.parametrize("other", [{"val": "c" * 64}, {"tokens": 999}, {"tokenizer": "d" * 64, "n_bytes": 2100}])
def test_scores_of_other_texts_are_refused(tmp_path, other):
    with pytest.raises(WeightlessError, match="different texts|same validation text"):
        compare(ours(tmp_path / "a", A), ours(tmp_path / "b", B, **other))


def logs(folder, losses, per_token, tokens=62021632):
    folder.mkdir()
    for seed, loss in enumerate(losses):
        bpb = loss / (math.log(2) * per_token)
        (folder / f"train_seed{seed}.log").write_text(
            f"val_loader:x tokens:{tokens}\nseed:{seed}\nstep:10/10 val_loss:9 val_bpb:9\n"
            f"final_int6_sliding_window_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}\n"
        )
    return scores_of(folder)


def test_logs_by_seed_are_scores(tmp_path):
    a, b = logs(tmp_path / "a", A, 2.43593), logs(tmp_path / "b", B, 2.43593)
    assert a.losses == tuple(A) and a.source == "final_int6_sliding_window of 3 logs"
    found = compare(a, b)
    assert found.unit == "nats per token" and found.over_bar.t == pytest.approx(3.13742146, rel=1e-6)
    other = logs(tmp_path / "c", B, 3.72663, tokens=40_540_804)
    assert compare(a, other).unit == "bits per byte"
    old = logs(tmp_path / "d", B, 2.4423, tokens=63779840)
    with pytest.raises(WeightlessError, match="different texts"):
        compare(a, old)
