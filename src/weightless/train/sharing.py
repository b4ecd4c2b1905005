"""What the record of a run says about the processes that made it: how many, of what, and that they have one model.

    state["processes"]   [[step, number, backend], …]: from which step on how many trained; absent of one that was alone

How many there are decides no batch and no number beyond the order of sums, so a checkpoint is continued with another
number.  That gradients were combined is observed: every process has learned from other targets, and at the end the
SHA-256 of its parameters, constants and optimizer state is the one that all others have.
Errors: CorruptFileError for a checkpoint that tells something else; WeightlessError where processes begin differently.
Floor 6 (train).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.folder_lock import folder_lock
from weightless.train.checkpoint import read_state
from weightless.train.processes import Gone, Processes
from weightless.train.shares import Share

PROCESSES = "processes"
"""Its name in the checkpoint and in the run's record."""
Session = tuple[int, int, str]


@dataclass
class Sharing:
    """Sessions so far, this one included; what each process has learned from in this one, and its hash at the end."""

    together: Processes
    share: Share
    sessions: list[Session] = field(default_factory=list)
    hashes: tuple[str, ...] = ()

    @classmethod
    def of(cls, together: Processes, share: Share, device: str, step: int, saved: Any) -> Sharing:
        """`saved` is what a checkpoint of `step` steps tells; gradients on a CUDA device travel by nccl."""
        try:
            before = [(int(at), int(number), str(backend)) for at, number, backend in saved or ()]
        except (TypeError, ValueError):
            raise CorruptFileError("the checkpoint's list of processes is damaged; start the run anew") from None
        backend = "" if together.world == 1 else "nccl" if device.startswith("cuda") else "gloo"
        now = (step, together.world, backend)
        if not before and step and together.world > 1:
            before = [(0, 1, "")]
        if not before or before[-1][1:] != now[1:]:
            before = [*before, now]
        return cls(together, share, before)

    @property
    def is_alone(self) -> bool:
        """Whether one process has made all of it."""
        return all(number == 1 for _, number, _ in self.sessions)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint; nothing where one process has made all of it."""
        return {} if self.is_alone else {PROCESSES: [list(session) for session in self.sessions]}

    def meet(self, digest: str, what: str) -> None:
        """WeightlessError unless all processes have come here with one digest."""
        if len(set(_everybodys(self.together, digest))) > 1:
            raise WeightlessError(
                f"the {self.together.world} processes do not see the same {what}: they need one file system, one "
                "version of the code and one configuration"
            )

    def close(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The training is over: what does everybody hold?"""
        if self.together.world > 1:
            self.hashes = tuple(_everybodys(self.together, sha256_of(tensors)))

    def told(self) -> dict[str, dict[str, Any]]:
        """The assertion of the run's record; none of a run that one process has made."""
        if self.is_alone:
            return {}
        parts = [
            f"{number}{f' ({backend})' if number > 1 else ''} from step {step} on"
            for step, number, backend in self.sessions
        ]
        detail, ok = "; ".join(parts), True
        if self.together.world > 1:
            ok = len(self.hashes) == self.together.world and len(set(self.hashes)) == 1
            detail += f"; {self.share.told}"
            held = f"the same weights and state ({self.hashes[0][:12]})" if ok else "DIFFERENT weights"
            detail += f"; at the end all {self.together.world} hold {held}"
        return {PROCESSES: {"ok": ok, "detail": detail}}


def digest_of(identity: Mapping[str, Any], step: int) -> str:
    """SHA-256 of what decides a training, and of how far it is."""
    return hashlib.sha256(json.dumps([identity, step], sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def writing(folder: str | Path, together: Processes) -> Iterator[None]:
    """Hold the folder, which of several processes the first does; say what is left in it when one of them is gone."""
    with folder_lock(folder) if together.is_first else nullcontext():
        try:
            yield
        except Gone as error:
            state = read_state(Path(folder) / "checkpoint")
            left = f"no checkpoint lies in {folder} yet, and the same command begins anew"
            if state is not None:
                left = f"the checkpoint of step {state['next_step']} in {folder} stays, and the same command goes on"
            raise Gone(
                f"{error}, so this training stops; {left}, with any number of processes", error.is_told
            ) from None


def sha256_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of names and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(tensors[name].detach().cpu().numpy()).data)
    return digest.hexdigest()


def _everybodys(together: Processes, digest: str) -> Iterable[str]:
    if together.world == 1:
        return [digest]
    told = together.gathered([float(byte) for byte in bytes.fromhex(digest)])
    return [bytes(int(byte) for byte in each).hex() for each in told]
