"""Squeezed artifacts.  Oracle: the artifact that was squeezed, byte for byte; damage is a CorruptFileError."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.artifact import StoredTensor, open_artifact, write_artifact
from weightless.artifact import coders as room
from weightless.artifact.coders import CODERS, TRANSFORMS, coded, coders_of, decoded, fits, restored, transformed
from weightless.artifact.squeezed import (
    is_squeezed,
    scale_columns,
    squeeze,
    squeezed_bytes,
    squeezed_section,
    unsqueeze,
)
from weightless.artifact.unsqueezing import HEAD_BYTES, Part, dumped_description, loaded_description, unsqueezed
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.quant.formats import encode_rows
from weightless.quant.layout import code_bytes, row_bytes

FIELDS = struct.Struct("<4sB3xIIQ32s")
FORMATS = ("f32", "bf16", "int8", "int8_row", "int6", "int4", "int3_g32", "t2_g128_s8", "t5", "binary")


def installed(coder: str) -> str:
    """The coder, or a skip where it needs a package that is not here."""
    if coder == "brotli":
        pytest.importorskip("brotli")
    return coder


def trained_like(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Numbers as training leaves them: of heavier tails than normal ones, columns of different sizes."""
    rng = np.random.default_rng(seed)
    return (rng.laplace(size=(rows, cols)) * rng.lognormal(0, 0.5, cols)).astype(np.float32)


def model_file(path: Path, seed: int = 0, rows: int = 63) -> Path:
    """An artifact with tensors of many formats, rows padded to 64 bytes where they are looked up."""
    tensors = []
    for i, fmt in enumerate(FORMATS):
        stored = encode_rows(trained_like(rows, 96 + 32 * (i % 2), seed + i), fmt)
        stride = -(-stored.shape[1] // 64) * 64 if i % 3 == 0 else stored.shape[1]
        padded = np.pad(stored, ((0, 0), (0, stride - stored.shape[1])))
        tensors.append(StoredTensor(f"block.{i}.w", fmt, (rows, 96 + 32 * (i % 2)), stored.shape[1], stride, padded))
    ids = np.sort(np.random.default_rng(seed).integers(0, 10**6, (rows, 1)).astype("<u4"), axis=0)
    tensors.append(StoredTensor("ids", "u32", (rows, 1), 4, 4, ids.view(np.uint8)))
    tensors.append(StoredTensor("zeros", "f32", (1, 1023), 4092, 4092, np.zeros((1, 4092), np.uint8)))
    write_artifact(path, {"family": "dense", "config": {"d_model": 64}, "notes": {"é": 0.1}}, tensors)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return model_file(tmp_path_factory.mktemp("squeezed") / "model.wl")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    """A squeezed file of a few kilobytes."""
    path = tmp_path_factory.mktemp("small") / "model.wl"
    stored = encode_rows(trained_like(31, 64), "int4")
    tensors = [
        StoredTensor("embed", "int4", (31, 64), stored.shape[1], stored.shape[1], stored),
        StoredTensor("norm", "f32", (1, 64), 256, 256, trained_like(1, 64).view(np.uint8)),
    ]
    write_artifact(path, {"family": "dense"}, tensors)
    return squeezed_bytes(path)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("coder", CODERS)
@settings(max_examples=8, deadline=None)
@given(
    rows=st.sampled_from([0, 1, 2, 7, 63]),
    columns=st.sampled_from([0, 1, 3, 4, 34, 68]),
    kind=st.sampled_from(["random", "constant", "trained"]),
    seed=st.integers(0, 2**31),
)
def test_every_coder_and_transform_gives_the_bytes_back(coder, transform, rows, columns, kind, seed):
    installed(coder)
    rng = np.random.default_rng(seed)
    if kind == "trained":
        content_RB = encode_rows(trained_like(rows, columns, seed), "int8_row")[:, :columns]
    else:
        content_RB = np.full((rows, columns), seed % 256, np.uint8)
        if kind == "random":
            content_RB = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    if not fits(transform, rows, columns):
        return
    laid = transformed(content_RB, transform)
    assert sorted(laid) == sorted(content_RB.tobytes()) or transform.startswith("delta")
    packed = coded(laid, coder)
    back = decoded(packed, coder, rows * columns) if rows * columns or coder == "stored" else laid
    np.testing.assert_array_equal(restored(back, transform, rows, columns), content_RB)


def test_transforms_are_what_they_say():
    """By hand: two rows of two numbers of two bytes."""
    rows = np.array([[1, 2, 3, 4], [5, 6, 7, 9]], np.uint8)
    assert list(transformed(rows, "planes2")) == [1, 3, 5, 7, 2, 4, 6, 9]
    assert list(transformed(rows, "columns")) == [1, 5, 2, 6, 3, 7, 4, 9]
    assert list(transformed(rows, "delta1")) == [1, 2, 3, 4, 4, 4, 4, 5]
    assert list(transformed(rows, "delta2")) == [1, 3, 4, 4, 2, 4, 4, 5]
    assert list(transformed(rows[::-1], "delta4")) == [5, 252, 6, 251, 7, 251, 9, 250]


@pytest.mark.parametrize("coder", [c for c in CODERS if c != "stored"])
def test_a_stream_gives_what_was_asked_for_or_nothing(coder):
    """Bombs: ten million zeros in a stream that should hold a hundred; and streams with an end that is not theirs."""
    installed(coder)
    bomb = coded(bytes(10**7), coder)
    tracemalloc.start()
    for wrong in (coded(bytes(99), coder), coded(bytes(101), coder), bomb, b"", bomb[:-1]):
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=coder):
            decoded(wrong, coder, 100)
        assert tracemalloc.get_traced_memory()[1] < 10**6  # of the ten million
    tracemalloc.stop()
    with pytest.raises(ValueError, match=coder):
        decoded(coded(bytes(100), coder) + b"x", coder, 100)
    assert decoded(coded(bytes(100), coder), coder, 100) == bytes(100)


