"""What bytes are coded with, and how they are laid out before: names that a squeezed artifact may hold, no others.

    stored                    as they are
    zlib                      deflate without a frame
    zstd                      a frame of Zstandard
    lzma                      LZMA2 without a frame, with the usual contexts (lc 3, lp 0, pb 2)
    lzma_bytes                the same for codes of a byte each, which depend on nothing before them (lc 0, lp 0, pb 0)
    lzma_words                the same for codes in words of 32 bits: a byte's place in the word matters (lc 0, lp 2)
    brotli                    a stream of Brotli, whose package is not installed everywhere

    none                      bytes in order
    planes2 planes4           the first bytes of all numbers of two (four) bytes, then all second bytes, and so on
    columns                   the first bytes of all rows, then all second bytes, and so on
    delta1 delta2 delta4      every number less the one above it in the row before, modulo 256 (2^16, 2^32), then planes

Nothing is ever unpacked beyond the size that was asked for, whatever a stream says of itself.
Errors: ValueError with the reason (the caller knows which file and says so); WeightlessError naming a missing package.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError, nearest

CODERS = ("stored", "zlib", "zstd", "lzma", "lzma_bytes", "lzma_words", "brotli")
FAMILIES = ("zlib", "zstd", "lzma", "brotli")
USUAL_FAMILIES = ("zlib", "zstd", "lzma")
"""Those that every installation can read."""
TRANSFORMS = ("none", "planes2", "planes4", "columns", "delta1", "delta2", "delta4")
_CONTEXTS = {"lzma": (3, 0, 2), "lzma_bytes": (0, 0, 0), "lzma_words": (0, 2, 2)}
_LARGEST_DICTIONARY = 1 << 26
_ZSTD_LEVEL, _ZSTD_WINDOW = 22, 27
_BROTLI_WINDOW = 24


def coders_of(families: Iterable[str]) -> tuple[str, ...]:
    """The coders of families by name; ConfigError naming the nearest family, WeightlessError for a missing package."""
    families = tuple(families)
    for name in families:
        if name not in FAMILIES:
            raise ConfigError(f"no such coder {name!r}: {nearest(name, FAMILIES)}")
        if name == "brotli":
            _brotli("writing")
    return ("stored", *(coder for coder in CODERS if coder.partition("_")[0] in families))


def coded(content: bytes, coder: str, level: int = 9) -> bytes:
    """`content` in one coder; `level` 9 is the smallest that it can, 1 the fastest."""
    if coder == "stored":
        return content
    if coder == "zlib":
        return min((_deflated(content, level, how) for how in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)), key=len)
    if coder == "zstd":
        return (
            _zstd("writing")
            .ZstdCompressor(level=_ZSTD_LEVEL if level == 9 else 3, write_checksum=False, write_content_size=False)
            .compress(content)
        )
    if coder == "brotli":
        return _brotli("writing").compress(content, quality=11 if level == 9 else 4, lgwin=_BROTLI_WINDOW)
    return lzma.compress(content, lzma.FORMAT_RAW, filters=_filters(coder, len(content), level))


def _deflated(content: bytes, level: int, strategy: int) -> bytes:
    """Codes that repeat nothing are smaller where no repetition is looked for."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(content) + packer.flush()


def decoded(packed: bytes, coder: str, n_bytes: int, where: str = "a file") -> bytes:
    """The `n_bytes` bytes that were coded; ValueError when the stream is damaged or holds more or less."""
    try:
        content, is_whole = _decoded(packed, coder, n_bytes, where)
    except (zlib.error, lzma.LZMAError, EOFError, MemoryError) as error:
        raise ValueError(f"its {coder} stream is damaged ({error})") from None
    if len(content) != n_bytes or not is_whole:
        raise ValueError(f"its {coder} stream does not hold the {n_bytes} bytes that it should")
    return content


def _decoded(packed: bytes, coder: str, n_bytes: int, where: str) -> tuple[bytes, bool]:
    """(at most n_bytes + 1 bytes, whether the stream ended with them and the input with the stream)."""
    if coder == "stored":
        return packed, True
    if coder == "zlib":
        opener = zlib.decompressobj(-15)
        content = opener.decompress(packed, n_bytes + 1)
        return content, opener.eof and not opener.unused_data
    if coder == "zstd":
        return _unzstd(packed, n_bytes, where)
    if coder == "brotli":
        return _unbrotli(packed, n_bytes, where)
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(coder, n_bytes))
    content = reader.decompress(packed, n_bytes + 1)
    return content, reader.eof and not reader.unused_data


