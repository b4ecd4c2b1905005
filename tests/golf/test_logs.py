"""Oracles: lines as the field writes them, each with the numbers that stand in it; rules of flags by hand."""

from __future__ import annotations

import json
import time

import pytest

from weightless.base.errors import WeightlessError
from weightless.golf import known, log_names
from weightless.golf.log_table import rows
from weightless.golf.logs import read_training_log

BASELINE = """\
W0318 14:37:59.159000 871689 site-packages/torch/distributed/run.py:852] ****
val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=/data/tokenizers/fineweb_1024_bpe.model
val_loader:shards pattern=/data/fineweb10B_sp1024/fineweb_val_*.bin tokens:62021632
model_params:17059912
train_batch_tokens:524288 train_seq_len:1024 iterations:20000 max_wallclock_seconds:600.000
seed:1337
warmup_step:20/20
step:0/20000 val_loss:6.9370 val_bpb:4.1085 train_time:0ms step_avg:0.01ms
step:50/20000 train_loss:3.9508 train_time:2126ms step_avg:42.52ms
step:13780/20000 val_loss:2.0606 val_bpb:1.2204 train_time:600038ms step_avg:43.54ms
stopping_early: wallclock_cap train_time:600038ms step:13780/20000
peak memory allocated: 10184 MiB reserved: 10200 MiB
Serialized model: 67224983 bytes
Code size: 47642 bytes
Total submission size: 67272625 bytes
Serialized model int8+zlib: 15815847 bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)
Total submission size int8+zlib: 15863489 bytes
final_int8_zlib_roundtrip val_loss:2.0727 val_bpb:1.2276 eval_time:1401ms
final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22755930
"""


@pytest.fixture
def read(tmp_path):
    def facts(text):
        path = tmp_path / "train.log"
        path.write_text(text)
        return read_training_log(path)

    return facts


def test_the_published_baselines_log(read):
    facts = read(BASELINE)
    final = facts.final
    assert (final.name, final.kind) == ("final_int8_zlib_roundtrip", "roundtrip")
    assert (final.loss, final.bpb) == (2.07269931, 1.2275593)
    assert (facts.seed, facts.n_parameters, facts.vocab_size, facts.tokens) == (1337, 17059912, 1024, 62021632)
    assert (facts.step, facts.total_steps) == (13780, 20000)
    assert (facts.total, facts.weights, facts.code) == (15863489, 15815847, 47642)
    assert (facts.metrics["step"].loss, facts.metrics["step"].bpb) == (2.0606, 1.2204)


@pytest.mark.parametrize(
    ("line", "name", "loss", "bpb"),
    [
        ("val_bpb:1.2", "val", None, 1.2),
        ("val_bpb: 1.2", "val", None, 1.2),
        ("val_bpb=1.2", "val", None, 1.2),
        ('  "val_bpb": 1.2071,', "val", None, 1.2071),
        ("- `final_int8_zlib_roundtrip_exact val_bpb:1.97023378`", "final_int8_zlib_roundtrip", None, 1.97023378),
        ("pre_quant_val_bpb:1.9700", "pre_quant", None, 1.97),
        ("quantized_sliding_window val_loss:2.7 val_bpb:1.08 eval_time:9ms", "quantized_sliding_window", 2.7, 1.08),
        ("legal_ttt_exact val_loss:2.79177797 val_bpb:1.08078425", "legal_ttt", 2.79177797, 1.08078425),
        ("ttt_sliding:done val_loss=2.791778 val_bpb=1.080784 elapsed=324.0s", "ttt_sliding", 2.791778, 1.080784),
        ("DIAGNOSTIC post_ema val_loss:2.9 val_bpb:1.1367 eval_time:1439ms", "diagnostic post_ema", 2.9, 1.1367),
        ("pre-quantization post-ema val_loss:2.8 val_bpb:1.1041", "pre-quantization post-ema", 2.8, 1.1041),
        ("final_int6_sliding_window_s64_exact val_loss:1.8 val_bpb:1.1", "final_int6_sliding_window", 1.8, 1.1),
        ("final_int6_zstd_roundtrip_exact val_loss:2.5 val_bpb:1.5", "final_int6_zstd_roundtrip", 2.5, 1.5),
        ("step:2000 val_loss:2.2939 val_bpb:1.2832", "step", 2.2939, 1.2832),
        ("step:1390/1390 val_loss:3.2782 train_time:202898ms step_avg:147.03ms", "step", 3.2782, None),
        ("Step 00100 | Validation bpb: 1.0234", "step", None, 1.0234),
    ],
)
def test_dialects_of_a_score(read, line, name, loss, bpb):
    facts = read(line + "\n")
    assert [(m.name, m.loss, m.bpb) for m in facts.metrics.values()] == [(name, loss, bpb)]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("Total submission size int8+zlib: 15863489 bytes", "total", 15863489),
        ("Total submission size int6+zstd: 15700000 bytes", "total", 15700000),
        ("- Total submission size quantized+brotli: `15,985,833 bytes`", "total", 15985833),
        ("Total submission size quantized+brotli:12633202", "total", 12633202),
        ("total_artifact_size: 15.2 MB", "total", 15200000),
        ("artifact_bytes: 15876349", "total", 15876349),
        ("submission_bytes=15876349", "total", 15876349),
        ("bytes_total: 15999366", "total", 15999366),
        ("Serialized model int6+brotli: 15570578 bytes", "weights", 15570578),
        ("serialized_model_int8_zlib:798448 bytes", "weights", 798448),
        ("compressed_size_bytes:798448", "weights", 798448),
        ("bytes_model_int8_zlib: 15969941", "weights", 15969941),
        ("Code size: `90,684 bytes`", "code", 90684),
        ("bytes_code: 29425", "code", 29425),
        ("model_params: 35989681", "n_parameters", 35989681),
        ("seed: 42", "seed", 42),
        ("target_tokens:47851520", "tokens", 47851520),
    ],
)
def test_dialects_of_sizes_and_counts(read, line, field, value):
    assert getattr(read(line + "\n"), field) == value


