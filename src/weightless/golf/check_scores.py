"""Score a submission again, and hold its numbers to the artifact, the tokenizer and the text.

    check_artifact(folder, values) -> (findings, Packed)     unpacked, never unpickled; of which seed, model, tokenizer
    check_scores(packed, values, asked) -> findings            against a prepared corpus
    check_overlap(train, data) -> findings                     by document hash and by runs of 13 words

The artifact's own sample (`check_tokens`) is scored again and has to give the same loss to ROOM; so has the whole
stream where that is no more than was asked for, else a sample of it, within STANDARD_ERRORS of the claimed loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.file import opened_bytes
from weightless.audit.predictors.data_overlap import documents_of, overlap
from weightless.audit.predictors.findings import FAILED, NOT_APPLICABLE
from weightless.base.cores import cores
from weightless.base.errors import WeightlessError
from weightless.base.files import sha256_file
from weightless.base.units import bits_per_byte
from weightless.data.shards.corpus import MANIFEST, corpus
from weightless.evals.bits_per_byte import chosen_windows, whole_windows
from weightless.evals.scoring import score_windows
from weightless.export.packed import Packed, open_packed
from weightless.golf.findings import FAULT, Finding, fault, judged, number_of, ok, unchecked
from weightless.golf.names import ARTIFACT, PIECES, SUBMISSION
from weightless.golf.scoring import raw_bytes
from weightless.golf.stream import Stream, stream_of
from weightless.program.cost import n_parameters

ROOM = 2e-4
"""Nats per token, relative above one: another machine adds in another order, and rounds caches at other places."""
SUMS = 1e-9
STANDARD_ERRORS = 5.0
MOST_COMPARED = 20_000_000
"""Training tokens of a corpus that are compared with its validation text without being asked."""
_RESCORE = "build the folder anew, with the artifact that is meant"


@dataclass(frozen=True)
class Again:
    """How much to score again."""

    data: Path
    tokens: int
    threads: int = 0


def check_artifact(folder: Path, values: dict[str, Any]) -> tuple[list[Finding], Packed | None]:
    """Open it and compare what it says of itself."""
    path = folder / ARTIFACT
    try:
        packed = open_packed(path)
        own = packed.tokenizer_sha256
        if packed.has_tokenizer:
            assert packed.tokenizer is not None
    except WeightlessError as error:
        return [fault("artifact", str(path), str(error), "squeeze it again from the .wl, or fetch it again")], None
    found = [ok("artifact", str(path), f"opens: {packed.family}, {n_parameters(packed.program):,} parameters")]
    told = {
        "artifact": ARTIFACT,
        "artifact_sha256": sha256_file(path),
        "opened_sha256": hashlib.sha256(opened_bytes(path).data).hexdigest(),
        "family": packed.family,
        "n_parameters": n_parameters(packed.program),
        "vocab_size": packed.program.vocab_size,
        "context": packed.program.context,
        "seed": packed.notes.get("seed"),
        "corpus_sha256": packed.notes.get("corpus_sha256"),
        "tokenizer_sha256": own,
    }
    wrong = [
        f"{key} is {_short(values[key])} in {SUBMISSION}, {_short(true)} in the artifact"
        for key, true in told.items()
        if key in values and values[key] != true and not (true is None and key == "corpus_sha256")
    ]
    tokenizers = [line for line in wrong if line.startswith("tokenizer")]
    others = [line for line in wrong if line not in tokenizers]
    found.append(
        judged("artifact and json", str(path), "; ".join(others), _RESCORE, "seed, model, text and hash agree")
    )
    remedy = "build the folder with the tokenizer that the model was trained with"
    found.append(judged("tokenizer", str(path), "; ".join(tokenizers), remedy, f"{_short(own)} in both"))
    return found, packed


def check_scores(packed: Packed, folder: Path, values: dict[str, Any], again: Again) -> Iterator[Finding]:
    """Findings of text, counts and losses."""
    where = str(folder / SUBMISSION)
    try:
        stream = stream_of(packed, again.data, "val", folder / PIECES)
    except WeightlessError as error:
        yield fault("data and tokenizer", str(again.data), str(error), "name the corpus that the folder was scored on")
        return
    same = _same_text(values, stream, again)
    yield same
    if same.verdict == FAULT:
        yield unchecked("scored again", where, "the data are not those that were scored")
        return
    yield _targets(where, values, stream, packed.program.context)
    yield from _sums(where, values)
    yield _bytes(where, values, stream, packed.program.context)
    yield from _losses(packed, where, values, stream, again)


def _same_text(values: dict[str, Any], stream: Stream, again: Again) -> Finding:
    told = {
        "corpus_sha256": stream.corpus_sha256,
        "tokenizer_sha256": stream.tokenizer_sha256,
        "val_tokens": len(stream.tokens),
        "val_sha256": stream.sha256,
    }
    wrong = [
        f"{key} is {_short(values.get(key))} in {SUBMISSION}, {_short(true)} in the data"
        for key, true in told.items()
        if true is not None and values.get(key) != true
    ]
    return judged(
        "data and tokenizer",
        str(again.data),
        "; ".join(wrong),
        "name the corpus that it was scored on, made with the model's own tokenizer",
        f"the ids that were scored: {len(stream.tokens):,}, SHA-256 {stream.sha256[:12]}",
    )


def _targets(where: str, values: dict[str, Any], stream: Stream, context: int) -> Finding:
    """Every target once: as many as the stream has, without those cut to whole windows, or those of the sample."""
    name, there, claimed = "every target once", stream.n_targets, values.get("eval_tokens")
    cut, remedy = (
        _count(values, "cut_tokens"),
        "score every target once: later windows only their last `stride` targets",
    )
    if type(claimed) is not int:
        return unchecked(name, where, "eval_tokens is no number")
    if cut not in (0, there % context):
        wrong = f"{cut:,} targets are cut off, whole windows of {context:,} leave {there % context:,}"
        return fault(name, where, wrong, remedy)
    places = _places(values, stream, context)
    told, wrong = "a sample" if values.get("sampled") is True else "the stream", ""
    if claimed > len(places):
        twice = claimed - len(places)
        wrong = f"{claimed:,} targets were scored, {told} has {len(places):,}: {twice:,} of them twice"
        wrong += ", as windows do that overlap at the end"
    elif claimed < len(places):
        wrong = f"{claimed:,} targets were scored of {len(places):,} of {told}"
        wrong += "" if values.get("sampled") is True else ", and it does not say that they are a sample"
    return judged(name, where, wrong, remedy, f"{claimed:,} of {there:,}, {cut:,} cut off at the end")


def _places(values: dict[str, Any], stream: Stream, context: int) -> np.ndarray:
    """The targets that the record says were scored."""
    n_tokens = len(stream.tokens) - _count(values, "cut_tokens")
    if values.get("sampled") is not True:
        return np.arange(1, n_tokens)
    todo = chosen_windows(n_tokens, context, _stride(values, context), _count(values, "asked_tokens"))
    return np.concatenate([np.arange(scored, end) for _, scored, end in todo])


def _count(values: dict[str, Any], key: str) -> int:
    """A whole number of the record; 0 for anything else, which the schema has told."""
    value = values.get(key)
    return value if type(value) is int and 0 <= value < 1 << 62 else 0


def _stride(values: dict[str, Any], context: int) -> int:
    return min(_count(values, "stride"), context) or context


def _sums(where: str, values: dict[str, Any]) -> Iterator[Finding]:
    """val_loss, eval_nats and val_bpb are three forms of one sum."""
    keys = ("val_loss", "eval_nats", "eval_tokens", "eval_bytes", "val_bpb")
    loss, nats, tokens, n_bytes, bpb = (number_of(values, key) for key in keys)
    if loss is None or nats is None or tokens is None:
        return
    wrong = []
    if abs(loss * tokens - nats) > SUMS * max(1.0, abs(nats)):
        wrong.append(f"val_loss {loss:.6f} times {tokens:,} targets is {loss * tokens:.4f}, eval_nats says {nats:.4f}")
    if bpb is not None and n_bytes is not None and n_bytes >= 1:
        true = bits_per_byte(nats, int(n_bytes))
        if abs(true - bpb) > SUMS * max(1.0, true):
            wrong.append(f"val_bpb is {bpb:.6f}, {nats:.4f} nats over {n_bytes:,} bytes make {true:.6f}")
    yield judged("sums", where, "; ".join(wrong), "write what the sums say", "loss, nats and bits per byte are one sum")


def _bytes(where: str, values: dict[str, Any], stream: Stream, context: int) -> Finding:
    """The denominator: bytes of the raw text of the scored targets."""
    name, claimed = "bytes of raw text", values.get("eval_bytes")
    if type(claimed) is not int:
        return unchecked(name, where, "eval_bytes is no number")
    true = raw_bytes(stream, _places(values, stream, context))
    if true is None:
        wrong = f"{claimed:,} bytes are claimed, and nobody knows the bytes: {stream.refused}" if claimed else ""
        return judged(name, where, wrong, "leave val_bpb null", "unknown, and none are claimed")
    wrong = f"{claimed:,} bytes are claimed, the raw text has {true:,}" if claimed != true else ""
    if wrong and stream.rewritten and claimed == stream.decoded_bytes:
        wrong += ": they were counted from the text as the tokenizer normalises it"
    return judged(name, where, wrong, "divide by the bytes of the raw text", f"{true:,}, as claimed")


def _losses(packed: Packed, where: str, values: dict[str, Any], stream: Stream, again: Again) -> Iterator[Finding]:
    loss, small = number_of(values, "val_loss"), number_of(values, "check_loss")
    if loss is None or small is None:
        yield unchecked("scored again", where, "val_loss or check_loss is no number")
        return
    context = packed.program.context
    tokens, stride = stream.tokens, _stride(values, context)
    remedy = f"it is another artifact, or another text: {_RESCORE}"
    try:
        tokens = whole_windows(tokens, context) if _count(values, "cut_tokens") else tokens
        found, _, n = _again(packed, tokens, stride, _count(values, "check_tokens"), again.threads)
        wrong = _off(small, found, ROOM * max(1.0, found), n)
        yield judged("its sample scored again", where, wrong, remedy, f"{found:.6f} nats per token on {n:,} targets")
        asked = _count(values, "asked_tokens") if values.get("sampled") is True else 0
        limit = asked if asked and (not again.tokens or again.tokens >= asked) else again.tokens
        found, error, n = _again(packed, tokens, stride, limit, again.threads)
    except WeightlessError as problem:
        yield fault("scored again", where, str(problem), _RESCORE)
        return
    is_all = n == values.get("eval_tokens")
    room = ROOM * max(1.0, found) + (0.0 if is_all else STANDARD_ERRORS * error)
    told = f"{found:.6f} nats per token on {'all ' if is_all else 'a sample of '}{n:,} targets"
    wrong = _off(loss, found, room, n)
    yield judged("scored again", where, wrong, remedy, f"{told}, {loss:.6f} claimed (within {room:.6f})")


def _off(claimed: float, found: float, room: float, n: int) -> str:
    if abs(claimed - found) <= room:
        return ""
    return f"{claimed:.6f} nats per token are claimed, {found:.6f} found on {n:,} targets (within {room:.6f})"


def _again(packed: Packed, tokens: Any, stride: int, limit: int, threads: int) -> tuple[float, float, int]:
    """(nats per token, standard error of it by windows, targets)."""
    chosen = chosen_windows(len(tokens), packed.program.context, stride, limit)
    ids = np.concatenate([np.asarray(tokens[first:end], dtype=np.int64) for first, _, end in chosen])
    begins = np.cumsum([0, *(end - first for first, _, end in chosen)]).tolist()  # windows side by side, however far
    todo = [(b, b + scored - first, b + end - first) for b, (first, scored, end) in zip(begins, chosen)]
    found = score_windows(packed, ids, todo, threads or cores(), "scoring again")
    parts = np.array([found.nats[scored:end].mean() for _, scored, end in todo])
    at = np.concatenate([found.nats[scored:end] for _, scored, end in todo])
    error = float(parts.std(ddof=1) / len(parts) ** 0.5) if len(parts) > 1 else float("inf")
    return float(at.mean()), max(error, 0.02 * float(at.mean()) / len(parts) ** 0.5), len(at)


def check_overlap(data: Path, train: Path | None) -> Iterator[Finding]:
    """Is validation text in the training text: by the SHA-256 of documents and by runs of 13 words."""
    name, where = "validation text in training", str(train or data)
    if train is None and not (data / MANIFEST).exists():
        yield unchecked(name, where, "the training text is unknown", "name it with --train_data")
        return
    if train is None and corpus(data).n_tokens("train") > MOST_COMPARED:
        yield unchecked(name, where, "the training text is large", f"compare it with --train_data {data}")
        return
    try:
        found = overlap(documents_of(train or data, "train"), documents_of(data, "val"))
    except WeightlessError as error:
        yield unchecked(name, where, str(error))
        return
    for one in found.findings():
        if one.verdict == NOT_APPLICABLE:
            yield unchecked(name, where, one.detail)
            continue
        wrong = one.detail if one.verdict == FAILED else ""
        remedy = "train on other documents, or score on others"
        yield judged(f"{name}: {one.name}", where, wrong, remedy, one.detail)


def _short(value: Any) -> str:
    """A hash by its first digits."""
    text = str(value)
    return text[:12] if len(text) == 64 else text[:40]
