"""Which targets were scored, and how many bytes of text they stand for.

    bits per byte = sum of nats / (ln 2 * sum of bytes)     so     bytes per token = loss / (ln 2 * bits per byte)

Every target counts once, pads never; the bytes are those that the tokens decode to.  What goes wrong in public code:
the space of a SentencePiece piece counted twice, `<0x00>` counted as the six letters of its name, the bare U+2581
counted as nothing, U+FFFD counted for half a character, the tail of a sliding window scored twice.

    windows of seq_len tokens every stride, over `total` targets: start ws is used when ws + seq_len - stride < total;
    window 0 scores all its targets, every other one those from ws + seq_len - stride on

Targets are numbered as tokens of the stream: 1..n-1, because token 0 follows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from weightless.audit.predictors.findings import Finding, judged, skipped
from weightless.base.errors import ConfigError, CorruptFileError, nearest
from weightless.base.files import is_number, read_json
from weightless.base.units import LN2
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.kept_text import KeptText, changes
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

IDENTITY_TOLERANCE = 1e-4
"""Relative: logs print four or five digits of a loss."""
SHOWN = 3
NORMALISED = {True: "how characters are composed (NFC)", False: "white space and compatibility characters"}
"""What a byte-level tokenizer may rewrite, and what a SentencePiece model may."""


class TokenBytes:
    """The bytes of text that tokens stand for, by either kind of tokenizer; marks and pads stand for none."""

    def __init__(self, tokenizer: Tokenizer | SentencePieceTokenizer) -> None:
        self.tokenizer, self.table = tokenizer, tokenizer.byte_table
        self.vocab_size = tokenizer.vocab_size
        self.silent = frozenset(np.flatnonzero(self.table.boundary).tolist())

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """int64 [n - 1]: bytes of tokens[1:], each behind the one before it."""
        return self.table.bytes_of(tokens[:-1], tokens[1:])

    def decoded(self, tokens: np.ndarray) -> bytes:
        """The text of a stream, its marks and unknown tokens left out."""
        if isinstance(self.tokenizer, Tokenizer):
            return self.tokenizer.decode_bytes(tokens[~self.table.boundary[tokens]])
        pieces = np.split(tokens, np.flatnonzero(self.table.boundary[tokens]))
        unknown = -1 if self.table.unknown is None else self.table.unknown
        return b"".join(self.tokenizer.decode_bytes(piece[piece != unknown]) for piece in pieces)

    def compared(self, tokens: np.ndarray, text: bytes, source: bytes) -> KeptText:
        """What the tokens, which decode to `text`, keep of the source."""
        found = KeptText(len(source), len(text), self.table.n_unknown(tokens), self.table.n_space_marks(tokens))
        return found + changes(source, text) if self.table.rewrites and text != source else found

    def shown(self, token: int) -> str:
        """A token for a message."""
        return repr(self.tokenizer.token_bytes[token].decode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class Claim:
    """What an evaluation says of itself (the keys of eval.json), and the ranges of targets that it scored."""

    nats: float | None = None
    eval_tokens: int | None = None
    eval_bytes: int | None = None
    nats_per_token: float | None = None
    bits_per_byte: float | None = None
    bytes_per_token: float | None = None
    decode_tokens_per_second: float | None = None
    scoring_tokens_per_second: float | None = None
    scored_by: str | None = None
    """Whether tokens were scored in blocks or step by step."""
    stride: int | None = None
    """Windows began every so many tokens; None: side by side."""
    ranges: tuple[tuple[int, int], ...] | None = None
    sampled: bool = False
    """Whether only a part of the targets was scored, on purpose: then none may be twice, and the share is told."""

    @property
    def loss(self) -> float | None:
        """Nats per token, as stated or by the sums; None when there is neither."""
        if self.nats_per_token is not None:
            return self.nats_per_token
        return self.nats / self.eval_tokens if self.nats is not None and self.eval_tokens else None

    @classmethod
    def read(cls, path: str | Path) -> Claim:
        """From JSON; ConfigError for unknown keys, CorruptFileError for what is no number.

        Beside the fields it may hold `targets`: the places of the scored tokens one by one, as a log of losses does.
        """
        values = read_json(path)
        if not isinstance(values, dict):
            raise CorruptFileError(f"{path} should hold an object with keys such as nats_per_token and bits_per_byte")
        values.pop("bits_per_byte_refused", None)  # a reason, beside bits_per_byte = null
        known = {"targets", *(field.name for field in fields(cls))}
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{path}: unknown key {key!r}: {nearest(key, known)}")
            if key not in ("ranges", "targets", "sampled", "scored_by") and not (value is None or is_number(value)):
                raise CorruptFileError(f"{path}: {key} is {value!r:.40}, and should be a number")
        if not isinstance(values.get("scored_by"), str | None):
            raise CorruptFileError(f"{path}: scored_by is {values['scored_by']!r:.40}, and should be a word")
        if type(values.get("sampled", False)) is not bool:
            raise CorruptFileError(f"{path}: sampled is {values['sampled']!r:.40}, and should be true or false")
        for key in ("eval_tokens", "eval_bytes", "stride"):
            if (count := values.get(key)) is not None and (count != int(count) or count < 0):
                raise CorruptFileError(f"{path}: {key} is {count!r:.40}, and should be a whole number")
        if (log := values.pop("targets", None)) is not None:
            values["ranges"] = [(i, i + 1) for i in _whole_numbers(log, f"{path}: targets")]
        if (ranges := values.get("ranges")) is not None:
            values["ranges"] = tuple(map(tuple, _checked_ranges(ranges, str(path)).tolist()))
        return cls(**values)


def sliding_windows(total: int, seq_len: int, stride: int) -> list[tuple[int, int, int]]:
    """(window start, first target scored, end), counted from 0 .. total - 1, each target once."""
    if not 1 <= stride <= seq_len:
        raise ConfigError(f"stride {stride} is not in 1..{seq_len} (the length of a window)")
    starts = [0, *(ws for ws in range(stride, total, stride) if ws + seq_len - stride < total)]
    return [(ws, ws + seq_len - stride if ws else 0, min(ws + seq_len, total)) for ws in starts if total > 0]


def scored_once(ranges: Iterable[Sequence[int]], n_tokens: int, sampled: bool = False) -> Finding:
    """Whether ranges (first, end) cover the targets 1..n_tokens-1, each once (`sampled`: each at most once)."""
    name, counts = "every target once", _counts(ranges, n_tokens)
    targets, outside = counts[1:n_tokens], int(counts[:1].sum() + counts[n_tokens:].sum())
    twice, never = int((targets > 1).sum()), int((targets == 0).sum())
    problems = [f"{twice} targets are scored more than once (first {1 + int(np.argmax(targets > 1))})"] * (twice > 0)
    problems += [f"{never} are never scored (first {1 + int(np.argmax(targets == 0))})"] * (never > 0 and not sampled)
    problems += [f"{outside} scores lie outside the text"] * (outside > 0)
    told = (
        f"{len(targets) - never:,} of {len(targets):,} targets, by choice" if sampled else f"{len(targets):,} targets"
    )
    return judged(name, "; ".join(problems), f"{told}, each scored once")


def no_pad_scored(ranges: Iterable[Sequence[int]], is_pad: np.ndarray) -> Finding:
    """Whether no scored target is padding; is_pad bool [n_tokens]."""
    name, n_pads = "pads unscored", int(is_pad.sum())
    if not n_pads:
        return skipped(name, "the stream holds no padding")
    scored = int((_counts(ranges, len(is_pad))[: len(is_pad)] * is_pad).sum())
    return judged(name, f"{scored} scores of {n_pads} pads" if scored else "", f"none of {n_pads:,} pads is scored")


def _counts(ranges: Iterable[Sequence[int]], n_tokens: int) -> np.ndarray:
    """How often each target is scored, int64 [n_tokens + 1]; the last entry: whatever lies behind the text."""
    pairs = _checked_ranges(ranges, "the ranges")
    edges = np.zeros(n_tokens + 2, dtype=np.int64)
    inside = np.minimum(pairs, n_tokens)
    np.add.at(edges, inside[:, 0], 1)
    np.add.at(edges, inside[:, 1], -1)
    counts = np.cumsum(edges)[: n_tokens + 1]
    counts[n_tokens] = (pairs[:, 1] - np.maximum(pairs[:, 0], n_tokens)).clip(0).sum()
    return counts


def _checked_ranges(ranges: Iterable[Sequence[int]], where: str) -> np.ndarray:
    try:
        pairs = np.array([[int(first), int(end)] for first, end in ranges], dtype=np.int64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        raise CorruptFileError(f"{where} should be pairs [first, end] of whole numbers") from None
    if len(pairs) and (pairs.min() < 0 or (pairs[:, 0] > pairs[:, 1]).any()):
        raise CorruptFileError(f"{where}: a range begins below 0 or behind its end")
    return pairs


def _whole_numbers(values: object, where: str) -> list[int]:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise CorruptFileError(f"{where} should be a list of whole numbers")
    return values


def bytes_of_the_text(table: TokenBytes, tokens: np.ndarray, source: bytes | None = None, refused: str = "") -> Finding:
    """The table's bytes against what the tokens decode to, and that against the source where it is at hand.

    `refused` is what preparing the corpus found (tokenizer/kept_text.py).
    """
    name = "tokens hold the text"
    if source is None and (why := refused or table.table.why_refused(tokens)):
        return judged(name, f"bits per byte are refused: {why}", "")
    text = table.decoded(tokens)
    if source is not None and (why := table.compared(tokens, text, source).refused):
        return judged(name, f"bits per byte are refused: {why}", "")
    n = int(table.of(np.concatenate([[next(iter(sorted(table.silent)), tokens[0])], tokens])).sum())
    if n != len(text):
        return judged(name, f"the table counts {n:,} bytes, the tokens decode to {len(text):,}", "")
    if source is None:
        return judged(name, "", f"{n:,} bytes, as many as {len(tokens):,} tokens decode to")
    if text == source:
        return judged(name, "", f"{n:,} bytes, byte for byte those of the source")
    told = f"the tokens decode to {n:,} bytes, the source has {len(source):,}"
    if table.table.rewrites:
        return judged(
            name,
            "",
            f"{told}: normalisation changed {NORMALISED[isinstance(table.tokenizer, Tokenizer)]}; "
            "bits per byte count the first",
        )
    return judged(name, f"{told}, and they differ: the tokens are not those of this text", "")


def claimed_bytes(table: TokenBytes, tokens: np.ndarray, claimed: np.ndarray) -> Finding:
    """A predictor's own byte counts of tokens[1:] against the table, token by token."""
    true = table.of(tokens)
    wrong = np.flatnonzero(claimed != true)
    told = f"{int(true.sum()):,} bytes of {len(true):,} tokens"
    if not len(wrong):
        return judged("byte counts", "", told)
    shown = []
    for i in wrong.tolist():
        text = f"{table.shown(int(tokens[i + 1]))} as {claimed[i]}, it has {true[i]}"
        if text not in shown and len(shown) < SHOWN:
            shown.append(text)
    excess = 100 * (int(claimed.sum()) / max(1, int(true.sum())) - 1)
    return judged("byte counts", f"{excess:+.1f} % of {told}: counts {'; '.join(shown)}", "")


