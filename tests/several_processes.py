"""Small trainings for one process or several, and a way to start several without torchrun: `python FILE FOLDER CASE …`.

Every process leaves FOLDER/CASE.RANK.json: steps, losses, the hash of its weights, what was raised.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve()
V, END, CONTEXT = 61, 60, 16
LOOP = {"batch_size": 4, "context": CONTEXT, "num_steps": 12, "log_every": 1, "eval_every": 4, "eval_tokens": 500}
LOOP |= {"checkpoint_every": 1e9, "threads": 1}
SHAPE = {"vocab_size": V, "d_model": 32, "n_layers": 2, "n_heads": 2, "context": CONTEXT}
QAT = {"qat_start": 0.2, "qat_warmup": 0.3, "qat_clip": "group", "average": "ema", "average_start": 0.3}
PADDED = {"packing": "documents", "document_mask": True, "order": "length", "grad_accumulation": 2}
EXPERTS = {"n_kv_heads": 1, "n_experts": 4, "d_expert": 16}


class Case(NamedTuple):
    family: str
    shape: dict[str, Any]
    loop: dict[str, Any]
    stop: tuple[int, int] | None = None
    """(process, step) of a signal."""
    signal: int = signal.SIGTERM
    taught: bool = False


CASES = {
    "adamw": Case("dense", {}, {"optimizer": "adamw", "grad_accumulation": 2, "warmup": 0.0}),
    "adamw_rows": Case("dense", {}, {"optimizer": "adamw", "grad_clip": 0.3, "prefetch": 2}),
    "muon": Case("dense", {}, {"grad_accumulation": 2}),
    "muon_rows": Case("dense", {}, {"muon_momentum_warmup": 5}),
    "tables": Case("feather", {"n_kv_heads": 1, "d_head": 16, "d_ff": 40}, {**PADDED, "optimizer": "adamw"}),
    "tables_rounded": Case("feather", {"n_kv_heads": 1, "d_head": 16, "d_ff": 40}, {**PADDED, "qat_start": 0.5}),
    "qat": Case(
        "dense", {"weight_format": "int4"}, {**QAT, "grad_accumulation": 2, "ema_decay": 0.9, "grad_clip": 0.5}
    ),
    "balance_loss": Case("experts", EXPERTS, {"grad_accumulation": 2, "batch_size": 3}),
    "balance_bias": Case("experts", {**EXPERTS, "balance": "bias"}, {"order": "uniform"}),
    "taught": Case("dense", {}, {"optimizer": "sgd", "packing": "documents", "max_lr": 0.1}, taught=True),
    "cut": Case("dense", {}, {"grad_accumulation": 2, "average": "swa"}, stop=(1, 5)),
    "whole": Case("dense", {}, {"grad_accumulation": 2, "average": "swa"}),
    "clock": Case(
        "dense", {}, {"num_steps": None, "seconds": 0.5, "clock": "cpu", "grad_accumulation": 2, "eval_every": 1000}
    ),
    "diverged": Case("dense", {}, {"optimizer": "sgd", "max_lr": 1e25, "warmup": 0.0, "grad_clip": 0.0}),
    "refused": Case("experts", EXPERTS, {}),
    "odd": Case("dense", {}, {"batch_size": 3, "grad_accumulation": 3}),
    "killed": Case("dense", {}, {"num_steps": 100_000, "checkpoint_every": 0.0}, stop=(1, 7), signal=signal.SIGKILL),
    "first_killed": Case("dense", {}, {"num_steps": 100_000, "checkpoint_every": 0.0}, (0, 7), signal.SIGKILL),
}


class Source:
    """Knows where documents begin."""

    end_of_text: int | None = END

    def tokenizer(self) -> Any:
        raise AssertionError("no text is asked for here")


class Cycle:
    """A teacher that knows the rule of `text`."""

    name, sha256, flops_per_token = "cycle", "c" * 64, 10.0

    def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> Any:
        import torch

        follows = (torch.from_numpy(np.asarray(tokens_BT, np.int64)) + 3) % END
        return (torch.nn.functional.one_hot(follows, V) * 0.9 + 0.1 / V).log()


def text(n_documents: int, seed: int) -> np.ndarray:
    """Documents of 1 to 29 tokens, nine of ten of which are 3 more than the one before."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 30, n_documents)
    tokens = (
        np.cumsum(np.where(rng.random(lengths.sum()) < 0.9, 3, rng.integers(0, END, lengths.sum()))) % END
    ).astype(np.uint16)
    tokens[np.cumsum(lengths) - lengths] = END
    return tokens


def run(case: Case, folder: Path, rank: int = 0) -> Any:
    """The TrainResult of one of the cases."""
    from weightless.models.catalog import trained
    from weightless.train.config import TrainConfig
    from weightless.train.distil import Distil
    from weightless.train.distilling import ALONE, Lineage
    from weightless.train.loop import train

    def stop(line: dict[str, Any]) -> None:
        if case.stop == (rank, line["step"]):
            os.kill(os.getpid(), case.signal)

    room = trained(case.family)
    kept = {key: value for key, value in SHAPE.items() if key in room.Config.__dataclass_fields__}
    model, loop = room.Model(room.Config(**{**kept, **case.shape})), TrainConfig(**{**LOOP, **case.loop})
    lineage = Lineage(None, Distil("cycle", top_k=4), Cycle(), folder / "answers") if case.taught else ALONE
    return train(model, text(300, 0), text(90, 1), loop, folder, source=Source(), on_metrics=stop, lineage=lineage)


def told(case: Case, folder: Path, rank: int = 0) -> dict[str, Any]:
    """What came of a case, in plain values."""
    from weightless.train.sharing import sha256_of

    try:
        result = run(case, folder, rank)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return {"raised": f"{type(error).__name__}: {error}", "is_told": getattr(error, "is_told", None)}
    return {
        "steps": result.steps,
        "seconds": result.seconds,
        "tokens": result.tokens_seen,
        "losses": [[line["train_loss"], line["val_loss"]] for line in result.curve],
        "beside": [[line.get("auxiliary"), line.get("teacher_kl")] for line in result.curve],
        "sha256": sha256_of(result.params),
        "observed": result.observed,
        "used": result.used,
        "diverged": None if result.diverged is None else result.diverged.detail,
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(world: int, command: list[str], **more: Any) -> list[subprocess.Popen[str]]:
    """The command as so many processes of one training."""
    place = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= {"OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            command, env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, text=True, **more
        )
        for rank in range(world)
    ]


def ended(processes: list[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str]]:
    """(exit code, standard error) of each; those that do not end by themselves are killed, and fail the test."""
    found = []
    try:
        for process in processes:
            said = process.communicate(timeout=seconds)[1]
            found.append((process.returncode, said or ""))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return found


def together(world: int, folder: Path, *cases: str, seconds: float = 120) -> list[tuple[int, str]]:
    """Run cases in several processes."""
    command = [sys.executable, str(HERE), str(folder), *cases]
    return ended(started(world, command, stderr=subprocess.PIPE), seconds)


def left(folder: Path, case: str, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"{case}.{rank}.json").read_text())


def main(folder: Path, names: list[str]) -> None:
    from weightless.train.processes import ALONE, joined

    with joined() if "RANK" in os.environ else nullcontext(ALONE) as processes:
        for name in names:
            found = told(CASES[name], folder / name, processes.rank)
            (folder / f"{name}.{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
