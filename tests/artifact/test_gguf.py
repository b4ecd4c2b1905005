"""GGUF files: read as the `gguf` package writes them, written so that it reads them, refused when damaged.

Oracle: the package, both ways; for damage, a table of what a header may not say, and that nothing but
CorruptFileError comes of bytes changed at random.
"""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from weightless.artifact.gguf import open_gguf
from weightless.artifact.gguf_writing import OutgoingBlocks, write_gguf
from weightless.base.errors import CorruptFileError, WeightlessError

KEYS = {
    "general.architecture": "tiny é\u2028",
    "a.flag": True,
    "a.count": 7,
    "a.share": 0.25,
    "a.texts": ["x", "", "Ġthe"],
    "a.none": [],
    "a.numbers": np.array([3, -1], np.int32),
    "a.scores": np.array([0.5, -2], np.float32),
}
NUMBERS = {"a.weight": np.arange(15, dtype=np.float32).reshape(3, 5), "b": np.array([1.5, -2, 0], np.float32)}


def small(path, keys=KEYS):
    with open(path, "wb") as file:
        blocks = [OutgoingBlocks(n, "F32", a.shape, iter([a[:1], a[1:]])) for n, a in NUMBERS.items()]
        write_gguf(file, keys, blocks)
    return path


def test_what_is_written_is_read_again(tmp_path):
    found = open_gguf(small(tmp_path / "x.gguf"))
    assert list(found.keys) == list(KEYS)
    for key, value in KEYS.items():
        assert np.array_equal(found.keys[key], value), key
    assert {name: (e.type, e.shape) for name, e in found.entries.items()} == {
        "a.weight": ("F32", (3, 5)),
        "b": ("F32", (3,)),
    }
    assert np.array_equal(found.rows("a.weight").view("<f4"), NUMBERS["a.weight"])
    assert np.array_equal(found.rows("b").view("<f4")[0], NUMBERS["b"]) and not found.rows("b").flags.writeable


