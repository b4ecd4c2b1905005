"""Oracles: the plain run for weight 0 and an uninterrupted one for resumed ones (bit for bit), torch's kl_div, and the
teacher's own distributions for what is kept on the disk."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.models.catalog import trained
from weightless.train import teacher_cache
from weightless.train.config import TrainConfig
from weightless.train.distil import Distil
from weightless.train.distilling import DISTILLATION, START, Lineage, Start
from weightless.train.feeding import feeding
from weightless.train.initialise import initial_parameters
from weightless.train.loop import TrainResult, train

V, CONTEXT = 61, 12
FAMILY_WITH = {"full": "dense", "class": "feather"}
SMALL = TrainConfig(batch_size=3, context=9, num_steps=24, log_every=1, eval_every=8, eval_tokens=300, threads=1)
SMALL = dataclasses.replace(SMALL, checkpoint_every=1e9, qat_start=0.5)


def model(family: str = "dense", **more: Any) -> Any:
    room = trained(family)
    shape = {"vocab_size": V, "d_model": 32, "n_layers": 1, "context": CONTEXT} | more
    return room.Model(room.Config(**shape))


def tokens(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (np.cumsum(np.where(rng.random(n) < 0.9, 3, rng.integers(0, V, n))) % V).astype(np.uint16)


TRAIN, VAL = tokens(9_000), tokens(2_000, 1)


class Cycle:
    """A teacher that knows the rule: +3 in nine of ten cases.  It counts how often it is asked."""

    name, sha256, flops_per_token = "cycle", "c" * 64, 10.0

    def __init__(self) -> None:
        self.asked = 0

    def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> torch.Tensor:
        self.asked += tokens_BT.size
        p_BTV = F.one_hot(torch.from_numpy((tokens_BT.astype(np.int64) + 3) % V), V) * 0.9 + 0.1 / V
        return p_BTV.log()


def lineage(folder: Path, teacher: Any = None, **asked: Any) -> Lineage:
    return Lineage(None, Distil("cycle", **{"top_k": 4, **asked}), teacher or Cycle(), folder / "answers")


def run(folder: Path, config: TrainConfig = SMALL, what: Any = None, **more: Any) -> TrainResult:
    return train(what or model(), TRAIN, VAL, config, folder, **more)


def same_bits(one: TrainResult, other: TrainResult, kl: bool = True) -> None:
    assert all(torch.equal(one.params[name], other.params[name]) for name in one.params)
    exact = ("step", "tokens", "train_loss", "val_loss", "lr", *(["teacher_kl"] if kl else []))
    assert [[line[k] for k in exact] for line in one.curve] == [[line[k] for k in exact] for line in other.curve]


@pytest.mark.parametrize("head", ["full", "class"])
def test_a_teacher_without_weight_changes_not_one_bit(tmp_path, head):
    plain = run(tmp_path / "plain", what=model(FAMILY_WITH[head]))
    taught = run(
        tmp_path / "taught", what=model(FAMILY_WITH[head]), lineage=lineage(tmp_path, weight=0.0, temperature=2.0)
    )
    same_bits(plain, taught, kl=False)
    assert plain.teacher is None and DISTILLATION not in plain.observed
    assert taught.observed[DISTILLATION]["ok"] and all(line["teacher_kl"] > 0 for line in taught.curve)


@pytest.mark.parametrize("head", ["full", "class"])
def test_a_student_learns_from_it_and_the_record_says_so(tmp_path, head):
    teacher, config = Cycle(), dataclasses.replace(SMALL, num_steps=60, grad_accumulation=2, max_lr=0.02)
    result = run(tmp_path, config, model(FAMILY_WITH[head]), lineage=lineage(tmp_path, teacher, weight=1.0, top_k=2))
    kl = [line["teacher_kl"] for line in result.curve]
    assert kl[-1] < 0.5 * kl[0]
    said = result.observed[DISTILLATION]
    n = 60 * 2 * 3 * 9
    assert said["ok"] and "active from step 0 on, in 60 of 60 steps and 3,240 targets" in said["detail"]
    assert result.teacher == {
        "name": "cycle",
        "sha256": "c" * 64,
        "tokens": n,
        "seconds": result.teacher["seconds"],
        "flops": 10.0 * n,
    }
    assert teacher.asked == n == result.tokens_seen and result.teacher["seconds"] > 0
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert rows[0].endswith(",teacher_kl") and float(rows[-1].rpartition(",")[2]) == kl[-1]


@pytest.mark.parametrize("budget", ["steps", "seconds"])
def test_answers_on_the_disk_are_those_of_the_teacher(tmp_path, budget):
    """Of whole distributions (k = V) KL is torch's kl_div; 16 bits of a logarithm below 8 are within 0.004."""
    config = dataclasses.replace(SMALL, num_steps=1) if budget == "steps" else None
    config = config or dataclasses.replace(SMALL, num_steps=None, seconds=0.05)
    asked, what = lineage(tmp_path, top_k=V, temperature=1.5), model()
    result = run(tmp_path / "run", config, what, lineage=asked)
    batch = feeding(TRAIN, config, None).batches.batch(0)
    p = initial_parameters(what.tensors(), 0)
    with torch.no_grad():
        q = (what.log_probs(p, torch.from_numpy(batch.inputs_BT.astype(np.int64))) / 1.5).log_softmax(-1)
    t = (Cycle().log_probs(batch.inputs_BT, None) / 1.5).log_softmax(-1)
    wanted = float(F.kl_div(q, t, reduction="sum", log_target=True)) / batch.inputs_BT.size
    assert result.curve[0]["teacher_kl"] == pytest.approx(wanted, rel=5e-3)


