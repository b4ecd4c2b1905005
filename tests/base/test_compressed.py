"""Unpacking: the oracle is the text that was packed, or the format's own rule of what may follow a stream."""

from __future__ import annotations

import gzip
import lzma

import pytest
import zstandard

from weightless.base.compressed import open_bytes
from weightless.base.errors import CorruptFileError

TEXT = b"".join(b"line %d of a novel\n" % i for i in range(4000))
PACK = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}


def unpacked(path) -> bytes:
    with open_bytes(path) as stream:
        return stream.read()


@pytest.mark.parametrize("kind", PACK)
def test_streams_that_follow_one_another_are_read_to_the_end(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(PACK[kind](TEXT[:30_001]) + PACK[kind](b"") + PACK[kind](TEXT[30_001:]))
    assert unpacked(path) == TEXT


@pytest.mark.parametrize("n_zeros", [4, 8, 8192])
def test_xz_padding_hides_no_stream_behind_it(tmp_path, n_zeros):
    """The .xz format, 2.2: stream padding is zeros, a multiple of four bytes, and a stream may follow."""
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(TEXT[:30_001]) + bytes(n_zeros) + lzma.compress(TEXT[30_001:]) + bytes(n_zeros))
    assert unpacked(path) == TEXT


@pytest.mark.parametrize(
    "behind", [b"junk junk", b"\0\0\0", b"\0\0\0\0junk", lzma.compress(TEXT)[:9], b"\0" + lzma.compress(TEXT)]
)
def test_what_follows_an_xz_stream_and_is_none_is_damage(tmp_path, behind):
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(TEXT) + behind)
    with pytest.raises(CorruptFileError, match="cannot be unpacked as xz"):
        unpacked(path)


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("n_missing", [1, 4, 8, 20])
def test_a_stream_cut_anywhere_is_damage(tmp_path, kind, n_missing):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(PACK[kind](TEXT)[:-n_missing])
    with pytest.raises(CorruptFileError, match=f"cannot be unpacked as {kind}"):
        unpacked(path)
