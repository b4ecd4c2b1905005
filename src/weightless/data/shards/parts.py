"""The same corpus in n parts that know nothing of one another, so that n machines with one shared folder can make it.

    plan_parts(work, n)                              NAME.plan.json: who does what
    prepare_part(documents, tokenizer, DIR, Part(i, n))   the shards NAME_train_p00i_000000.bin … of part i, 1 <= i <= n
    merge(DIR)                                       the manifest, when every part is there

The plan is a function of text, tokenizer and settings: the documents in source order, cut into n contiguous ranges of
about equal bytes, and the split, which depends on the whole text.  Whoever comes first writes it (two who come at
the same time write the same bytes), the others read it.  Part i reads its own range (whole files before it are
skipped, documents before it in its own file are read and dropped), holds it to the hash in the plan, and keeps a
journal of its own, NAME.part-00i-of-00n.json, so that it can be killed and called again at any time.  The part that
finds all others done writes the manifest; merge does it by hand.

The result is a corpus like any other: documents, tokens and their order, split, and all hashes but those of shard files
are those of `prepare` without parts; only where one shard ends and the next begins differs, and their names.

Errors: WeightlessError for another text, tokenizer, setting or n than the plan's, and for merging too early.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.base.folder_lock import folder_lock
from weightless.data.shards.corpus import MANIFEST, Corpus, TextEncoder, corpus, save_tokenizer
from weightless.data.shards.manifest import SPLITS
from weightless.data.shards.prepare import PLANS, PROGRESS, Work, already_there, described, torn_files, write_manifest
from weightless.data.shards.shard_series import Journal, Labelled, worker_count, write_shards
from weightless.data.text.content import entries_of, in_one
from weightless.data.text.documents import document_key
from weightless.data.text.source import Source
from weightless.data.text.split import KEY_BYTES, Split, byte_progress
from weightless.tokenizer.kept_text import KeptText

FORMAT, VERSION = "weightless-shard-plan", 2
MOST_PARTS = 999


@dataclass(frozen=True)
class Part:
    """Part i of n, counted from 1."""

    i: int
    n: int

    def __post_init__(self) -> None:
        if not 1 <= self.i <= self.n <= MOST_PARTS:
            raise ConfigError(f"no part {self.i}/{self.n}: parts are counted 1/n, 2/n, … n/n, with n at most 999")

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"


def part_of(text: str) -> Part:
    """Read "3/16"; ConfigError for anything else."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    if not found:
        raise ConfigError(f"{text!r} is no part; write i/n, for example 3/16 for the third of sixteen")
    return Part(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Plan:
    """What every part has to know of the whole."""

    head: dict[str, Any]  # of the manifest
    split: Split
    files: tuple[int, ...]  # documents in each file of the source
    bounds: tuple[int, ...]  # part i holds the documents bounds[i - 1] .. bounds[i] - 1
    n_bytes: tuple[int, ...]
    hashes: tuple[str, ...]  # SHA-256 of the first 8 bytes of the SHA-256 of each document of the part
    entries: tuple[dict[str, Any], ...] | None = None  # the files, with size and hash; None for a text without files
    sha256: str = ""  # of the plan's file

    @property
    def n_parts(self) -> int:
        return len(self.hashes)

    @property
    def name(self) -> str:
        return self.head["name"]

    def plain(self) -> dict[str, Any]:
        split = self.split
        return {
            "format": FORMAT,
            "version": VERSION,
            "head": self.head,
            "documents": split.documents,
            "bytes": split.bytes,
            "files": list(self.files),
            "bounds": list(self.bounds),
            "part_bytes": list(self.n_bytes),
            "hashes": list(self.hashes),
            "validation": sorted(split.validation),
            "dropped": sorted(split.dropped),
            "entries": self.entries,
        }

    def journal(self, folder: Path, i: int, check_hashes: bool = True) -> Journal:
        """What is finished of part i."""
        path = folder / f"{self.name}.part-{i:03d}-of-{self.n_parts:03d}.json"
        return Journal(path, {"plan": self.sha256}, check_hashes)


class FileByFile:
    """Documents read one file after another, counted on the way; a reading can begin at a later file."""

    def __init__(self, *texts: Iterable[bytes]) -> None:
        self._texts = texts
        self.counts: list[int] = []

    def _readers(self) -> Iterator[Callable[[], Iterator[bytes]]]:
        for text in self._texts:
            files = getattr(text, "files", None)
            yield from files() if files else [text.__iter__]

    def __iter__(self) -> Iterator[bytes]:
        self.counts = []
        sources = [text for text in self._texts if isinstance(text, Source)]
        for source in sources:
            source.left_out.clear()
        for reader in self._readers():
            self.counts.append(0)
            for document in reader():
                self.counts[-1] += 1
                yield document
        if not sum(self.counts):
            yield from chain(*self._texts)  # which says what is wrong with it
        for source in sources:
            source.left_out.tell(source.name)

    def beginning_at(self, first: int, counts: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """(number, document) from document `first` on, given how many documents each file holds."""
        number = 0
        for reader, count in zip(self._readers(), counts):
            if number + count <= first:
                number += count
                continue
            for document in reader():
                if number >= first:
                    yield number, document
                number += 1


def plan_parts(work: Work, n_parts: int, show_progress: bool = True) -> Plan:
    """The plan of the folder, made (two readings of the text) when there is none; WeightlessError for another one."""
    path = work.folder / f"{work.name}.plan.json"
    if (work.folder / PROGRESS.format(name=work.name)).exists():
        raise WeightlessError(
            f"{work.folder} is being prepared as a whole; finish it without parts, or choose another folder"
        )
    if others := [other for other in sorted(work.folder.glob(PLANS)) if other != path]:
        raise WeightlessError(f"{work.folder} is being prepared under another name ({others[0].name})")
    if not path.exists():
        plan = _made(work, n_parts, show_progress)
        work.folder.mkdir(parents=True, exist_ok=True)
        save_tokenizer(work.tokenizer, work.folder)
        write_json(path, plan.plain())
    plan = _read(path)
    if plan.n_parts != n_parts:
        raise WeightlessError(
            f"{work.folder} is being prepared in {plan.n_parts} parts, not {n_parts}: go on with i/{plan.n_parts}, or "
            "choose another folder"
        )
    own, found = work.head, plan.head
    rule = {key: found["split"].get(key) for key in own["split"]}
    if {**found, "split": rule} != {**found, **own}:
        raise WeightlessError(
            f"{work.folder} is being prepared from another text, tokenizer or with other settings; choose another "
            "folder, or delete it"
        )
    return plan


def _check_files(work: Work, plan: Plan, part: Part | None) -> None:
    """The files that hold the part's documents (None: all) are those of the plan; of the others, names and sizes."""
    if plan.entries is None:
        return
    entries = [entry for text in work.texts for entry in text.entries()]  # type: ignore[attr-defined]
    same = [(entry.name, entry.kind, entry.n_bytes) for entry in entries] == [
        (known["name"], known["kind"], known["bytes"]) for known in plan.entries
    ]
    ends = np.cumsum(plan.files)
    first, end = plan.bounds[part.i - 1 : part.i + 1] if part else (0, plan.bounds[-1] + 1)
    own = [i for i, n in enumerate(plan.files) if ends[i] > first and ends[i] - n < end] if same else []
    if not same or any(sha256_file(entries[i].path) != plan.entries[i]["sha256"] for i in own):
        raise WeightlessError(_changed(work))


def _changed(work: Work) -> str:
    return f"the text of {work.name} changed since its parts were planned; delete {work.folder}, or restore the text"


def _made(work: Work, n_parts: int, show_progress: bool) -> Plan:
    listed = [entries_of(text) for text in work.texts]
    entries = None if None in listed else tuple(entry for each in listed for entry in each or ())
    content = [None if each is None else in_one(each) for each in listed]
    files = FileByFile(work.documents)
    held_out = None if work.validation is None else FileByFile(work.validation)
    planned, work = work, replace(work, documents=files, validation=held_out)
    draft = work.draft()
    draft.compare(files, show_progress)
    split = draft.finished(work.head["split"]["max_overlap"])
    ends = np.cumsum(np.frombuffer(draft.sizes, np.int64))
    wanted = np.array([draft.digest.n_bytes * i // n_parts for i in range(1, n_parts)])
    bounds = [0, *np.searchsorted(ends, wanted, side="right").tolist(), len(ends)]
    starts = [0, *ends.tolist()]
    ranges = list(zip(bounds[:-1], bounds[1:]))
    keys = bytes(draft.keys)
    hashes = [hashlib.sha256(keys[first * KEY_BYTES : end * KEY_BYTES]).hexdigest() for first, end in ranges]
    counts = [*files.counts, *(held_out.counts if held_out else [])]
    n_bytes = [starts[end] - starts[first] for first, end in ranges]
    head = {**planned.with_split(split).head, "content": content, **planned.noticed()}
    return Plan(head, split, tuple(counts), tuple(bounds), tuple(n_bytes), tuple(hashes), entries)


def _read(path: Path) -> Plan:
    found = read_json(path)
    try:
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise KeyError("format")
        head, record = found["head"], found["head"]["split"]
        split = Split(
            frozenset(found["validation"]),
            frozenset(found["dropped"]),
            head["corpus_sha256"],
            dict(found["documents"]),
            dict(found["bytes"]),
            dict(record),
        )
        files, bounds, n_bytes, hashes = (tuple(found[key]) for key in ("files", "bounds", "part_bytes", "hashes"))
        plan = Plan(head, split, files, bounds, n_bytes, hashes, _entries(found), sha256_file(path))
    except (KeyError, TypeError):
        raise CorruptFileError(f"{path} is no plan of shards; delete it, and the parts are planned anew") from None
    return plan


def _entries(found: dict[str, Any]) -> tuple[dict[str, Any], ...] | None:
    """The files of a plan, one for each count of documents; KeyError or TypeError for anything else."""
    if found["entries"] is None:
        return None
    if len(found["entries"]) != len(found["files"]):
        raise KeyError("entries")
    return tuple({key: entry[key] for key in ("name", "kind", "bytes", "sha256")} for entry in found["entries"])


def missing_parts(
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    out_dir: str | Path,
    n_parts: int,
    name: str | None = None,
    *,
    show_progress: bool = True,
    **settings: Any,
) -> list[int]:
    """Plan the parts if nobody has, and say which of 1 … n are still to be made; none when the corpus is there."""
    work = described(documents, tokenizer, out_dir, name, **settings)
    with folder_lock(work.folder, "plan"):
        if already_there(work, overwrite=False):
            return []
        plan = plan_parts(work, n_parts, show_progress)
    return [i for i in range(1, n_parts + 1) if not plan.journal(work.folder, i).is_done]


def prepare_part(
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    out_dir: str | Path,
    part: Part,
    name: str | None = None,
    *,
    workers: int | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> Corpus | None:
    """Make part i of n in `out_dir`; the settings are those of `prepare`.

    Returns the finished corpus when no part is missing any more (or all was done before), None while others are.
    """
    worker_count(workers)
    work = described(documents, tokenizer, out_dir, name, **settings)
    with folder_lock(work.folder, f"part-{part.i:03d}"):
        return _made_part(work, part, workers, show_progress)


def _made_part(work: Work, part: Part, workers: int | None, show_progress: bool) -> Corpus | None:
    if done := already_there(work, overwrite=False):
        return done
    if (work.folder / MANIFEST).exists():
        raise WeightlessError(f"{work.folder} holds a damaged corpus; prepare it as a whole, or delete it")
    plan = plan_parts(work, part.n, show_progress)
    _check_files(work, plan, part)
    journal = plan.journal(work.folder, part.i)
    if not journal.is_done:
        _write_part(work, plan, part, journal, workers, show_progress)
        journal.finish()
    journals = _journals(work.folder, plan)
    if all(other.is_done for other in journals):
        _check_files(work, plan, None)
        return _merged(work.folder, plan, journals)
    if (work.folder / MANIFEST).exists():  # somebody else has merged meanwhile
        journal.path.unlink(missing_ok=True)
        return corpus(work.folder)
    return None


def _write_part(work: Work, plan: Plan, part: Part, journal: Journal, workers: int | None, show_progress: bool) -> None:
    first, end = plan.bounds[part.i - 1 : part.i + 1]
    texts = [work.documents] if work.validation is None else [work.documents, work.validation]
    seen = hashlib.sha256()
    with byte_progress(f"tokenise {part}", plan.n_bytes[part.i - 1], show_progress) as tick:

        def labelled() -> Iterator[Labelled]:
            for number, text in FileByFile(*texts).beginning_at(first, plan.files):
                if number >= end:
                    if part.i == part.n:
                        raise WeightlessError(_changed(work))
                    return
                seen.update(document_key(text)[:KEY_BYTES])
                tick(len(text))
                if (role := plan.split.role(number)) in SPLITS:
                    yield role, text

        stems = {role: f"{plan.name}_{role}_p{part.i:03d}" for role in SPLITS}
        write_shards(work.folder, stems, journal, labelled(), work.tokenizer, workers, work.head["shard_tokens"])
    if seen.hexdigest() != plan.hashes[part.i - 1]:
        journal.forget()
        raise WeightlessError(_changed(work))


def _journals(folder: Path, plan: Plan) -> list[Journal]:
    """Those of all parts; each part has checked its own hashes."""
    return [plan.journal(folder, i, check_hashes=False) for i in range(1, plan.n_parts + 1)]


def merge(out_dir: str | Path) -> Corpus:
    """Write the manifest of a folder whose parts are all finished; nothing to do when there is one."""
    folder = Path(out_dir)
    with folder_lock(folder, "merge"):
        return _merged_by_hand(folder)


def _merged_by_hand(folder: Path) -> Corpus:
    plans = sorted(folder.glob(PLANS))
    if (folder / MANIFEST).exists():
        return corpus(folder)
    if len(plans) != 1:
        found = f"{len(plans)} plans" if plans else "no plan"
        raise WeightlessError(f"{folder} holds {found} of parts; make the parts first: --shard 1/n … n/n")
    plan = _read(plans[0])
    journals = _journals(folder, plan)
    missing = [i for i, journal in enumerate(journals, start=1) if not journal.is_done]
    if missing:
        some = ", ".join(f"{i}/{plan.n_parts}" for i in missing[:8]) + (" …" if len(missing) > 8 else "")
        raise WeightlessError(f"{folder}: {len(missing)} of {plan.n_parts} parts are not finished: --shard {some}")
    return _merged(folder, plan, journals)


def _merged(folder: Path, plan: Plan, journals: list[Journal]) -> Corpus:
    """The manifest first, then the plan and the journals go; what a kill leaves of them is harmless beside it.

    The journals were read before: another part that merges at the same time may delete their files at any moment.
    """
    shards = {role: [shard for journal in journals for shard in journal.plain_shards(role)] for role in SPLITS}
    whole = {role: sum((journal.kept(role) for journal in journals), KeptText()) for role in SPLITS}
    finished = write_manifest(folder, plan.head, plan.split, shards, whole)
    leftovers = [*(journal.path for journal in journals), folder / f"{plan.name}.plan.json"]
    for leftover in [*leftovers, *torn_files(folder, (f"{plan.name}_", f"{plan.name}.part-"))]:
        leftover.unlink(missing_ok=True)
    return finished