def test_the_final_metric_is_the_furthest():
    assert sum(map(len, log_names.FINALS.values())) >= 24 and len(log_names.TOTALS) >= 10
    for kind, names in log_names.FINALS.items():
        assert all(log_names.kind_of(name) == kind for name in names)
    assert log_names.kind_of("quantized_ttt_of_tomorrow") == "adapted"


def test_the_last_step_counts_however_near_the_one_before(read):
    assert read("step:1/2 val_loss:2.0001 val_bpb:1.5\nstep:2/2 val_loss:2.0003 val_bpb:1.5001\n").final.loss == 2.0003


def test_adapted_stands_before_sliding_before_roundtrip(read):
    lines = [
        "legal_ttt val_loss:1.0 val_bpb:0.5",
        "final_int6_sliding_window val_loss:1.1 val_bpb:0.55",
        "final_int6_roundtrip val_loss:1.2 val_bpb:0.6",
    ]
    for n in range(3):
        assert read("\n".join(lines[n:])).final.loss == 1.0 + n / 10


def flags(folder, text, **claims):
    (folder / "train.log").write_text(text)
    (folder / "train_gpt.py").write_text("x = 1\n")
    if claims:
        (folder / "submission.json").write_text(json.dumps(claims))
    (row,) = rows([folder])
    return row.flags


def test_the_baseline_has_no_flags(tmp_path):
    assert flags(tmp_path, BASELINE, val_bpb=1.2276, n_parameters=17059912) == ()


def test_the_old_export_is_flagged(tmp_path):
    old = BASELINE.replace("62021632", "63779840").replace("1.22755930", "1.22436570")
    (flag,) = flags(tmp_path, old)
    assert "63,779,840" in flag and "151,080,363" in flag
    (flag,) = flags(tmp_path, "final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22436570\n")
    assert "old validation export" in flag


def test_other_flags(tmp_path):
    (flag,) = flags(tmp_path, BASELINE.replace("1.22755930", "1.12"))
    assert "of no known tokenizer" in flag and "sp1024" in flag
    assert "parameters" in flags(tmp_path, BASELINE, n_parameters=17059913)[0]
    assert "1 over the cap" in flags(tmp_path, BASELINE.replace("15863489", "16000001"), val_bpb=1.2276)[0]
    assert "submission.json says 1.10000" in flags(tmp_path, BASELINE, val_bpb=1.1)[0]
    (tmp_path / "train_gpt.py").write_text("")
    assert any("empty" in flag for flag in rows([tmp_path])[0].flags)


def test_another_lossless_tokenizer_is_no_doubt():
    """Whatever the vocabulary, the bytes of the whole stream are the same."""
    tokens = 50_000_000
    assert known.doubt(known.FULL_BYTES / tokens, tokens) == ""
    assert known.doubt(1.167 * known.FULL_BYTES / tokens, tokens) != ""
    assert known.NEW_BYTES / known.NEW_TOKENS == pytest.approx(known.BYTES_PER_TOKEN[1024], rel=1e-5)


def test_folders_of_folders_and_what_is_none(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.log").write_text(BASELINE)
    assert [row.facts.path.parent.name for row in rows([tmp_path])] == ["one", "two"]
    with pytest.raises(WeightlessError, match="no such file"):
        rows([tmp_path / "missing"])
    (tmp_path / "three").mkdir()
    with pytest.raises(WeightlessError, match="no log in"):
        rows([tmp_path / "three"])


@pytest.mark.parametrize("piece", ["a", "a.", "val_bpb", "1", "1,", "step:", " ", "val_loss:1", "-+/_."])
def test_no_line_takes_long(tmp_path, piece):
    """Two lines of ten megabytes made of one piece: read in blocks, of which the first alone is looked at."""
    path = tmp_path / "train.log"
    path.write_bytes(b"val_bpb size step seed " + piece.encode() * (10**7 // len(piece)) + b"\nval_bpb:1.5\n")
    started = time.process_time()
    facts = read_training_log(path)
    assert time.process_time() - started < 2.0
    assert facts.metrics["val"].bpb == 1.5 or piece == "val_bpb"


@pytest.mark.parametrize(
    "line",
    [
        "Total submission size: 1e999 bytes",
        "seed:1e999",
        "params: 1e999",
        "step:1e999/3",
        "val_loss:1e999 val_bpb:1e999",
    ],
)
def test_a_number_beyond_all_is_none(tmp_path, command, line):
    (tmp_path / "o.log").write_text(f"{line}\n")
    code, out, err = command("golf", "logs", tmp_path / "o.log")
    assert "no loss and no bits per byte in it" in out + err, (code, out, err)