def test_a_frame_that_claims_a_size_is_not_believed():
    """zstd allocates what a frame says it holds; ours says nothing, and another claim is refused before."""
    zstandard = pytest.importorskip("zstandard")
    claiming = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(1 << 24))
    assert zstandard.frame_content_size(claiming) == 1 << 24
    tracemalloc.start()
    with pytest.raises(ValueError, match="zstd"):
        decoded(claiming, "zstd", 100)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_opens_to_the_same_artifact(plain, tmp_path):
    out, back = tmp_path / "model.wlz", tmp_path / "back.wl"
    n_bytes = squeeze(plain, out)
    assert n_bytes == out.stat().st_size < plain.stat().st_size
    assert is_squeezed(out) and not is_squeezed(plain) and not is_squeezed(tmp_path / "none")
    one, other = open_artifact(plain), open_artifact(out)
    assert (one.meta, one.entries) == (other.meta, other.entries) and other.path == out
    np.testing.assert_array_equal(one.data, other.data)
    assert not other.data.flags.writeable and other.data.ctypes.data % 64 == 0
    assert unsqueeze(out, back) == plain.stat().st_size and back.read_bytes() == plain.read_bytes()
    assert squeezed_bytes(out) == out.read_bytes()


@pytest.mark.parametrize("family", ["zlib", "zstd", "lzma", "brotli"])
def test_one_family_of_coders_is_enough(plain, family):
    installed(family)
    content = squeezed_bytes(plain, (family,))
    assert {part.coder.partition("_")[0] for part in parts_of(content)} <= {family, "stored"}
    assert unsqueezed(content, "x").tobytes() == plain.read_bytes()


def test_the_smallest_of_all_measured_ways_is_taken():
    """Brute force over all that is offered, on a part small enough to be measured whole."""
    stored = encode_rows(trained_like(512, 64), "int8_row")
    entry = make_entry("int8_row", 512, 64, stored.shape[1])
    found = squeezed_section(entry, stored, coders_of(room.USUAL_FAMILIES))
    codes = stored[:, :64]
    ways = [(t, c) for t in ("none", "planes4", "columns", "delta1") for c in CODERS if c != "brotli"]
    assert found.parts[0].n_bytes == min(len(coded(transformed(codes, t), c)) for t, c in ways)
    assert found.n_bytes == sum(part.n_bytes for part in found.parts)