def test_the_package_reads_what_is_written(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the extra interop is not installed")
    reader = gguf.GGUFReader(small(tmp_path / "x.gguf"))
    for key, value in KEYS.items():
        if key != "a.none":  # it cannot give back a list of nothing
            assert np.array_equal(reader.get_field(key).contents(), value), key
    for tensor in reader.tensors:
        assert np.array_equal(tensor.data, NUMBERS[tensor.name]) and tensor.data.shape == NUMBERS[tensor.name].shape


def test_what_the_package_writes_is_read(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the extra interop is not installed")
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "tiny")
    writer.add_uint8("a.u8", 200)
    writer.add_int64("a.i64", -(2**40))
    writer.add_float64("a.f64", 1e-300)
    writer.add_array("a.flags", [True, False])
    writer.add_array("a.texts", ["x", "é"])
    writer.add_custom_alignment(64)
    for name, array in NUMBERS.items():
        writer.add_tensor(name, array)
    writer.add_tensor("half", np.ones((2, 3), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_gguf(tmp_path / "x.gguf")
    assert found.keys["a.u8"] == 200 and found.keys["a.i64"] == -(2**40) and found.keys["a.f64"] == 1e-300
    assert found.keys["a.flags"].tolist() == [True, False] and found.keys["a.texts"] == ["x", "é"]
    assert found.entries["half"].type == "F16" and found.rows("half").view("<f2").tolist() == [[1, 1, 1]] * 2
    assert np.array_equal(found.rows("a.weight").view("<f4"), NUMBERS["a.weight"])


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def head(n_tensors: int, n_keys: int, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, n_tensors, n_keys)


def tensor(name: str, sizes, kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def padded(header: bytes, data: int) -> bytes:
    return header + bytes(-len(header) % 32) + bytes(data)


X = text("x")
FORGED = {
    "not a GGUF file": (b"GGML" + bytes(20), "no GGUF file"),
    "nothing": (b"", "no GGUF file"),
    "cut in the counts": (head(0, 0)[:20], "the number of keys takes 8 bytes"),
    "an old version": (head(0, 0, 1), "of version 1"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(16), "big-endian"),
    "countless tensors": (head(2**60, 0), "claims 1152921504606846976 tensors"),
    "countless keys": (head(0, 2**40), "claims 1099511627776 keys"),
    "a name too long": (head(0, 1) + struct.pack("<Q", 2**50) + bytes(9), "too long to be true"),
    "a name that goes on": (head(0, 1) + struct.pack("<Q", 500) + bytes(9), "takes 500 bytes"),
    "a name that is no text": (head(0, 1) + struct.pack("<Q", 1) + b"\xff" + bytes(9), "not UTF-8"),
    "a key twice": (head(0, 2) + (X + struct.pack("<II", 4, 1)) * 2, "'x' comes twice"),
    "a kind of none": (head(0, 1) + X + struct.pack("<II", 99, 1), "of kind 99"),
    "a truth value of 2": (head(0, 1) + X + struct.pack("<IB", 7, 2), "truth value of 2"),
    "a list of lists": (head(0, 1) + X + struct.pack("<IIQ", 9, 9, 1) + bytes(8), "list of kind 9"),
    "an endless list": (head(0, 1) + X + struct.pack("<IIQ", 9, 10, 2**61), "numbers of the key 'x'"),
    "endless texts": (head(0, 1) + X + struct.pack("<IIQ", 9, 8, 2**61), "texts of the key 'x'"),
    "an odd alignment": (head(0, 1) + text("general.alignment") + struct.pack("<II", 4, 12), "no power of two"),
    "no axes": (padded(head(1, 0) + tensor("t", (), 0, 0), 0), "0 axes"),
    "five axes": (padded(head(1, 0) + tensor("t", (1,) * 5, 0, 0), 4), "5 axes"),
    "an axis of nothing": (padded(head(1, 0) + tensor("t", (4, 0), 0, 0), 0), "impossible shape"),
    "a shape that overflows": (padded(head(1, 0) + tensor("t", (2**40, 2**40), 0, 0), 0), "impossible shape"),
    "an unknown type": (padded(head(1, 0) + tensor("t", (4,), 77, 0), 16), "type 77"),
    "half a block": (padded(head(1, 0) + tensor("t", (48,), 8, 0), 51), "holds 32 in a block"),
    "an offset between": (padded(head(1, 0) + tensor("t", (4,), 0, 4), 20), "no multiple of the alignment"),
    "data cut off": (padded(head(1, 0) + tensor("t", (4,), 0, 0), 15), "ends at byte 16"),
    "an offset beyond": (padded(head(1, 0) + tensor("t", (4,), 0, 2**62), 16), "leaves a gap"),
    "an overlap": (padded(head(2, 0) + tensor("t", (16,), 0, 0) + tensor("u", (4,), 0, 32), 64), "overlaps"),
    "a name twice": (padded(head(2, 0) + tensor("t", (4,), 0, 0) + tensor("t", (4,), 0, 32), 64), "'t' comes twice"),
    "a rest": (padded(head(1, 0) + tensor("t", (4,), 0, 0), 33), "belong to none"),
}


@pytest.mark.parametrize("case", FORGED.values(), ids=FORGED)
def test_what_contradicts_itself_is_refused(case, tmp_path):
    content, told = case
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(CorruptFileError, match="x.gguf") as caught:
        open_gguf(tmp_path / "x.gguf")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_the_smallest_sound_file_is_read(tmp_path):
    """The table's builder builds sound files, too."""
    (tmp_path / "x.gguf").write_bytes(padded(head(1, 0) + tensor("t", (4,), 0, 0), 32))
    assert open_gguf(tmp_path / "x.gguf").entries["t"].shape == (4,)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(WeightlessError, match="cannot read"):
        open_gguf(tmp_path / "nowhere.gguf")
    with pytest.raises(WeightlessError, match="cannot read"):
        open_gguf(tmp_path)


def test_every_cut_is_noticed(tmp_path):
    """The last byte that belongs to a tensor is the last that is needed: what follows only fills up."""
    whole = small(tmp_path / "whole").read_bytes()
    path = tmp_path / "x.gguf"
    needed = len(whole) - (-NUMBERS["b"].nbytes % 32)
    for n in (*range(0, needed, 5), *range(needed - 2, len(whole))):
        path.write_bytes(whole[:n])
        if n >= needed:
            open_gguf(path)
            continue
        with pytest.raises(CorruptFileError):
            open_gguf(path)


def test_bytes_changed_at_random(tmp_path):
    whole, rng = small(tmp_path / "whole").read_bytes(), random.Random(5)
    header, refused = len(whole) - 128, 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(header)] = rng.choice((0, 1, 255, rng.randrange(256)))
        (tmp_path / "x.gguf").write_bytes(bytes(content))
        try:
            found = open_gguf(tmp_path / "x.gguf")
            for name in found.entries:
                found.rows(name).sum()
        except CorruptFileError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 130 < refused < 400
