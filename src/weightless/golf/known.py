"""Published constants of the canonical validation set, by which a log can be held to what it was scored on.

    bytes per token = loss / (ln 2 * bits per byte)

Every lossless tokenizer stands for the same 151,080,891 bytes of text; a stream that is cut to whole windows has some
hundred fewer.  An older export of the same set is longer; scores on it are not comparable with the others.
"""

from __future__ import annotations

from weightless.base.units import LN2

BYTES_PER_TOKEN = {1024: 2.43593, 4096: 3.31968, 8192: 3.72663}
"""By vocabulary of the published SentencePiece models."""
FULL_BYTES = 151_080_891
NEW_TOKENS, NEW_BYTES = 62_021_632, 151_080_363
"""At a vocabulary of 1,024, cut to windows of 1,024."""
OLD_TOKENS, OLD_BYTES = 63_779_840, 155_769_746
RECORD_NATS = 0.005
"""What a record has to gain per token."""
TOLERANCE = 3e-4
"""Relative: logs print four digits of a loss and of bits per byte."""
CUT_SHARE = 1e-4
"""Share of the stream that may be cut off, to whole windows of several thousand tokens and for several processes."""


def bytes_per_token(loss: float | None, bpb: float | None) -> float | None:
    """What a loss in nats and its bits per byte imply; None without both."""
    return loss / (LN2 * bpb) if loss is not None and bpb is not None and bpb > 0 else None


def vocabulary_of(per_token: float) -> int | None:
    """The vocabulary whose constant this is."""
    return next((v for v, known in BYTES_PER_TOKEN.items() if abs(per_token / known - 1) <= TOLERANCE), None)


def is_old_export(tokens: int | None, n_bytes: int | None, per_token: float | None) -> bool:
    """Whether a score is of the older export, by its counts or by what loss and bits per byte imply."""
    if OLD_TOKENS == tokens or OLD_BYTES == n_bytes:
        return True
    old = OLD_BYTES / OLD_TOKENS
    return per_token is not None and tokens is None and abs(per_token / old - 1) <= TOLERANCE


def doubt(per_token: float, tokens: int | None) -> str:
    """Why bytes per token are none of the known ones, in words; empty when they are, or when the text's length fits."""
    if vocabulary_of(per_token) is not None:
        return ""
    if tokens is not None and abs(per_token * tokens / FULL_BYTES - 1) <= CUT_SHARE + TOLERANCE:
        return ""
    nearest = min(BYTES_PER_TOKEN, key=lambda v: abs(per_token / BYTES_PER_TOKEN[v] - 1))
    off = 100 * (per_token / BYTES_PER_TOKEN[nearest] - 1)
    told = f"{per_token:.5f} bytes per token are of no known tokenizer (nearest sp{nearest}: {off:+.1f} %)"
    if tokens is not None:
        told += f"; they make {per_token * tokens:,.0f} bytes of {tokens:,} tokens, the set has {FULL_BYTES:,}"
    return told