@pytest.mark.parametrize("fmt", [*FORMATS, "int4_row", "int2_g128_s8", "f16", "u8", "u32"])
@pytest.mark.parametrize("cols", [2, 64, 66, 1022])
def test_scales_begin_where_the_layout_of_the_format_says(fmt, cols):
    entry = make_entry(fmt, 3, cols, row_bytes(fmt, cols))
    assert entry.row_bytes - scale_columns(entry) == code_bytes(fmt, cols)


def make_entry(fmt: str, rows: int, cols: int, n_bytes: int):
    from weightless.artifact import Entry

    return Entry("w", fmt, (rows, cols), n_bytes, n_bytes, 0, rows * n_bytes)


def parts_of(content: bytes) -> list[Part]:
    """All parts, read from the description."""
    return [part for section in loaded_description(described(content))[1] for part in section.parts]


def described(content: bytes) -> bytes:
    _, coder, coded_bytes, described_bytes, _, _ = FIELDS.unpack(content[: FIELDS.size])
    return decoded(content[HEAD_BYTES : HEAD_BYTES + coded_bytes], CODERS[coder], described_bytes)


def forged(content: bytes, text: bytes, behind: bytes = b"", artifact_bytes: int | None = None) -> bytes:
    """The file with another description, all checksums made to fit again."""
    _, coder, coded_bytes, _, n_bytes, sha256 = FIELDS.unpack(content[: FIELDS.size])
    packed = coded(text, CODERS[coder])
    n_bytes = n_bytes if artifact_bytes is None else artifact_bytes
    head = FIELDS.pack(b"WLZ1", coder, len(packed), len(text), n_bytes, sha256)
    digest = hashlib.sha256(head + packed).digest()[:16]
    return head + digest + packed + content[HEAD_BYTES + coded_bytes :] + behind


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        open_artifact(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 600
    return message.removeprefix(str(path))


def test_the_forger_of_these_tests_can_forge(small, tmp_path):
    """Otherwise every refusal below might be for a wrong checksum."""
    assert forged(small, described(small)) == small
    meta, sections = loaded_description(described(small))
    assert dumped_description(meta, sections) == described(small)


def test_descriptions_that_lie(small, tmp_path):
    path = tmp_path / "model.wlz"

    def said(change) -> str:
        plain = json.loads(described(small))
        change(plain["sections"])
        return refused(path, forged(small, json.dumps(plain, separators=(",", ":")).encode()))

    assert "not described by seven" in said(lambda s: s[0].pop())
    assert "not a size" in said(lambda s: s[0].__setitem__(2, -1))
    assert "not a size" in said(lambda s: s[0].__setitem__(2, 31.0))
    assert "add up" in said(lambda s: s[0].__setitem__(5, 35))
    assert "cannot be undone" in said(lambda s: s[0][6][0].__setitem__(2, "pickle"))
    assert "cannot be undone" in said(lambda s: s[0][6][0].__setitem__(1, "planes3"))
    assert "cut short" in said(lambda s: s[0][6][0].__setitem__(3, 10**9))
    assert "foreign bytes" in said(lambda s: s[0][6][0].__setitem__(3, 1))
    assert "by its checksum" in said(lambda s: s[0][6][0].__setitem__(4, 1))
    assert "larger than an artifact" in said(lambda s: s[0].__setitem__(2, 10**9))
    assert "two sections" in said(lambda s: s[1].__setitem__(0, "embed"))
    assert "does not match" in said(lambda s: s[0].__setitem__(0, "a b"))
    assert "does not give the artifact" in said(lambda s: s[1].__setitem__(0, "morn"))
    assert "artifact of" in said(lambda s: s[1].__setitem__(0, "another"))


def test_sizes_that_nobody_needs_are_refused_before_anything_is_unpacked(small, tmp_path):
    path = tmp_path / "model.wlz"
    assert "more than any model" in refused(path, forged(small, described(small), artifact_bytes=1 << 40))
    assert "cut short" in refused(path, small[:40])
    fields = bytearray(small)
    fields[12:16] = (1 << 31).to_bytes(4, "little")
    assert "cannot be true" in refused(path, bytes(fields))


def test_a_sound_section_that_is_another_is_found(small, tmp_path):
    """One weight changed and its own checksums made to fit: the checksum of the whole still says so."""
    part = parts_of(small)[-1]
    content = bytearray(small)
    last = decoded(bytes(content[-part.n_bytes :]), part.coder, 256)
    packed = coded(bytes([last[0] ^ 1]) + last[1:], part.coder)
    plain = json.loads(described(small))
    plain["sections"][-1][6][-1][3:] = [len(packed), zlib.crc32(packed)]
    text = json.dumps(plain, separators=(",", ":")).encode()
    changed = forged(bytes(content[: -part.n_bytes]), text, packed)
    assert "does not give the artifact" in refused(tmp_path / "model.wlz", changed)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A random damage: bytes changed, cut out, put in, doubled; or the file cut short."""
    where, kind = int(rng.integers(len(content))), int(rng.integers(5))
    length = int(rng.integers(1, 9))
    noise = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    if kind == 0:
        return content[:where]
    if kind == 1:
        return content[:where] + bytes([content[where] ^ (1 << int(rng.integers(8)))]) + content[where + 1 :]
    if kind == 2:
        return content[:where] + noise + content[where + length :]
    if kind == 3:
        return content[:where] + content[where + length :]
    return content[:where] + noise + content[where:]


def try_damages(small: bytes, path: Path, n: int, seed: int) -> None:
    rng, tried = np.random.default_rng(seed), 0
    while tried < n:
        content = damaged(small, rng)
        if content != small:
            if content[:4] != b"WLZ1":  # another kind of file: the magic is all that says which it is
                path.write_bytes(content)
                with pytest.raises(CorruptFileError):
                    open_artifact(path)
            else:
                refused(path, content)
            tried += 1


def test_random_damage(small, tmp_path):
    try_damages(small, tmp_path / "model.wlz", 400, 0)


@pytest.mark.slow
def test_ten_thousand_random_damages(small, tmp_path):
    try_damages(small, tmp_path / "model.wlz", 10_000, 1)


@pytest.mark.slow
def test_every_byte_and_every_length(small, tmp_path):
    for at in range(len(small)):
        refused(tmp_path / "model.wlz", small[:at] + bytes([small[at] ^ 255]) + small[at + 1 :]) if at > 3 else None
        refused(tmp_path / "model.wlz", small[:at]) if at > 3 else None


def test_checksums_made_to_fit_do_not_help(small, tmp_path):
    """Random damage to the description, with the checksum of the head made to fit: refused, or the same."""
    rng, text = np.random.default_rng(2), described(small)
    original = unsqueezed(small, "x").tobytes()
    for _ in range(300):
        changed = damaged(text, rng)
        content = forged(small, changed)
        try:
            assert unsqueezed(content, "x").tobytes() == original
        except CorruptFileError as error:
            assert "\n" not in str(error)


def test_bad_requests(plain, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'zstd'"):
        squeezed_bytes(plain, ("zst",))
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    with pytest.raises(WeightlessError, match="needs the package brotli"):
        squeezed_bytes(plain, ("brotli",))
    broken = bytearray(plain.read_bytes())
    broken[5000] ^= 1
    (tmp_path / "broken.wl").write_bytes(broken)
    with pytest.raises(CorruptFileError, match="damaged bytes"):
        squeeze(tmp_path / "broken.wl", tmp_path / "out.wlz")
    assert not (tmp_path / "out.wlz").exists()


def test_a_file_that_needs_a_missing_package_says_so(small, tmp_path, monkeypatch):
    plain = json.loads(described(small))
    plain["sections"][0][6][0][2] = "brotli"
    path = tmp_path / "model.wlz"
    path.write_bytes(forged(small, json.dumps(plain, separators=(",", ":")).encode()))
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    with pytest.raises(WeightlessError, match=f"reading {path} needs the package brotli"):
        open_artifact(path)


def test_an_artifact_written_by_somebody_else_is_refused(plain, tmp_path):
    """Its JSON has spaces, so it would not come back bit for bit."""
    from artifact.test_damage import assemble

    content = plain.read_bytes()
    other = tmp_path / "other.wl"
    spaced = json.dumps(open_artifact(plain).meta).encode()
    other.write_bytes(assemble(content, meta=spaced))
    open_artifact(other)
    with pytest.raises(ConfigError, match="not written as this version writes"):
        squeezed_bytes(other)
