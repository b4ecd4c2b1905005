"""Build a submission: README.md, submission.json, train.log, one script, the compressed artifact, its tokenizer.

    build(subjects, out, wanted) -> Built

The artifact is compressed and the script written before anything is scored, so a total over the cap is told first.
Every seed is scored by the engine from its own artifact; the folder holds the first one's.  The folder appears whole:
it is made beside its place and renamed.
Errors: WeightlessError for a folder that holds something, for a total over the cap, and for data that do not belong.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weightless.artifact.squeezed import squeeze
from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_write, sha256_file, write_json
from weightless.export.packed import Packed, open_packed
from weightless.golf.bundle import BATCHED, TRAINING, closure, scoring_roots, script, stand_ins
from weightless.golf.log_writing import log_text
from weightless.golf.names import ARTIFACT, LOG, PIECES, README, SCRIPT, SUBMISSION
from weightless.golf.readme import readme
from weightless.golf.schema import FORMAT, VERSION
from weightless.golf.scoring import Asked, Scored, score
from weightless.golf.sizes import Sizes
from weightless.golf.stream import Stream, stream_of
from weightless.golf.subject import Subject
from weightless.lab.environment import commit
from weightless.program.cost import n_parameters
from weightless.program.program import HEADS, Program

CHECKED_TOKENS = 4096
"""Targets of the sample that a check scores again, whatever else it does."""


@dataclass(frozen=True)
class Wanted:
    """What the user said about the folder."""

    author: str = ""
    github_id: str = ""
    name: str = ""
    blurb: str = ""
    decode_only: bool = False
    allow_over: bool = False
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True)
class Built:
    folder: Path
    sizes: Sizes
    values: dict[str, Any]
    scored: Scored


BARE = ("zlib", "lzma")
"""Coders that Python brings along: a folder is opened where there is nothing but numpy and numba."""


def build(found: Sequence[Subject], out: Path, wanted: Wanted) -> Built:
    """Make the folder `out` from a model over its seeds."""
    _refuse_used(out)
    first = found[0]
    packed = [open_packed(one.artifact) for one in found]
    text = _script(first, packed[0].program, wanted.decode_only)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name[:40]}.", dir=out.parent))
    try:
        atomic_write(beside / SCRIPT, text)
        packages = [squeeze(one.artifact, beside / ARTIFACT, BARE) for one in reversed(found)][::-1]
        sizes = [Sizes(len(text.encode()), n_bytes) for n_bytes in packages]
        if not wanted.allow_over:
            sizes[0].require()
        pieces = _pieces(first, packed[0], beside)
        streams = [stream_of(one, subject.data.folder, "val", pieces) for one, subject in zip(packed, found)]
        scored = [score(one, stream, wanted.asked, f"seed {s.seed}") for one, stream, s in zip(packed, streams, found)]
        checked = score(packed[0], streams[0], _small(wanted.asked), "sample")
        values = _values(found, packed[0], streams[0], scored, checked, sizes, wanted, beside / ARTIFACT)
        write_json(beside / SUBMISSION, values)
        _write_logs(beside, found, values, scored, sizes)
        atomic_write(beside / README, readme(values, first.recipe() if not wanted.decode_only else None, scored[0]))
        beside.chmod(0o777 & ~_umask())
        _put(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Built(out, sizes[0], values, scored[0])


def _refuse_used(out: Path) -> None:
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise WeightlessError(f"{out} is there already and not empty: name another folder with --out, or move it away")


def _put(beside: Path, out: Path) -> None:
    _refuse_used(out)
    if out.is_dir():
        out.rmdir()
    os.rename(beside, out)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _script(subject: Subject, program: Program, decode_only: bool) -> str:
    """The script, with its training unless it is only to decode."""
    roots = scoring_roots([*program.body, *(op for head in HEADS for op in program.heads[head])])
    if decode_only:
        return script(closure(roots, stand_ins(training=False), without=(TRAINING, BATCHED)))
    roots += [TRAINING, f"weightless.models.{subject.family}", *_lazy_rooms()]
    return script(closure(roots, stand_ins(training=True), without=(BATCHED,)), subject.recipe())


def _lazy_rooms() -> list[str]:
    """Modules that are imported by the name of a function in them."""
    from weightless.layers import functions

    return [f"{functions.__name__}.{path.stem}" for path in sorted(Path(functions.__path__[0]).glob("*.py"))]


def _pieces(subject: Subject, packed: Packed, beside: Path) -> Path | None:
    """The SentencePiece model goes along where the artifact holds no tokenizer."""
    if packed.has_tokenizer or not subject.data.has_tokenizer:
        return None
    shutil.copyfile(subject.data.tokenizer_path, beside / PIECES)
    return beside / PIECES


def _small(asked: Asked) -> Asked:
    return Asked(CHECKED_TOKENS, asked.stride, asked.whole_windows, asked.threads, asked.path)


def _values(
    found: Sequence[Subject],
    packed: Packed,
    stream: Stream,
    scored: Sequence[Scored],
    checked: Scored,
    sizes: Sequence[Sizes],
    wanted: Wanted,
    artifact: Path,
) -> dict[str, Any]:
    """submission.json, in the order of the schema."""
    first, own, last = found[0], scored[0], found[0].curve[-1] if found[0].curve else {}
    name = wanted.name or f"{packed.family} {first.folder.resolve().name}"
    blurb = wanted.blurb or f"A {packed.family} model of {n_parameters(packed.program):,} parameters, by weightless."
    return {
        "author": wanted.author,
        "github_id": wanted.github_id,
        "name": name,
        "blurb": blurb,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "val_loss": own.nats_per_token,
        "val_bpb": own.bits_per_byte,
        "bytes_total": sizes[0].total,
        "bytes_code": sizes[0].code,
        "bytes_weights": sizes[0].weights,
        "format": FORMAT,
        "version": VERSION,
        "script": "decode" if wanted.decode_only else "train",
        "artifact": ARTIFACT,
        "artifact_sha256": sha256_file(artifact),
        "opened_sha256": sha256_file(first.artifact),
        "family": packed.family,
        "n_parameters": n_parameters(packed.program),
        "seed": first.seed,
        **_over_seeds(found, scored, sizes),
        "vocab_size": packed.program.vocab_size,
        "context": packed.program.context,
        "tokenizer_sha256": first.data.manifest["tokenizer_sha256"],
        "corpus": first.data.name,
        "corpus_sha256": first.data.sha256,
        "val_sha256": stream.sha256,
        "val_tokens": len(stream.tokens),
        "eval_tokens": own.n_tokens,
        "eval_bytes": own.n_bytes,
        "eval_nats": own.nats,
        "cut_tokens": own.n_cut,
        "stride": own.stride,
        "sampled": own.sampled,
        "asked_tokens": wanted.asked.tokens,
        "check_tokens": CHECKED_TOKENS,
        "check_loss": checked.nats_per_token,
        "train_seconds": last.get("seconds"),
        "train_steps": last.get("step", 0),
        "commit": commit(),
    }


def _over_seeds(found: Sequence[Subject], scored: Sequence[Scored], sizes: Sequence[Sizes]) -> dict[str, Any]:
    """What several seeds say together; nothing of one."""
    if len(found) < 2:
        return {}
    results = {
        str(subject.seed): {
            "val_loss": own.nats_per_token,
            "val_bpb": own.bits_per_byte,
            "bytes_total": size.total,
            "artifact_sha256": sha256_file(subject.artifact),
        }
        for subject, own, size in zip(found, scored, sizes)
    }
    told: dict[str, Any] = {"seeds": [subject.seed for subject in found], "seed_results": results}
    for key in ("val_loss", "val_bpb"):
        values = [result[key] for result in results.values()]
        if None not in values:
            told |= {f"{key}_mean": statistics.fmean(values), f"{key}_std": statistics.stdev(values)}
    return told


def _write_logs(
    beside: Path,
    found: Sequence[Subject],
    values: dict[str, Any],
    scored: Sequence[Scored],
    sizes: Sequence[Sizes],
) -> None:
    """train.log of the artifact in the folder, train_seedN.log of the others."""
    for subject, own, size in zip(found, scored, sizes):
        is_first = subject is found[0]
        told = {
            **values,
            "val_loss": own.nats_per_token,
            "val_bpb": own.bits_per_byte,
            "artifact_sha256": values["artifact_sha256"] if is_first else "of another folder",
        }
        head = [
            f"{subject.family} on {subject.data.name}, corpus {subject.data.sha256}",
            f"python {sys.version.split()[0]}",
        ]
        text = log_text(head, subject.curve, told, size, values["n_parameters"], subject.seed)
        atomic_write(beside / (LOG if is_first else f"train_seed{subject.seed}.log"), text)
