"""Write token ids that somebody else made as a prepared corpus: shards and manifest, as `prepare` makes them.

    import_tokens(rows, out_dir, tokenizer=…, max_tokens=…, validation="auto") -> Corpus

`rows` is a RowSet (row_sets.py): splits of one source; import_plan.py says what can validate.  `max_tokens` cuts the
training split, wherever a document is at that point.

Killed anywhere, the same call goes on: NAME.import.json lists finished shards with the Place where the next begins,
and a checkpoint inside the shard under way (growing_shard.py); the bytes are those of an undisturbed run.  The manifest
comes last.  Without a tokenizer only the size of the vocabulary is known: the manifest then says so (tokenizer_sha256
and bytes are null), and whatever needs text or bits per byte refuses such a corpus.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import write_json
from weightless.base.folder_lock import folder_lock
from weightless.base.progress import Ticker, progress
from weightless.data.imports.import_journal import ImportJournal
from weightless.data.imports.import_plan import Part, RowSet, plan
from weightless.data.imports.token_rows import BLOCK_TOKENS, RowStream
from weightless.data.shards.corpus import (
    BYTES_BY_IDS,
    MANIFEST,
    PIECES,
    TOKENIZER,
    Corpus,
    TextEncoder,
    corpus,
    save_tokenizer,
)
from weightless.data.shards.growing_shard import GrowingShard
from weightless.data.shards.manifest import FORMAT, FORMAT_VERSION, SPLITS, checked_manifest
from weightless.data.shards.shards import LARGEST_VOCABULARY, read_shard
from weightless.tokenizer.byte_table import ByteTable, told_of_ids

SHARD_TOKENS = 100_000_000
CHECKPOINT_TOKENS = 1 << 22


def import_tokens(
    rows: RowSet,
    out_dir: str | Path,
    name: str = "",
    *,
    tokenizer: TextEncoder | None = None,
    split: str = "train",
    validation: str | RowSet = "auto",
    max_tokens: int | None = None,
    max_validation_tokens: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    checkpoint_tokens: int = CHECKPOINT_TOKENS,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Corpus:
    """Import `rows` into `out_dir`; a folder that holds another corpus is refused unless `overwrite`."""
    folder, name = Path(out_dir), name or rows.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"{name!r} is no name for files; use letters, digits, - and _")
    if not 1 <= rows.vocab_size <= LARGEST_VOCABULARY:
        raise ConfigError(f"a vocabulary of {rows.vocab_size} does not fit shards of 16-bit ids; 65536 is the most")
    for what, value in (
        ("max_tokens", max_tokens),
        ("max_validation_tokens", max_validation_tokens),
        ("shard_tokens", shard_tokens),
        ("checkpoint_tokens", checkpoint_tokens),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{what} is {value}; at least one token")
    parts = plan(rows, split, validation, max_tokens, max_validation_tokens)
    head = _head(name, rows, parts, tokenizer, shard_tokens)
    with folder_lock(folder):
        if done := _already_there(folder, head, overwrite):
            return done
        table = None if tokenizer is None else tokenizer.byte_table
        work = _Work(ImportJournal(folder, head), table, checkpoint_tokens)
        with _shown(parts, work.journal, show_progress) as tick:
            for part in parts:
                _write(work, part, tick)
        return _finished(work, tokenizer)


def _head(
    name: str, rows: RowSet, parts: list[Part], tokenizer: TextEncoder | None, shard_tokens: int
) -> dict[str, Any]:
    """What identifies the work: where every id comes from, and what it means."""
    if tokenizer is not None and tokenizer.vocab_size != rows.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the rows are read with a vocabulary of "
            f"{rows.vocab_size}: leave the vocabulary size out"
        )
    rule = {
        part.role: {
            "limit": part.limit,
            "slack": part.slack,
            "most": part.most,
            "follows": part.follows,
            "offset": part.offset,
        }
        for part in parts
    }
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": name,
        "source": {"kind": "tokens", **{part.role: part.source.description for part in parts}},
        "tokenizer_sha256": tokenizer.sha256 if tokenizer is not None else None,
        "vocab_size": rows.vocab_size,
        "end_of_text": rows.end_of_text,
        "shard_tokens": shard_tokens,
        "split": {"method": "imported", **rule},
    }


def _already_there(folder: Path, head: dict[str, Any], overwrite: bool) -> Corpus | None:
    """The corpus in `folder` when it is this one, whole; None when there is none, or none any more; or an error."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest: dict[str, Any] = {}
    with suppress(CorruptFileError):
        manifest = checked_manifest(path)
    same = all(manifest.get(key) == value for key, value in json.loads(json.dumps(head)).items())
    if not same and not overwrite:
        raise WeightlessError(
            f"{folder} already holds a corpus made from another source, tokenizer or with other "
            "settings, or the source has changed since; choose another folder, or --overwrite it"
        )
    if same:
        with suppress(WeightlessError):
            return corpus(folder, check_hashes=True)
    path.unlink()  # first, so that half of a corpus never looks whole
    for role in SPLITS if manifest else ():
        for shard in manifest["splits"][role]["shards"]:
            (folder / shard["file"]).unlink(missing_ok=True)
    return None