def test_resume_after_ctrl_c_is_bit_exact_and_asks_nothing_twice(tmp_path):
    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 14:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", on_metrics=interrupt, lineage=lineage(tmp_path / "cut"))
    teacher = Cycle()
    resumed = run(tmp_path / "cut", lineage=lineage(tmp_path / "cut", teacher))
    whole = run(tmp_path / "whole", lineage=lineage(tmp_path / "whole"))
    same_bits(whole, resumed)
    assert teacher.asked == 0 and resumed.teacher["tokens"] == whole.teacher["tokens"] == 24 * 27
    said = [result.observed[DISTILLATION]["detail"].partition("; the teacher")[0] for result in (whole, resumed)]
    assert said[0] == said[1] and "in 24 of 24 steps" in said[0]


def test_resume_after_kill_9_is_bit_exact_wherever_it_falls(tmp_path):
    """While answers are being kept, behind a checkpoint, and in the last step: each time the process kills itself."""
    whole = run(tmp_path / "whole", lineage=lineage(tmp_path / "whole"))
    often = dataclasses.replace(SMALL, checkpoint_every=0.0)
    for kept, step in ((2, 99), (99, 9), (99, 23)):
        pid = os.fork()
        if pid == 0:
            _run_until_killed(tmp_path / "cut", often, kept, step)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    resumed = run(tmp_path / "cut", lineage=lineage(tmp_path / "cut"))
    same_bits(whole, resumed)
    assert resumed.observed[DISTILLATION]["ok"] and "in 24 of 24 steps" in resumed.observed[DISTILLATION]["detail"]


def _run_until_killed(folder: Path, config: TrainConfig, kept: int, step: int) -> None:
    """Train in this process, which kills itself when the teacher is asked for the `kept`-th time, or in a step."""
    try:

        class Mortal(Cycle):
            def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> torch.Tensor:
                if self.asked >= kept * tokens_BT.size:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().log_probs(tokens_BT, document_BT)

        def end(line: dict[str, Any]) -> None:
            if line["step"] == step:
                os.kill(os.getpid(), signal.SIGKILL)

        run(folder, config, lineage=lineage(folder, Mortal()), on_metrics=end)
    finally:
        os._exit(1)


def test_pieces_of_any_size_teach_the_same(tmp_path, monkeypatch):
    """Two batches to a piece, and an odd one last, against all in one; a piece that is lost is asked for again."""
    config = dataclasses.replace(SMALL, num_steps=25)
    whole = run(tmp_path / "whole", config, lineage=lineage(tmp_path / "whole"))
    monkeypatch.setattr(teacher_cache, "CHUNK_POSITIONS", 60)
    parts = run(tmp_path / "parts", config, lineage=lineage(tmp_path / "parts"))
    same_bits(whole, parts)
    pieces = sorted((tmp_path / "parts/answers").glob("*/chunk_*"))
    assert len(pieces) == 13 and parts.teacher["tokens"] == whole.teacher["tokens"] == 25 * 27
    pieces[6].unlink()
    teacher = Cycle()
    same_bits(whole, run(tmp_path / "again", config, lineage=lineage(tmp_path / "parts", teacher)))
    assert teacher.asked == 2 * 27


def test_answers_are_shared_and_cost_what_they_cost(tmp_path):
    """A second student of the same teacher and batches asks nothing, and its record has the cost all the same."""
    first = run(tmp_path / "a", lineage=lineage(tmp_path))
    teacher = Cycle()
    second = run(tmp_path / "b", lineage=lineage(tmp_path, teacher, weight=0.9))
    assert teacher.asked == 0 and second.teacher == first.teacher
    longer = run(tmp_path / "c", dataclasses.replace(SMALL, num_steps=40), lineage=lineage(tmp_path, teacher))
    assert teacher.asked == longer.teacher["tokens"] == 40 * 27  # one chunk, which was too short: all of it anew


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight": 0.25}, "distil.weight 0.5 .now 0.25."),
        ({"temperature": 2.0}, "distil.temperature 1.0 .now 2.0."),
        ({"teacher": None}, "distil.teacher c+ .now not set."),
    ],
)
def test_a_checkpoint_of_another_teaching_is_refused(tmp_path, change, told):
    run(tmp_path, lineage=lineage(tmp_path))
    with pytest.raises(ConfigError, match=told):
        run(tmp_path, **({} if "teacher" in change else {"lineage": lineage(tmp_path, **change)}))


