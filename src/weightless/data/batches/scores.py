"""One number per document, by which windows can be ordered.

    length         tokens of the document, its <|endoftext|> included
    compression    bytes of zlib (level 6) over bytes of text: low is repetitive.  Short documents pay the 8 bytes of
                   zlib's frame and the lack of a past, so their ratio is higher; an empty one has ratio 1
    score          a file with one finite number per training document, in the order of the shards: JSON lines (a bare
                   number, or an object with "score"), or a one-dimensional .npy

All windows of a document that is longer than a window have its one score; cut long texts into documents first.
The compression ratio needs no model.  It is computed when a run begins, from the bytes of its tokens.
Errors: ConfigError when the number of scores is not the number of documents; CorruptFileError for what is no number.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.progress import progress

ZLIB_LEVEL = 6
_AT_ONCE = 512


def document_lengths(document_starts: np.ndarray) -> np.ndarray:
    """float64 tokens per document."""
    return np.diff(document_starts).astype(np.float64)


def compression_ratio(text: bytes) -> float:
    """Compressed bytes per byte of text."""
    return len(zlib.compress(text, ZLIB_LEVEL)) / len(text) if text else 1.0


def compression_ratios(
    tokens: Any,
    document_starts: np.ndarray,
    token_bytes: Sequence[bytes],
    end_of_text: int,
    show_progress: bool = False,
    n_threads: int | None = None,
) -> np.ndarray:
    """float64 ratio of every document's text; <|endoftext|> stands for no text.  zlib runs on `n_threads` threads."""
    n = len(document_starts) - 1
    pieces = list(token_bytes)
    pieces[end_of_text] = b""

    def ratios(first: int) -> np.ndarray:
        stop = min(first + _AT_ONCE, n)
        base = int(document_starts[first])
        ids = np.asarray(tokens[base : int(document_starts[stop])]).tolist()
        edges = (document_starts[first : stop + 1] - base).tolist()
        spans = zip(edges[:-1], edges[1:], strict=True)
        return np.array([compression_ratio(b"".join(map(pieces.__getitem__, ids[a:b]))) for a, b in spans])

    found = [np.zeros(0)]
    bar = progress("compression ratios", n, "documents") if show_progress else nullcontext(lambda _: None)
    with bar as tick, ThreadPoolExecutor(n_threads or cores()) as pool:
        for part in pool.map(ratios, range(0, n, _AT_ONCE)):
            found.append(part)
            tick(len(part))
    return np.concatenate(found)


def read_scores(path: str | Path, n_documents: int) -> np.ndarray:
    """float64 scores of a .npy or JSON-lines file, one per document."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightlessError(f"cannot read the score file {path}: {error.strerror}") from error
    values = _from_npy(path, content) if path.suffix.lower() == ".npy" else np.array(list(_from_lines(path, content)))
    if len(values) != n_documents:
        raise ConfigError(
            f"{path} has {len(values):,} scores, the training split {n_documents:,} documents; "
            "give one number per document, in the order of the shards"
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise CorruptFileError(f"{path}: score {int(bad[0])} is {values[bad[0]]}; scores are finite numbers")
    return values


def _from_npy(path: Path, content: bytes) -> np.ndarray:
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptFileError(f"{path} is not a .npy file of numbers: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iuf":
        raise CorruptFileError(f"{path} should hold a one-dimensional array of numbers")
    return values.astype(np.float64)


def _from_lines(path: Path, content: bytes) -> Iterator[float]:
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            value = value.get("score")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CorruptFileError(f'{path} line {number} is neither a finite number nor an object with "score"')
        yield float(value)