@dataclass(frozen=True)
class _Work:
    """Where shards go, what they are counted by, and how far the journal says they are."""

    journal: ImportJournal
    table: ByteTable | None  # None without a tokenizer
    checkpoint_tokens: int

    @property
    def folder(self) -> Path:
        return self.journal.folder

    @property
    def end_of_text(self) -> int | None:
        return self.journal.head["end_of_text"]


def _write(work: _Work, part: Part, tick: Ticker) -> None:
    """Bring one split to its end."""
    role, head = work.journal.roles[part.role], work.journal.head
    if role["done"]:
        return
    stream, n = _entered(work, part), work.journal.n_tokens(part.role)
    while len(_next_ids(stream, part, n, work.end_of_text)):
        file = f"{head['name']}_{part.role}_{len(role['shards']):06d}.bin"
        shard = GrowingShard(work.folder / file, role["open"]["tokens"] if role["open"] else 0)
        try:
            n = _fill(work, part, stream, shard, n, tick)
        finally:
            shard.close()
    role["done"] = True
    work.journal.save()
    if part.limit and n < min(part.limit, part.most or part.limit):
        print(f"{part.role}: the source ends after {n:,} of the {part.limit:,} tokens", file=sys.stderr)


def _fill(work: _Work, part: Part, stream: RowStream, shard: GrowingShard, n: int, tick: Ticker) -> int:
    """Write one shard to its end, with checkpoints; returns the number of ids of the role so far."""
    role, shard_tokens = work.journal.roles[part.role], work.journal.head["shard_tokens"]
    marked = shard.n_tokens
    while shard.n_tokens < shard_tokens and len(ids := _next_ids(stream, part, n, work.end_of_text)):
        ids = ids[: min(shard_tokens, marked + work.checkpoint_tokens) - shard.n_tokens]
        shard.append(ids)
        stream.advance(len(ids))
        n += len(ids)
        tick(len(ids))
        if shard.n_tokens - marked >= work.checkpoint_tokens:
            marked = shard.n_tokens
            role["open"] = {"file": shard.path.name, **shard.checkpoint(), **_standing(stream)}
            work.journal.save()
    entry = shard.finish()
    counts = _counts(work, shard.path, role["shards"])
    role["shards"].append({**entry, **counts, **_standing(stream)})
    role["open"] = None
    work.journal.save()
    return n


def _standing(stream: RowStream) -> dict[str, Any]:
    return {"next": list(stream.place), "pads": stream.n_pads}