def chunk_of(folder: Path) -> Path:
    (path,) = (folder / "answers").glob("*/chunk_*")
    return path


def damaged(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "torn":
        content = content[: len(content) // 2]
    elif how == "flipped":
        content[-3] ^= 4
    elif how == "of another text":
        other = tokens(9_000, 5)
        train(model(), other, VAL, SMALL, path.parents[2] / "other", lineage=lineage(path.parents[2] / "other"))
        content = bytearray(chunk_of(path.parents[2] / "other").read_bytes())
    elif how == "of another k":
        run(path.parents[2] / "other", lineage=lineage(path.parents[2] / "other", top_k=5))
        content = bytearray(chunk_of(path.parents[2] / "other").read_bytes())
    elif how == "not numbers":
        content = bytearray(bytes(content).replace(b'"batches":"24"', b'"batches":"2x"'))
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("torn", "is damaged"),
        ("flipped", "SHA-256 differs"),
        ("of another text", "answers other windows"),
        ("of another k", r"ids is uint16 \[648, 5\] and should be uint16 uint32 \[648, 4\]"),
        ("not numbers", "does not say what it answers"),
    ],
)
def test_damaged_answers_are_refused_by_name(tmp_path, how, told):
    run(tmp_path / "first", lineage=lineage(tmp_path))
    damaged(chunk_of(tmp_path), how)
    with pytest.raises(CorruptFileError, match=f"chunk_000000.*{told}.*the teacher is asked again"):
        run(tmp_path / "second", lineage=lineage(tmp_path))


def test_answers_of_another_kind_have_a_folder_of_their_own(tmp_path):
    run(tmp_path / "first", lineage=lineage(tmp_path))
    run(tmp_path / "second", lineage=lineage(tmp_path, top_k=5))
    first, second = (tmp_path / "answers").iterdir()
    assert json.loads((first / "about.json").read_text()) != json.loads((second / "about.json").read_text())
    for folder in (first, second):
        next(folder.glob("chunk_*")).unlink()
        (folder / "about.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="is of other answers"):
        run(tmp_path / "third", lineage=lineage(tmp_path))


def test_it_begins_with_the_weights_of_another(tmp_path):
    first = run(tmp_path / "a")
    start = Start("a", "a" * 64, first.params, first.constants)
    config = dataclasses.replace(SMALL, num_steps=1, max_lr=0.0, muon_lr=0.0, qat_start=1.0)
    begun = run(tmp_path / "b", config, lineage=Lineage(start))
    assert all(torch.equal(first.params[name], begun.params[name]) for name in first.params)
    assert begun.observed[START] == {
        "ok": True,
        "detail": f"{len(first.params)} tensors, as they are in a (aaaaaaaaaaaa)",
    }
    with pytest.raises(ConfigError, match=r"init_from a+ .now not set"):
        run(tmp_path / "b", config)
    with pytest.raises(ConfigError, match="init_from a: tensor 'block.0.attn_norm' is .1, 32. there, .1, 64."):
        run(tmp_path / "c", what=model(d_model=64), lineage=Lineage(start))
    with pytest.raises(ConfigError, match="init_from a: it has no tensor 'block.1.attn_norm'"):
        run(tmp_path / "c", what=model(n_layers=2), lineage=Lineage(start))
    assert not (tmp_path / "c" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"teacher": ""}, "distil.teacher is empty"),
        ({"weight": 1.5}, "distil.weight = 1.5 should lie between 0 and 1"),
        ({"weight": float("nan")}, "distil.weight = nan"),
        ({"temperature": 0.0}, "distil.temperature = 0.0"),
        ({"top_k": 0}, "distil.top_k = 0"),
    ],
)
def test_what_cannot_be_is_refused(asked, told):
    with pytest.raises(ConfigError, match=told):
        Distil(**{"teacher": "x", **asked})


def test_what_the_checkpoint_kept_is_checked(tmp_path):
    run(tmp_path, lineage=lineage(tmp_path))
    (path,) = (tmp_path / "checkpoint").glob("step_*/state.json")
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "distilled": {"steps": "many"}}))
    with pytest.raises(CorruptFileError, match="the checkpoint's state is damaged: distillation.steps should be int"):
        run(tmp_path, lineage=lineage(tmp_path))
