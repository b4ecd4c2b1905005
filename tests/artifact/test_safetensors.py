"""Files of the safetensors format: read as the `safetensors` package does, refused where they contradict themselves.

Oracle: the `safetensors` package, both ways; for damage, the table of what a header may not say.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from weightless.artifact.safetensors import Outgoing, open_safetensors, write_safetensors
from weightless.base.errors import CorruptFileError, WeightlessError

NUMBERS = {"a.weight": np.arange(15, dtype=np.float32).reshape(3, 5), "b": np.array([1.5, -2], np.float16)}
HALF = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


def file_of(header: object, data: bytes, path, length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_files_of_the_package_are_read_as_they_are(tmp_path):
    numpy_of = pytest.importorskip("safetensors.numpy", reason="the extra hub is not installed")
    numpy_of.save_file({**NUMBERS, "empty": np.zeros((0, 7), np.float32), "mask": np.ones(3, np.bool_)}, tmp_path / "x")
    found = open_safetensors(tmp_path / "x")
    assert {name: (e.dtype, e.shape) for name, e in found.entries.items()} == {
        "a.weight": ("F32", (3, 5)),
        "b": ("F16", (2,)),
        "empty": ("F32", (0, 7)),
        "mask": ("BOOL", (3,)),
    }
    for name, array in NUMBERS.items():
        assert found.bytes_of(name).tobytes() == array.tobytes()
        assert not found.bytes_of(name).flags.writeable
    assert found.bytes_of("empty").size == 0


def test_what_is_written_the_package_reads(tmp_path):
    numpy_of = pytest.importorskip("safetensors.numpy", reason="the extra hub is not installed")
    parts = {name: [array[:1], array[1:]] for name, array in NUMBERS.items()}
    kinds = {"a.weight": "F32", "b": "F16"}
    with open(tmp_path / "x", "wb") as file:
        write_safetensors(file, [Outgoing(n, kinds[n], a.shape, iter(parts[n])) for n, a in NUMBERS.items()])
    for name, array in numpy_of.load_file(tmp_path / "x").items():
        assert array.dtype == NUMBERS[name].dtype and np.array_equal(array, NUMBERS[name])
    assert (8 + int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")) % 8 == 0


def changed(**fields):
    return {"b": {**HALF, **fields}}


DAMAGED = {
    "not_json": (b"{]", b"", "not valid|describes its tensors wrongly"),
    "a_list": (b"[]", b"", "not an object"),
    "twice": (b'{"b": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}, "b": {}}', b"1234", "occurs twice"),
    "nan": (b'{"b": NaN}', b"", "NaN"),
    "deep": (b'{"b": ' + b"[" * 5000 + b"]" * 5000 + b"}", b"", "nested"),
    "metadata": ({"__metadata__": {"format": 3}}, b"", "metadata"),
    "no_shape": ({"b": {"dtype": "F16", "data_offsets": [0, 4]}}, b"1234", "dtype, shape and data_offsets"),
    "more_keys": (changed(code="x"), b"1234", "dtype, shape and data_offsets"),
    "unknown_dtype": (changed(dtype="F12"), b"1234", "unknown dtype 'F12'"),
    "dtype_is_a_number": (changed(dtype=3), b"1234", "unknown dtype 3"),
    "negative_shape": (changed(shape=[-2, -1]), b"1234", "impossible shape"),
    "shape_of_floats": (changed(shape=[2.0]), b"1234", "impossible shape"),
    "shape_of_truth": (changed(shape=[True, 2]), b"1234", "impossible shape"),
    "huge_shape": (changed(shape=[2**40, 2**40]), b"1234", "impossible shape"),
    "many_axes": (changed(shape=[1] * 9 + [2]), b"1234", "impossible shape"),
    "negative_offset": (changed(data_offsets=[-4, 0]), b"1234", "lies at"),
    "backwards": (changed(data_offsets=[4, 0]), b"1234", "lies at"),
    "three_offsets": (changed(data_offsets=[0, 2, 4]), b"1234", "lies at"),
    "too_few_bytes": (changed(data_offsets=[0, 3]), b"123", "takes 4 bytes"),
    "a_gap": (changed(data_offsets=[2, 6]), b"123456", "leaves a gap"),
    "an_overlap": ({"a": HALF, "b": {**HALF, "data_offsets": [2, 6]}}, b"123456", "overlaps"),
    "the_same_bytes_twice": ({"a": HALF, "b": HALF}, b"1234", "overlaps"),
    "a_rest": (changed(), b"12345", "belong to none"),
    "cut_short": (changed(), b"123", "was cut short.*download it again"),
}


@pytest.mark.parametrize("case", DAMAGED.values(), ids=DAMAGED)
def test_a_header_that_contradicts_itself_is_refused(case, tmp_path):
    header, data, told = case
    path = file_of(header, data, tmp_path / "model.safetensors")
    with pytest.raises(CorruptFileError, match=told) as caught:
        open_safetensors(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "0 bytes, less than a safetensors header"),
        (b"1234567", "7 bytes"),
        (b"\xff" * 64, "too large to be true"),
        ((10**8).to_bytes(8, "little") + b"{}", "header alone takes 100000008 bytes, it holds 10"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "pointer of git-lfs.*git lfs pull"),
    ],
)
def test_what_is_no_such_file_is_told_apart(content, told, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptFileError, match=told):
        open_safetensors(tmp_path / "model.safetensors")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightlessError, match="No such file"):
        open_safetensors(tmp_path / "model.safetensors")