def _unzstd(packed: bytes, n_bytes: int, where: str) -> tuple[bytes, bool]:
    zstandard = _zstd(f"reading {where}")
    try:
        claimed = zstandard.frame_content_size(packed)  # -1: it does not say; what it says would be allocated
        if claimed not in (-1, n_bytes):
            return b"", False
        opener = zstandard.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW)
        return opener.decompress(packed, max_output_size=max(1, n_bytes), allow_extra_data=False), True
    except zstandard.ZstdError as error:
        raise ValueError(f"its zstd stream is damaged ({error})") from None


def _unbrotli(packed: bytes, n_bytes: int, where: str) -> tuple[bytes, bool]:
    brotli = _brotli(f"reading {where}")
    reader, parts, length, given = brotli.Decompressor(), [], 0, packed
    try:
        while length <= n_bytes and not reader.is_finished():
            part = reader.process(given, output_buffer_limit=n_bytes + 1 - length)
            if not part and not given:
                break
            parts.append(part)
            length, given = length + len(part), b""
    except brotli.error as error:
        raise ValueError(f"its brotli stream is damaged ({error})") from None
    return b"".join(parts), reader.is_finished()


def _filters(coder: str, n_bytes: int, level: int = 9) -> list[dict[str, Any]]:
    """LZMA2 with a dictionary of the content's size, so that writer and reader need not tell each other."""
    lc, lp, pb = _CONTEXTS[coder]
    size = min(_LARGEST_DICTIONARY, max(4096, 1 << max(0, n_bytes - 1).bit_length()))
    preset = 6 if level == 9 else 1
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": size, "lc": lc, "lp": lp, "pb": pb}]


def transformed(rows_RB: np.ndarray, transform: str) -> bytes:
    """uint8 [R, B] -> its bytes in the order of a transform, which `fits` them."""
    numbers_RN = np.ascontiguousarray(rows_RB)
    width, rows = width_of(transform, rows_RB.shape[1]), len(rows_RB)
    if transform.startswith("delta"):
        wide_RN = numbers_RN.view(f"<u{width}")
        numbers_RN = np.concatenate([wide_RN[:1], np.diff(wide_RN, axis=0)]).view(np.uint8)
    return np.ascontiguousarray(numbers_RN.reshape(rows * (rows_RB.shape[1] // width), width).T).tobytes()


def restored(content: bytes, transform: str, rows: int, columns: int) -> np.ndarray:
    """The uint8 [rows, columns] that `transformed` was given."""
    width = width_of(transform, columns)
    planes = np.frombuffer(content, np.uint8).reshape(width, rows * columns // width)
    rows_RB = np.ascontiguousarray(planes.T).reshape(rows, columns)
    if transform.startswith("delta"):
        wide_RN = rows_RB.view(f"<u{width}")
        return np.cumsum(wide_RN, axis=0, dtype=wide_RN.dtype).view(np.uint8)
    return rows_RB


def width_of(transform: str, columns: int) -> int:
    """Bytes of a number that the transform takes apart, in rows of so many."""
    return 1 if transform == "none" else max(1, columns) if transform == "columns" else int(transform[-1])


def fits(transform: str, rows: int, columns: int) -> bool:
    """Whether rows of so many bytes hold whole numbers of the transform's width, at least one of them."""
    return transform == "none" or (rows > 0 and columns > 0 and columns % width_of(transform, columns) == 0)


def _zstd(what: str) -> ModuleType:
    try:
        import zstandard
    except ImportError:
        raise WeightlessError(f"{what} needs the package zstandard: pip install zstandard") from None
    return zstandard


def _brotli(what: str) -> ModuleType:
    try:
        import brotli
    except ImportError:
        brotli = None
    if not hasattr(getattr(brotli, "Decompressor", None), "can_accept_more_data"):
        raise WeightlessError(f"{what} needs the package brotli, 1.2 or later: pip install 'brotli>=1.2'")
    return brotli  # type: ignore[return-value]