def identity(claim: Claim, true_bytes_per_token: float | None = None) -> Finding:
    """loss / (ln 2 * bpb) = bytes per token, by the claim's own numbers and by the text's.

    A claim without the two has its stated bytes per token held to the same.
    """
    name, told = "bytes per token", "loss / (ln 2 bpb)"
    tokens, loss = claim.eval_tokens or None, claim.loss
    if claim.bits_per_byte is not None and not claim.bits_per_byte > 0:
        return judged(name, f"{claim.bits_per_byte:g} bits per byte are claimed, and every text has more than 0", "")
    if loss is None or claim.bits_per_byte is None:
        if claim.bytes_per_token is None:
            return skipped(name, "no loss and bits per byte are claimed")
        implied, told = claim.bytes_per_token, "as stated"
    else:
        implied = loss / (LN2 * claim.bits_per_byte)
    others = {
        "the bytes it counted": claim.eval_bytes / tokens if claim.eval_bytes and tokens else None,
        "the bytes per token it states": claim.bytes_per_token,
        "the text": true_bytes_per_token,
    }
    compared = {where: value for where, value in others.items() if value is not None}
    for where, value in compared.items():
        if not abs(implied - value) <= IDENTITY_TOLERANCE * abs(value):
            off = f" ({100 * (implied / value - 1):+.1f} %)" if value else ""
            return judged(name, f"{told} = {implied:.5f}, by {where} {value:.5f}{off}", "")
    held = " and ".join(compared) or "nothing else"
    return judged(name, "", f"{told} = {implied:.5f}; held to {held}")
