"""Oracles: an honest folder, and the same folder with one fault planted, which has to be named and nothing else."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from weightless.artifact.squeezed import squeeze
from weightless.base.errors import WeightlessError
from weightless.base.files import sha256_file
from weightless.data.shards.corpus import corpus
from weightless.golf.check import Asked, check, exit_code
from weightless.golf.findings import FAULT, UNCHECKED
from weightless.golf.sizes import CAP
from weightless.golf.stream import Stream


@pytest.fixture
def checked(folder, golf_data):
    """Check the planted folder: {name of a fault: finding}."""

    def run(data=golf_data, train=None, tokens=0):
        found = check(folder, Asked(data, train, tokens, threads=1))
        assert exit_code(found, True) == (1 if any(f.verdict == FAULT for f in found) else 2 if data is None else 0)
        return {finding.name: finding for finding in found if finding.verdict == FAULT}

    return run


def test_an_honest_folder_passes_whole_and_sampled(checked, folder):
    assert checked() == {}
    assert checked(tokens=300) == {}


def test_without_data_it_is_not_checked_whole(folder):
    found = check(folder, Asked())
    assert exit_code(found, True) == 2 and [f.name for f in found if f.verdict == UNCHECKED] == ["scored again"]


def test_json_and_log_disagree(checked, folder):
    log = folder / "train.log"
    line = next(line for line in log.read_text().splitlines() if line.startswith("final_"))
    loss = float(line.split("val_loss:")[1].split()[0])
    log.write_text(log.read_text().replace(f"val_loss:{loss:.8f}", f"val_loss:{loss - 1e-6:.8f}"))
    assert list(checked(None)) == ["log and json"]
    assert f"{loss:.6f}" in checked(None)["log and json"].detail


def test_a_number_of_the_log_disagrees(checked, folder):
    log = folder / "train.log"
    log.write_text(log.read_text().replace("model_params:", "model_params:1"))
    assert list(checked(None)) == ["log and json, numbers"]


def test_a_surplus_file_brings_it_over_the_cap(checked, folder):
    (folder / "more.bin").write_bytes(b"")
    with open(folder / "more.bin", "wb") as file:
        file.truncate(CAP)  # sparse: it takes no room
    found = checked(None)
    assert list(found) == ["surplus files"] and "more.bin" in found["surplus files"].detail
    over = sum((folder / name).stat().st_size for name in ("train_gpt.py", "model.wlz"))
    assert f"{over:,} bytes over the cap of 16,000,000" in found["surplus files"].detail


def test_one_byte_over_the_cap_is_said_so(checked, folder):
    used = sum((folder / name).stat().st_size for name in ("train_gpt.py", "model.wlz"))
    with open(folder / "more.bin", "wb") as file:
        file.truncate(CAP - used)
    assert checked(None) == {}
    with open(folder / "more.bin", "wb") as file:
        file.truncate(CAP - used + 1)
    assert "16,000,001, too large: one byte over the cap of 16,000,000" in checked(None)["surplus files"].detail


@pytest.mark.parametrize("content", [b"", b'"""Only words."""\n# and more\nimport os\n'])
def test_the_script_is_empty(checked, folder, edit, content):
    (folder / "train_gpt.py").write_bytes(content)
    sizes = {"bytes_code": len(content), "bytes_total": len(content) + (folder / "model.wlz").stat().st_size}
    edit(**sizes)
    log = folder / "train.log"
    kept = [line for line in log.read_text().splitlines() if "size" not in line]
    log.write_text("\n".join(kept) + "\n")
    assert list(checked(None)) == ["script"]


def test_the_artifact_is_of_another_seed(checked, folder, golf_models, edit):
    """The weights of seed 1 under the name of seed 0, with a hash that was made to fit."""
    size = squeeze(golf_models[1] / "model.wl", folder / "model.wlz")
    code = (folder / "train_gpt.py").stat().st_size
    log, old = folder / "train.log", json.loads((folder / "submission.json").read_text())
    log.write_text(
        log.read_text()
        .replace(f"wlz: {old['bytes_weights']} ", f"wlz: {size} ")
        .replace(f"wlz: {old['bytes_total']} ", f"wlz: {code + size} ")
    )
    edit(artifact_sha256=sha256_file(folder / "model.wlz"), bytes_weights=size, bytes_total=code + size)
    found = checked()
    assert set(found) == {"artifact and json", "its sample scored again", "scored again"}
    assert "seed is 0 in submission.json, 1 in the artifact" in found["artifact and json"].detail


def test_what_it_opens_to_is_what_was_claimed(checked, edit):
    edit(opened_sha256="0" * 64)
    found = checked(None)
    assert list(found) == ["artifact and json"] and "opened_sha256 is 000000000000" in found["artifact and json"].detail


def test_a_damaged_artifact_is_named(checked, folder):
    content = bytearray((folder / "model.wlz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.wlz").write_bytes(content)
    assert "artifact" in checked(None)


def test_validation_text_in_training(checked, golf_data, tmp_path):
    """A copy of a validation document is found by its hash, one with another first line by its runs of 13 words."""
    found = corpus(golf_data)
    text = found.tokenizer().decode_bytes(np.asarray(found.tokens("val")[:]))
    documents = [part.strip() for part in text.split(b"<|endoftext|>") if part.strip()]
    longest = max(documents, key=len)
    train = tmp_path / "train.txt"
    train.write_bytes(longest)
    assert [name for name in checked(train=train) if "training" in name] == [
        "validation text in training: no near copies"
    ] or "validation text in training: no copies" in checked(train=train)
    train.write_bytes(b"Another beginning.\n" + longest)
    near = checked(train=train)
    assert list(near) == ["validation text in training: no near copies"]
    train.write_bytes(b"Nothing of the kind is in here.")
    assert checked(train=train) == {}


def test_the_tail_was_scored_twice(checked, folder, edit):
    """As the widely copied sliding window does: the last window begins too late and scores what was scored."""
    old = json.loads((folder / "submission.json").read_text())
    twice = old["eval_tokens"] + 32
    edit(eval_tokens=twice, eval_nats=old["val_loss"] * twice)
    found = checked()
    assert {"every target once", "sums"} >= set(found) - {"scored again"} and "every target once" in found
    assert "32 of them twice" in found["every target once"].detail


def test_targets_left_out_without_saying_so(checked, folder, edit):
    old = json.loads((folder / "submission.json").read_text())
    edit(eval_tokens=old["eval_tokens"] - 5, eval_nats=old["val_loss"] * (old["eval_tokens"] - 5))
    assert "does not say that they are a sample" in checked()["every target once"].detail


def test_the_wrong_tokenizer(checked, folder, golf_text, tmp_path):
    from weightless.cli.main import main

    other = tmp_path / "other"
    assert main(["data", "prepare", str(other), "--text", str(golf_text), "--vocab_size", "330"]) == 0
    found = checked(data=other)
    assert list(found) == ["data and tokenizer"] and "tokenizer" in found["data and tokenizer"].detail


def test_the_tokenizer_of_the_record_is_another(checked, edit):
    edit(tokenizer_sha256="0" * 64)
    assert set(checked()) == {"tokenizer", "data and tokenizer"}


def test_data_of_another_text_end_the_check(checked, golf_text):
    """Whatever is scored on it would say nothing."""
    assert list(checked(data=golf_text)) == ["data and tokenizer"]


def test_bytes_of_the_normalised_text(checked, folder, edit, monkeypatch):
    """A text whose tokens decode to fewer bytes than it has, scored per byte of the shorter one."""
    from weightless.golf import check_scores

    real, old = check_scores.stream_of, json.loads((folder / "submission.json").read_text())
    decoded = old["eval_bytes"]

    def longer(*arguments):
        found = real(*arguments)
        return Stream(
            found.tokens, found.table, "", decoded + 100, decoded, found.corpus_sha256, found.tokenizer_sha256
        )

    monkeypatch.setattr(check_scores, "stream_of", longer)
    found = checked()
    assert list(found) == ["bytes of raw text"] and "normalises" in found["bytes of raw text"].detail
    raw = old["eval_nats"] / (math.log(2) * (decoded + 100))
    log = folder / "train.log"
    log.write_text(log.read_text().replace(f"val_bpb:{old['val_bpb']:.8f}", f"val_bpb:{raw:.8f}"))
    edit(eval_bytes=decoded + 100, val_bpb=raw)
    assert checked() == {}


def test_the_readme_is_missing(checked, folder):
    (folder / "README.md").unlink()
    assert list(checked(None)) == ["README"]
    (folder / "README.md").write_text(" \n")
    assert list(checked(None)) == ["README"]


def test_the_script_uses_the_network(checked, folder, edit):
    path = folder / "train_gpt.py"
    path.write_text(path.read_text() + "\ndef fetch():\n    import urllib.request\n")
    old, grown = json.loads((folder / "submission.json").read_text()), path.stat().st_size
    total = grown + old["bytes_weights"]
    log = folder / "train.log"
    text = log.read_text().replace(f"size: {old['bytes_code']} ", f"size: {grown} ")
    log.write_text(text.replace(str(old["bytes_total"]), str(total)))
    edit(bytes_code=grown, bytes_total=total)
    found = checked(None)
    assert list(found) == ["network"] and "imports urllib.request" in found["network"].detail


def test_the_code_bytes_are_wrong(checked, folder, edit):
    """Characters counted in the place of bytes."""
    path = folder / "train_gpt.py"
    path.write_text(path.read_text() + "# é\n", encoding="utf-8")
    n_characters = len(path.read_text(encoding="utf-8"))
    edit(bytes_code=n_characters)
    found = checked(None)
    assert "code bytes" in found and f"{n_characters + 1:,} bytes of UTF-8" in found["code bytes"].detail


def test_unknown_and_missing_keys_are_named(checked, edit, folder):
    values = json.loads((folder / "submission.json").read_text())
    values["val_bbp"] = values.pop("val_bpb")
    (folder / "submission.json").write_text(json.dumps(values))
    found = [f.line() for f in check(folder, Asked())]
    assert any("val_bpb" in line and "missing" in line for line in found)
    assert any("val_bbp" in line and "did you mean 'val_bpb'?" in line for line in found)


def test_the_script_is_of_another_kind(checked, edit):
    edit(script="train")
    assert "to decode" in checked(None)["script and json"].detail


def test_a_sample_is_the_one_that_was_asked_for(honest, golf_models, golf_data, tmp_path):
    """Built on a sample: its targets and bytes are those of the windows, and its loss is scored again whole."""
    from weightless.golf.build import Wanted, build
    from weightless.golf.scoring import Asked as Scoring
    from weightless.golf.subject import subjects

    wanted = Wanted(decode_only=True, asked=Scoring(tokens=300, stride=32, whole_windows=True, threads=1))
    made = build(subjects(golf_models[:1]), tmp_path / "sampled", wanted)
    found = check(made.folder, Asked(golf_data, None, 0, 1))
    assert [f.line() for f in found if f.verdict == FAULT] == []
    path = made.folder / "submission.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "eval_tokens": values["eval_tokens"] + 32}))
    assert "every target once" in {f.name for f in check(made.folder, Asked(golf_data)) if f.verdict == FAULT}


@pytest.mark.parametrize("key", ["stride", "cut_tokens", "check_tokens", "asked_tokens", "eval_tokens", "eval_bytes"])
@pytest.mark.parametrize("value", ["many", 1 << 70])
def test_nonsense_in_a_key_is_a_fault_and_no_crash(folder, edit, monkeypatch, golf_data, key, value):
    from weightless.golf import check_files, check_scores

    monkeypatch.setattr(check_scores, "_again", lambda *_: (1.0, 0.1, 10))
    monkeypatch.setattr(check_files, "uses", lambda *_: [])
    edit(**{key: value})
    names = {f.where.rpartition(" ")[2] for f in check(folder, Asked(golf_data)) if f.verdict == FAULT}
    assert key in names


def test_a_link_is_no_file_of_the_folder(checked, folder):
    (folder / "more.txt").symlink_to("/etc/hostname")
    assert list(checked(None)) == ["links"]


def test_no_submission_is_told(tmp_path):
    with pytest.raises(WeightlessError, match="no submission"):
        check(tmp_path, Asked())
    with pytest.raises(WeightlessError, match="no folder"):
        check(tmp_path / "missing", Asked())


FOREIGN = {
    "author": "Somebody",
    "github_id": "somebody",
    "name": "Small",
    "blurb": "nine layers",
    "date": "2026-03-18T00:05:35Z",
    "val_loss": 2.0606,
    "val_bpb": 1.2204346,
    "bytes_total": 15_863_489,
    "bytes_code": 24,
}


@pytest.fixture
def foreign(tmp_path):
    """A folder as Parameter Golf has them: no artifact, a log, a script that must not be run."""
    (tmp_path / "README.md").write_text("# Small\n")
    (tmp_path / "submission.json").write_text(json.dumps(FOREIGN))
    (tmp_path / "train_gpt.py").write_text("raise SystemExit('run')\n")
    bpb = FOREIGN["val_bpb"]
    (tmp_path / "train.log").write_text(
        "val_loader:shards tokens:62021632\nmodel_params:17059912\n"
        f"final_int8_zlib_roundtrip_exact val_loss:2.06060000 val_bpb:{bpb:.8f}\n"
        "Total submission size int8+zlib: 15863489 bytes\n"
    )
    return tmp_path


def test_a_foreign_folder_is_checked_as_far_as_it_goes(foreign):
    found = check(foreign, Asked())
    assert [f.line() for f in found if f.verdict == FAULT] == [] and exit_code(found, False) == 0
    assert {"weights", "scored again"} <= {f.name for f in found if f.verdict == UNCHECKED}
    shutil.copy(foreign / "README.md", foreign / "final_model.int8.ptz")
    assert exit_code(check(foreign, Asked()), False) == 0


def test_keys_of_others_are_named_and_no_fault(foreign):
    (foreign / "submission.json").write_text(json.dumps({**FOREIGN, "notes": "one seed", "track": "10min_16mb"}))
    found = check(foreign, Asked())
    assert exit_code(found, False) == 0
    assert [f.where for f in found if "no key that is known" in f.detail] == [f"{foreign / 'submission.json'}: notes"]


def test_faults_of_a_foreign_folder(foreign):
    (foreign / "submission.json").write_text(json.dumps({**FOREIGN, "val_bpb": 1.19}))
    names = [f.name for f in check(foreign, Asked()) if f.verdict == FAULT]
    assert names == ["log and json", "bytes per token"]