def _counts(work: _Work, path: Path, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """Documents that begin in a shard (None when <|endoftext|> is unknown); bytes, unknown tokens and spelt-out space
    marks (None and 0 without a tokenizer).  Tokens hang on those before them, across blocks and shards.
    """
    ids, mark, table = read_shard(path), work.end_of_text, work.table
    before = np.asarray(read_shard(work.folder / earlier[-1]["file"])[-2:], np.int64) if earlier else np.array([-1])
    after_mark = not earlier or before[-1] == mark
    n_documents = n_bytes = n_unknown = n_marks = 0
    for start in range(0, len(ids), BLOCK_TOKENS):
        block = np.asarray(ids[start : start + BLOCK_TOKENS], np.int64)
        marks = block == mark if mark is not None else np.zeros(len(block), bool)
        n_documents += int((after_mark and not marks[0]) + (marks[:-1] & ~marks[1:]).sum())
        after_mark = bool(marks[-1])
        if table is not None:
            n_bytes += table.total(block, int(before[-1]))
            n_unknown += table.n_unknown(block)
            n_marks += table.n_space_marks(np.concatenate((before, block)))
            before = np.concatenate((before, block))[-2:]
    return {
        "documents": None if mark is None else n_documents,
        "bytes": None if table is None else n_bytes,
        "unknown": n_unknown,
        "space_marks": n_marks,
    }


def _entered(work: _Work, part: Part) -> RowStream:
    """The stream of a part at the place where writing goes on."""
    place, n_pads = work.journal.standing(part.role)
    if not part.follows or work.journal.n_tokens(part.role):
        return RowStream(part.source, place, n_pads)
    stream = RowStream(part.source, work.journal.standing(part.follows)[0])
    n, skipped = work.journal.n_tokens(part.follows), replace(part, limit=part.offset, most=None)
    while part.offset and len(ids := _next_ids(stream, skipped, n, work.end_of_text)):
        stream.advance(len(ids))
        n += len(ids)
    return RowStream(part.source, stream.place)


def _next_ids(stream: RowStream, part: Part, n: int, end_of_text: int | None) -> np.ndarray:
    """Ids that stand ready and belong to the part of which n are taken; none at its end."""
    ids = stream.ready()
    if part.most is not None:
        ids = ids[: max(0, part.most - n)]
    if part.limit is None or not len(ids):
        return ids
    if n < part.limit:
        return ids[: part.limit - n]
    ids = ids[: max(0, part.limit + part.slack - n)]
    if end_of_text is None:  # then nothing tells where a document begins
        return ids[:0]
    marks = np.flatnonzero(ids == end_of_text)
    return ids[: marks[0]] if len(marks) else ids


def _shown(parts: list[Part], journal: ImportJournal, show: bool) -> AbstractContextManager[Ticker]:
    if not show:
        return nullcontext(lambda amount=1, note="": None)
    sizes = [part.limit or part.source.n_tokens for part in parts]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    return progress("import", total, "tokens", sum(journal.n_tokens(role) for role in SPLITS))


def _finished(work: _Work, tokenizer: TextEncoder | None) -> Corpus:
    """Write tokenizer and manifest, take the journal away."""
    journal, folder = work.journal, work.folder
    splits = {role: _entry(journal.roles[role]["shards"], work.table) for role in SPLITS}
    if not splits["train"]["tokens"]:
        raise WeightlessError(f"{journal.head['name']} holds no tokens to train on; nothing was imported")
    hashes = [[role, shard["sha256"]] for role in SPLITS for shard in splits[role]["shards"]]
    digest = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    if tokenizer is None:
        for file in (TOKENIZER, PIECES):
            (folder / file).unlink(missing_ok=True)
    else:
        save_tokenizer(tokenizer, folder)
    are = {"bytes_are": None if tokenizer is None else BYTES_BY_IDS}
    write_json(folder / MANIFEST, {**journal.head, "corpus_sha256": digest, **are, "splits": splits})
    journal.path.unlink(missing_ok=True)
    for stem in (f"{journal.head['name']}_*.bin", f"{journal.path.name[:40]}.*", f"{MANIFEST}.*", "tokenizer.*"):
        for leftover in folder.glob(f".{stem}.part"):
            leftover.unlink()
    return corpus(folder)


def _entry(shards: list[dict[str, Any]], table: ByteTable | None) -> dict[str, Any]:
    def total(key: str) -> int | None:
        values = [shard[key] for shard in shards]
        return None if None in values else sum(values)

    plain = [{key: shard[key] for key in ("file", "tokens", "sha256")} for shard in shards]
    n_unknown, n_marks = total("unknown") or 0, total("space_marks") or 0
    refused = told_of_ids(n_unknown, n_marks, table is not None and table.folds_case)
    return {
        "documents": total("documents"),
        "bytes": total("bytes"),
        "source_bytes": None,
        "unknown_tokens": n_unknown,
        "bits_per_byte_refused": refused,
        "tokens": total("tokens"),
        "pads_left_out": shards[-1]["pads"] if shards else 0,
        "shards": plain,
    }
