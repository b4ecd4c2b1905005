"""Bits per byte of SentencePiece ids.  Oracles: UTF-8 of the text itself, a loop over documents, sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from contract.cases import bench
from contract.configurations.shared import V
from small_pieces import trained_pieces

from weightless.audit.predictors.byte_counts import Claim, TokenBytes, bytes_of_the_text, identity
from weightless.base.errors import ConfigError
from weightless.data.text import fables
from weightless.evals.bits_per_byte import evaluate
from weightless.evals.sentencepiece_bytes import score_losses, token_counts
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.tokenizer.sentencepiece import ByteTable, SentencePieceTokenizer

sentencepiece = pytest.importorskip("sentencepiece")
VOCABULARY = 400


@pytest.fixture(scope="module")
def golf() -> SentencePieceTokenizer:
    """A small model with the settings of Parameter Golf's: ids 0-3 pad, bos, eos, unk; bytes 4..259."""
    text = b"\n".join(fables.documents(seed=1, n_bytes=30_000)).decode()
    return SentencePieceTokenizer(
        trained_pieces(text.split("\n"), VOCABULARY, split_digits=True, normalization_rule_name="nmt_nfkc")
    )


def texts() -> list[str]:
    """Already in the model's normal form, so that the tokens stand for every byte of them."""
    stories = [document.decode().strip() for document in fables.documents(seed=8, n_bytes=6000)]
    odd = ["naïve café 日本 x", "1234567890 in 2024", "emoji 🦊🦊 and ½?".replace("½", "1/2"), "Ж", "a"]
    return [" ".join(text.split()) for text in (*stories, *odd)]


def streamed(golf: SentencePieceTokenizer) -> np.ndarray:
    """BOS + tokens for each document, no EOS."""
    return np.concatenate([[golf.end_of_text, *golf.encode(text)] for text in texts()])


def test_the_settings_are_those_of_parameter_golf(golf):
    model = golf.model
    assert (model.pad_id, model.bos_id, model.eos_id) == (0, 1, 2) and model.normalisation == "nmt_nfkc"
    assert model.has_byte_fallback and model.splits_digits and not model.adds_first_space
    assert [model.pieces[4 + i] for i in (0, 10, 255)] == ["<0x00>", "<0x0A>", "<0xFF>"]


def test_table_bytes_are_the_bytes_of_the_text(golf):
    ids, n_bytes = streamed(golf), sum(len(text.encode()) for text in texts())
    assert golf.byte_table.total(ids) == n_bytes
    losses = np.full(len(ids) - 1, 2.0)
    score = score_losses(ids, losses, golf.byte_table)
    assert (score.eval_bytes, score.eval_tokens) == (n_bytes, len(ids) - 1)  # the first BOS stands for no byte
    assert score.bits_per_byte == pytest.approx(2.0 * len(losses) / (n_bytes * math.log(2)), rel=1e-12)
    plain = score.to_plain()
    assert plain["bytes_per_token"] == pytest.approx(n_bytes / len(losses), rel=1e-12)
    assert identity(Claim(**plain), n_bytes / len(losses)).verdict == "ok"


def test_the_auditor_decodes_the_same_bytes(golf):
    source = "".join(texts()).encode()
    finding = bytes_of_the_text(TokenBytes(golf), streamed(golf), source)
    assert finding.verdict == "ok" and "byte for byte" in finding.detail


def test_two_vocabularies_count_the_same_bytes(golf):
    """Bits per byte compare tokenizers because this number does not depend on them: single bytes as pieces."""
    bytes_only = np.concatenate([[1, *(4 + np.frombuffer(text.encode(), np.uint8))] for text in texts()])
    assert golf.byte_table.total(bytes_only) == golf.byte_table.total(streamed(golf))


def test_only_scored_targets_count(golf):
    ids = streamed(golf)
    losses = np.random.default_rng(0).random(len(ids) - 1)
    whole, holes = score_losses(ids, losses, golf.byte_table), losses.copy()
    holes[::3] = np.nan
    some = score_losses(ids, holes, golf.byte_table)
    rest = score_losses(ids, np.where(np.isnan(holes), losses, np.nan), golf.byte_table)
    assert some.eval_bytes + rest.eval_bytes == whole.eval_bytes
    assert some.nats + rest.nats == pytest.approx(whole.nats, rel=1e-12)


def test_a_window_begins_behind_the_token_before_it(golf):
    """The place in the stream decides about the space, not the place in the window."""
    ids = streamed(golf)
    counts = token_counts(golf.byte_table, ids, np.arange(len(ids)))
    for cut in (5, 17, 100):
        assert np.array_equal(token_counts(golf.byte_table, ids, np.arange(cut, cut + 40)), counts[cut : cut + 40])


@pytest.mark.parametrize("stride", [None, 7])
def test_evaluate_takes_a_table(golf, tmp_path, stride):
    """The engine's losses with the bytes of pieces: what score_losses makes of the same losses."""
    b = bench("dense", "tied_mha_swiglu_f32")
    pack(tmp_path / "model.wl", b.name, b.config, b.arrays)
    packed, ids = open_packed(tmp_path / "model.wl"), streamed(golf)[:300] % V
    table = ByteTable(*(getattr(golf.byte_table, name)[:V] for name in ("base", "leading_space", "boundary")))
    score = evaluate(packed, ids, table, stride=stride, n_threads=1)
    assert score.n_bytes == table.total(ids)  # the first token is BOS
    assert score.bits_per_byte == pytest.approx(score.nats / (math.log(2) * table.total(ids)), rel=1e-12)


def test_losses_that_do_not_belong(golf):
    for losses, told in (([1.0], "one loss each"), ([np.nan, np.nan], "no number"), ([1.0, np.inf], "infinity")):
        with pytest.raises(ConfigError, match=told):
            score_losses([1, 5, 6], losses, golf.byte_table)
    with pytest.raises(ConfigError, match="no text at all"):
        score_losses([1, 1, 1], [1.0, 1.0], golf.byte_table)
    with pytest.raises(ConfigError, match="whole numbers"):
        score_losses([1, 5, 10_000], [1.0, 1.0], golf.byte_table)
