"""What a tokenizer is trained on: paths (.gz .xz .zst are unpacked) or byte strings, each a document of its own.

    documents(inputs) -> Iterator[Path | bytes]         total_size(inputs) -> bytes, where that is known
    blocks(document) -> Iterator[bytes]                 held_if_small(inputs, limit) -> (texts | None, inputs)

Errors: ConfigError for anything else; a file that cannot be opened raises WeightlessError where it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from weightless.base.compressed import COMPRESSED, open_bytes
from weightless.base.errors import ConfigError

BLOCK_BYTES = 1 << 19


def documents(inputs: object) -> Iterator[Path | bytes]:
    """Each input as a path or a byte string; ConfigError for anything else."""
    if isinstance(inputs, (str, Path, bytes, bytearray, memoryview)):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise ConfigError(f"training inputs should be a path, paths or an iterable of bytes, not {inputs!r}")
    for item in inputs:
        if isinstance(item, (str, Path)):
            yield Path(item)
        elif isinstance(item, (bytes, bytearray, memoryview)):
            yield bytes(item)
        else:
            raise ConfigError(f"a training input is {type(item).__name__}; give paths or bytes (encode str to UTF-8)")


def total_size(inputs: object) -> float | None:
    """Bytes of all inputs, when that is known without reading them (for a progress bar)."""
    if isinstance(inputs, (bytes, bytearray)):
        return len(inputs)
    items = [inputs] if isinstance(inputs, (str, Path)) else inputs
    if not isinstance(items, (list, tuple)):
        return None
    paths = [Path(item) for item in items if isinstance(item, (str, Path))]
    if any(path.suffix.lower() in COMPRESSED for path in paths):
        return None
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    return sum(sizes) + sum(len(item) for item in items if isinstance(item, (bytes, bytearray)))


def blocks(document: Path | bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """The content of a document, piece by piece."""
    if isinstance(document, bytes):
        for at in range(0, len(document), size):
            yield document[at : at + size]
        return
    with open_bytes(document) as file:
        while block := file.read(size):
            yield block


def held_if_small(inputs: Any, limit: int) -> tuple[list[bytes] | None, Any]:
    """(the content of every document, the same) when all have at most `limit` bytes, else (None, the inputs again).

    What is asked to see whether it is small is held and given back, so that an iterator loses nothing; a file that
    can be read only once (a pipe) is never small.
    """
    held: list[bytes] = []
    seen: list[Path | bytes] = []
    left, every = limit, documents(inputs)
    for document in every:
        seen.append(document)
        content = _content_if_small(document, left)
        if content is None:
            return None, inputs if isinstance(inputs, (list, tuple, str, Path, bytes)) else chain(seen, every)
        held.append(content)
        left -= len(content)
    return held, held


def _content_if_small(document: Path | bytes, limit: int) -> bytes | None:
    if isinstance(document, bytes):
        return document if len(document) <= limit else None
    if not document.is_file() and document.exists():
        return None
    if document.is_file() and document.suffix.lower() not in COMPRESSED and document.stat().st_size > limit:
        return None
    content = b""
    for block in blocks(document):
        content += block
        if len(content) > limit:
            return None
    return content
