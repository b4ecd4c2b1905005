"""Open an artifact as a model that runs: program, weights, tokenizer.  No PyTorch, no unpickling, nothing trusted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.file import Artifact, open_artifact
from weightless.base.errors import CorruptFileError, NewerFileError, WeightlessError
from weightless.export.hub_artifact import is_artifact_on_hub, local_path
from weightless.export.lower import TOKENIZER
from weightless.program.engine import AuditEngine, Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.program import HEADS, Program
from weightless.quant.formats import decode_rows
from weightless.tokenizer import Tokenizer


@dataclass(frozen=True)
class Packed:
    """A model as shipped."""

    artifact: Artifact
    program: Program

    @property
    def family(self) -> str:
        return str(self.artifact.meta.get("family", "?"))

    @property
    def notes(self) -> dict[str, Any]:
        notes = self.artifact.meta.get("notes")
        return notes if isinstance(notes, dict) else {}

    @property
    def weights(self) -> np.ndarray:
        return self.artifact.data

    @property
    def has_tokenizer(self) -> bool:
        """Whether text can go in and come out; a model of imported ids has none."""
        return TOKENIZER in self.artifact.entries

    @property
    def tokenizer_sha256(self) -> str | None:
        """Of the tokenizer in the file, or of the SentencePiece model of its training ids; None when unknown."""
        if self.has_tokenizer:
            return self.tokenizer.sha256
        noted = self.notes.get("tokenizer_sha256")
        return noted if isinstance(noted, str) else None

    @property
    def imported_ends(self) -> tuple[int, ...]:
        """Ids at which a text ends by the configuration that an imported model came with (its eos_token_id)."""
        kept = self.notes.get("imported")
        named = kept.get("eos_token_id") if isinstance(kept, dict) else None
        every = named if isinstance(named, list) else [named]
        return tuple(i for i in every if type(i) is int and 0 <= i < self.program.vocab_size)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in the file; WeightlessError when it was packed without one."""
        if not self.has_tokenizer:
            raise WeightlessError(
                f"{self.artifact.path} was packed without a tokenizer, so it knows ids and no text: "
                "give text as ids (data prepare --tokenizer pieces.model, then --data), or make its "
                "data with a byte-level --tokenizer and pack it again"
            )
        text = self.artifact.view(TOKENIZER).tobytes()
        try:
            tokenizer = Tokenizer.from_json(text.decode())
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"the tokenizer in {self.artifact.path} is not UTF-8 text") from error
        if tokenizer.vocab_size != self.program.vocab_size:
            raise CorruptFileError(
                f"{self.artifact.path}: a tokenizer of {tokenizer.vocab_size} tokens does not suit "
                f"a model of {self.program.vocab_size}"
            )
        return tokenizer

    def engine(self, poison: bool = False) -> Engine:
        """A fresh compiled engine over the shared, read-only weights."""
        return Engine(self.program, self.weights, poison, name=self.family)

    def audit_engine(self, poison: bool = False) -> AuditEngine:
        """A fresh readable engine that logs, over the same weights."""
        return AuditEngine(self.program, self.weights, poison)

    def logged_engine(self, poison: bool = False) -> LoggedEngine:
        """A fresh compiled engine that logs, over the same weights."""
        return LoggedEngine(self.program, self.weights, poison, name=f"{self.family}, with a log")

    def stored_bytes(self) -> dict[str, int]:
        """{"file": all of it, "weights": tensors of the program, "tokenizer": its section}."""
        entries = self.artifact.entries
        tokenizer = entries[TOKENIZER].nbytes if TOKENIZER in entries else 0
        weights = sum(tensor.nbytes for tensor in self.program.stored())
        return {"file": self.artifact.file_bytes, "weights": weights, "tokenizer": tokenizer}

    def stored_components(self) -> dict[str, int]:
        """Stored bytes per line of the ledger."""
        out: dict[str, int] = {}
        for tensor in self.program.stored():
            out[tensor.component] = out.get(tensor.component, 0) + tensor.nbytes
        return out


def open_packed(path: str | Path, verify: bool = True) -> Packed:
    """Map and check an artifact, rebuild its program, and make sure the two fit; CorruptFileError otherwise.

    hf://USER/NAME[@REVISION][/FILE.wl] is fetched from the hub first.
    """
    path = local_path(path) if is_artifact_on_hub(path) else path
    if (inside := Path(path) / "model.wl").is_file():
        raise WeightlessError(f"cannot read {path}: it is not a file; give the model in it, {inside}")
    artifact = open_artifact(path, verify)
    if artifact.meta.get("kind") != "weightless model":
        raise CorruptFileError(f"{path} is an artifact, but not of a model: nothing can be run from it")
    try:
        program = Program.from_plain(artifact.meta.get("program"))
    except NewerFileError as error:
        raise NewerFileError(f"{path}: {error}") from error
    except CorruptFileError as error:
        raise CorruptFileError(f"{path}: {error}; pack the model again") from error
    for place in program.layout.places.values():
        tensor = place.tensor
        if tensor.kind == "state":
            continue
        entry = artifact.entries.get(tensor.name)
        stored = entry and (entry.format, entry.shape, entry.row_bytes, entry.row_stride, entry.offset)
        wanted = (tensor.format, tensor.shape, tensor.row_bytes, tensor.row_stride, place.offset)
        if stored != wanted:
            raise CorruptFileError(f"{path}: tensor {tensor.name!r} is stored as {stored}, its program wants {wanted}")
    packed = Packed(artifact, program)
    _check_slots(packed)
    return packed


def _check_slots(packed: Packed) -> None:
    """A class head scores by one table and draws by another: they must be inverse permutations of the vocabulary."""
    program = packed.program
    ops = [op for head in HEADS for op in program.heads[head]]
    slots, tokens = (sorted({name for name in names if name}) for names in zip(*(op.slot_tables() for op in ops)))
    for slot_name, token_name in itertools.product(slots, tokens):
        slot_of_token, token_of_slot = (_ids(packed, name) for name in (slot_name, token_name))
        n = program.vocab_size
        fits = len(slot_of_token) == len(token_of_slot) == n and max(slot_of_token.max(), token_of_slot.max()) < n
        if not (fits and np.array_equal(slot_of_token[token_of_slot], np.arange(n))):
            told = f"{slot_name!r} and {token_name!r} are not inverse to each other"
            raise CorruptFileError(
                f"{packed.artifact.path}: {told}, so it would draw other words than it scores: pack the model again"
            )


def _ids(packed: Packed, name: str) -> np.ndarray:
    """A column of ids, int64."""
    tensor = packed.program.by_name[name]
    return decode_rows(packed.artifact.view(name), tensor.format, 1)[:, 0].astype(np.int64)
