"""What batches are made of, through the real loop.

Oracles: the batches of the configuration asked for one by one (for what a killed and resumed run is fed), an
uninterrupted run (bit for bit), counts of targets made from the tokens.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.data.batches.packing import IGNORED, Batch, document_starts
from weightless.train.config import TrainConfig
from weightless.train.feeding import feeding
from weightless.train.loop import TrainResult, train
from weightless.train.validation import Validation

END = 60
SMALL = TrainConfig(
    batch_size=4, context=16, num_steps=24, log_every=1, eval_every=12, eval_tokens=300, checkpoint_every=1e9, threads=1
)


class Source:
    """Tokens of a toy are one byte each, two to a letter."""

    end_of_text: int | None = END
    token_bytes: Sequence[bytes] = [bytes([97 + i // 2]) for i in range(ToyModel.V)]

    def tokenizer(self) -> Source:
        return self


class MaskedToy(ToyModel):
    """Takes documents, and lets no row of the table be chosen by a token of another."""

    def losses(
        self, p: Any, tokens_BT: Any, targets_BT: Any, document_BT: Any = None, record: Any = None
    ) -> torch.Tensor:
        before_BT = F.pad(tokens_BT[:, :-1], (1, 0))
        if document_BT is not None:
            begins = F.pad(document_BT[:, 1:] != document_BT[:, :-1], (1, 0), value=True)
            before_BT = before_BT.masked_fill(begins, 0)
        rows_BT = (tokens_BT * p["multiplier"] + before_BT * 31) % self.R
        x_BTD = F.embedding(tokens_BT, p["embed"]) + F.embedding(rows_BT, p["table"], sparse=True)
        logits_NV = (torch.tanh((x_BTD * p["scale"]) @ p["matrix"].T) @ p["head"].T).flatten(0, 1)
        nats = F.cross_entropy(logits_NV, targets_BT.flatten(), reduction="none", ignore_index=IGNORED)
        return nats.view_as(targets_BT)


def text(n_documents: int = 260, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, n_documents)
    tokens = toy_tokens(int(lengths.sum()), seed) % END
    tokens[np.cumsum(lengths) - lengths] = END
    return tokens


TRAIN, VAL = text(), text(90, seed=1)
ASKED: dict[str, dict[str, Any]] = {
    "stream": {},
    "uniform": {"order": "uniform"},
    "stream_mask": {"document_mask": True},
    "documents": {"packing": "documents"},
    "documents_mask_length": {"packing": "documents", "document_mask": True, "order": "length"},
    "compression_buckets": {"order": "compression", "pacing": "buckets", "buckets": 3, "descending": True},
    "prefetched": {"packing": "documents", "prefetch": 3, "grad_accumulation": 2},
}


def run(folder: Path, config: TrainConfig, model: Any = None, tokens: np.ndarray = TRAIN, **more: Any) -> TrainResult:
    return train(model or MaskedToy(), tokens, VAL, config, folder, source=Source(), **more)


def asked(name: str, **more: Any) -> TrainConfig:
    return dataclasses.replace(SMALL, **{**ASKED[name], **more})


@pytest.mark.parametrize("name", ASKED)
def test_what_is_learned_is_what_was_asked_for(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are targets; padding is none; both are in the record, the curve and on the screen."""
    config = asked(name)
    batches = feeding(TRAIN, config, Source()).batches
    targets = [batches.batch(k).targets_BT for k in range(config.num_steps * config.grad_accumulation)]
    n_targets, n_positions = sum(int((y != IGNORED).sum()) for y in targets), sum(y.size for y in targets)
    result = run(tmp_path, config)
    assert result.tokens_seen == n_targets == result.curve[-1]["tokens"]
    assert result.wasted_share == pytest.approx(1 - n_targets / n_positions, abs=1e-12)
    assert (result.wasted_share > 0) == (config.packing == "documents")
    shares = [line["wasted"] for line in result.curve]  # log_every 1: a line per step
    assert np.mean(shares) == pytest.approx(result.wasted_share, abs=1e-6)
    assert all(check["ok"] for check in result.observed.values()), result.observed
    assert result.observed["batches as asked for"]["detail"] == result.batches
    assert result.batches in capsys.readouterr().err
    assert ("document mask" in result.observed) == config.document_mask


def test_the_loss_is_the_mean_over_targets(tmp_path: Path) -> None:
    """Oracle: the same step by hand, with the untrained weights."""
    config = asked("documents_mask_length", num_steps=1, grad_accumulation=3)
    losses = []

    class Recorded(MaskedToy):
        def losses(self, p: Any, *arrays: Any, record: Any = None) -> torch.Tensor:
            found = super().losses(p, *arrays)
            if torch.is_grad_enabled():
                losses.append(found.detach()[arrays[1] != IGNORED])
            return found

    result = run(tmp_path, config, Recorded())
    del losses[0]  # the warm-up, which nothing learns from
    assert len(losses) == 3 and len({len(part) for part in losses}) > 1  # uneven: a mean of means would differ
    assert result.curve[0]["train_loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)


def test_prefetching_changes_no_bit(tmp_path: Path) -> None:
    one, two = (run(tmp_path / str(n), asked("documents_mask_length", prefetch=n)) for n in (0, 2))
    assert all(torch.equal(one.params[name], two.params[name]) for name in one.params)
    assert run(tmp_path / "0", asked("documents_mask_length", prefetch=5)).steps == 24  # nor is it another run


SCRIPT = """
import sys; sys.path[:0] = sys.argv[1:3]
import hashlib, pathlib
from test_feeding import MaskedToy, SMALL, TRAIN, asked, run

class Told(MaskedToy):
    def losses(self, p, *arrays, record=None):
        import torch
        if torch.is_grad_enabled():
            digest = hashlib.sha256(b"".join(a.numpy().tobytes() for a in arrays)).hexdigest()
            with open(sys.argv[3] + "/fed.txt", "a") as file:
                file.write(digest + chr(10))
        return super().losses(p, *arrays)

often = {"checkpoint_every": 0.05, "log_every": 5, "eval_every": 1000}
run(pathlib.Path(sys.argv[3]), asked(sys.argv[4], num_steps=int(sys.argv[5]), **often), Told())
"""


@pytest.mark.parametrize(
    "name",
    ["documents_mask_length", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stream", "prefetched"))],
)
def test_after_kill_9_the_next_batch_is_the_one_that_was_due(name: str, tmp_path: Path) -> None:
    n_steps = 120
    here = Path(__file__).parent
    call = [sys.executable, "-c", SCRIPT, str(here), str(here.parent), str(tmp_path), name, str(n_steps)]
    fed, pointer = tmp_path / "fed.txt", tmp_path / "checkpoint/latest.json"
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (pointer.exists() and fed.exists() and len(fed.read_text().splitlines()) > 30):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = int(json.loads(pointer.read_text())["generation"][5:])
    assert 0 < done < n_steps
    fed.unlink()
    subprocess.run(call, check=True, stderr=subprocess.DEVNULL)
    config = asked(name, num_steps=n_steps)
    batches, per_step = feeding(TRAIN, config, Source()).batches, config.grad_accumulation
    wanted = []
    for k in range(done * per_step, n_steps * per_step):
        arrays = [array for array in batches.batch(k) if array is not None]
        wanted.append(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
    assert fed.read_text().splitlines() == wanted[:1] + wanted, "the first once more, to warm up"


def test_scores_belong_to_the_run(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    n = len(document_starts(TRAIN, END)) - 1
    np.save(path, np.arange(n))
    config = dataclasses.replace(SMALL, order="score", score_file=str(path))
    run(tmp_path / "run", config)
    np.save(path, np.arange(n)[::-1])
    with pytest.raises(ConfigError, match="other tokens or scores"):
        run(tmp_path / "run", config)
    np.save(path, np.arange(n - 1))
    with pytest.raises(ConfigError, match=f"{n - 1} scores, the training split {n} documents"):
        run(tmp_path / "other", config)


def test_documents_grow_over_an_epoch_sorted_by_length() -> None:
    """Recorded: the mean length of a batch's documents rises with the step; the control does not know of it."""
    tokens = text(3000, seed=4)
    for pacing in ("sorted", "shuffled"):
        asked_for = {"packing": "documents", "order": "length", "pacing": pacing, "context": 64}
        config = dataclasses.replace(SMALL, **asked_for, num_steps=None, seconds=1.0)
        batches = feeding(tokens, config, Source()).batches
        lengths = [_mean_length(batches.batch(step)) for step in range(batches.n_windows // 4)]
        correlation = np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]
        assert correlation > 0.9 if pacing == "sorted" else abs(correlation) < 0.4, (pacing, correlation)


def _mean_length(batch: Batch) -> float:
    counted = batch.targets_BT != IGNORED
    return int(counted.sum()) / int((counted & (batch.inputs_BT == END)).sum())


def test_ordered_and_shuffled_runs_see_the_same_windows() -> None:
    """Half an epoch: the control of a curriculum differs in order only."""
    seen = []
    for pacing in ("sorted", "shuffled"):
        config = dataclasses.replace(SMALL, num_steps=25, order="length", pacing=pacing)
        batches = feeding(TRAIN, config, Source()).batches
        assert batches.n_windows > 100
        seen.append([row.tobytes() for step in range(25) for row in batches.batch(step).inputs_BT])
    assert seen[0] != seen[1] and sorted(seen[0]) == sorted(seen[1]) and len(set(seen[0])) > 90


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packing": "document"}, "did you mean 'documents'"),
        ({"order": "lenght"}, "did you mean 'length'"),
        ({"pacing": "bucket", "order": "length"}, "did you mean 'buckets'"),
        ({"order": "score"}, "belong together"),
        ({"score_file": "a.npy"}, "belong together"),
        ({"descending": True}, "need an order to act on"),
        ({"pacing": "shuffled"}, "need an order to act on"),
        ({"order": "length", "pacing": "buckets"}, "wants 2 or more"),
        ({"order": "length", "buckets": 4}, "the others none"),
        ({"order": "length", "pacing": "buckets", "buckets": 1}, "wants 2 or more"),
        ({"prefetch": -1}, "prefetch = -1"),
    ],
)
def test_configurations_that_contradict_themselves(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize("change", [{"packing": "documents"}, {"document_mask": True}, {"order": "length"}])
def test_documents_need_somebody_who_knows_where_they_begin(change: dict[str, Any], tmp_path: Path) -> None:
    class Unknown(Source):
        end_of_text = None

    config = dataclasses.replace(SMALL, **change)
    for source in (None, Unknown()):
        with pytest.raises(ConfigError, match=f"{next(iter(change))} = .* where documents begin"):
            train(MaskedToy(), TRAIN, VAL, config, tmp_path, source=source)


def test_validation_means_over_counted_targets() -> None:
    """Oracle: F.cross_entropy with ignore_index over the same rows."""
    model = MaskedToy()
    p = {spec.name: torch.randn(spec.shape, generator=torch.Generator().manual_seed(3)) for spec in model.tensors()}
    p["multiplier"] = torch.tensor([7])
    validation = Validation(VAL, 16, 4, 300, end_of_text=END)
    whole = validation.loss(model, p)
    assert whole == pytest.approx(model.losses(p, validation.inputs_NT, validation.targets_NT).mean().item(), rel=1e-6)
    assert validation.loss(model, p, apart=True) != pytest.approx(whole, rel=1e-4)
    tokens = VAL.astype(np.int64)
    tokens[40:60] = IGNORED
    padded = Validation(tokens, 16, 4, len(VAL))
    assert padded.n_tokens == len(VAL[1:]) // 16 * 16 - 20
