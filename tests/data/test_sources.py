"""Oracle: hand-made files whose documents are known; the standard compressors; pyarrow's writer."""

from __future__ import annotations

import gzip
import io
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.data.text.documents import LONGEST_LINE, lines_of, split_at_marks, split_into_sections
from weightless.data.text.sources import open_source, read_documents

TEXT = "One fox.\n\nTwo foxes éä.\n".encode()


def read(path, **options):
    return list(read_documents(path, **options))


def test_marks_split_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n<|endoftext|>\ntwo\ntwo<|endoftext|>\n\n<|endoftext|>three, of <|endoftext|> talking\n")
    assert read(path) == [b"one\n", b"two\ntwo", b"three, of <|endoftext|> talking\n"]


@given(st.lists(st.sampled_from(["a", "bb ", "\n", "\n\n", "é", "long words here "]), max_size=60), st.integers(1, 40))
def test_sections_join_to_the_text(pieces, target):
    text = "".join(pieces).encode()
    sections = list(split_into_sections(lines_of(io.BytesIO(text)), target))
    assert b"".join(sections).strip() == text.strip()
    assert all(section.strip() for section in sections)


def test_sections_end_at_blank_lines():
    text = (b"word " * 20 + b"\n\n") * 1000
    sections = list(split_into_sections(lines_of(io.BytesIO(text))))
    assert b"".join(sections) == text
    assert all(16_000 <= len(section) <= 16_200 and section.endswith(b"\n\n") for section in sections[:-1])


def test_one_endless_line_is_cut_between_characters():
    text = "é".encode() * 50_001
    pieces = list(lines_of(io.BytesIO(text)))
    assert b"".join(pieces) == text and max(map(len, pieces)) <= LONGEST_LINE
    assert all(piece.decode() for piece in pieces)
    spaced = b"ab " * 40_000
    assert all(piece.endswith(b" ") for piece in lines_of(io.BytesIO(spaced)))


def test_marks_at_the_very_end_leave_no_empty_document():
    assert list(split_at_marks([b"a\n", b"<|endoftext|>"])) == [b"a\n"]


def _compress(suffix, content):
    if suffix == ".zst":
        import zstandard

        half = len(content) // 2
        pack = zstandard.ZstdCompressor().compress
        return pack(content[:half]) + pack(content[half:])  # two frames, as pzstd and cat make them
    return {".gz": gzip.compress, ".xz": lzma.compress}[suffix](content)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_compressed_files(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(_compress(suffix, TEXT))
    assert read(path) == [TEXT]
    rows = tmp_path / f"b.jsonl{suffix}"
    rows.write_bytes(_compress(suffix, b'{"text": "x"}\n\n{"text": "y"}\n'))
    assert read(rows) == [b"x", b"y"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", ["truncated", "garbage"])
def test_damaged_compressed_files_are_refused(tmp_path, suffix, damage):
    path = tmp_path / f"a.txt{suffix}"
    packed = _compress(suffix, TEXT * 1000)
    path.write_bytes(packed[:-9] if damage == "truncated" else b"not packed at all, just words")
    with pytest.raises(CorruptFileError, match="cannot be unpacked"):
        read(path)


def test_jsonl_errors_name_the_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n\n{"txt": "y"}\n')
    with pytest.raises(WeightlessError, match=r"line 3 has no field 'text': did you mean 'txt'"):
        read(path)
    path.write_text('{"text": "x"}\n{"text": ')
    with pytest.raises(CorruptFileError, match="line 2 is not JSON"):
        read(path)
    path.write_text('{"story": 3}\n')
    with pytest.raises(WeightlessError, match="line 1: field 'story' is not a string"):
        read(path, field="story")


def test_jsonl_lone_surrogate_becomes_a_question_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a\ud800b"}))
    assert read(path) == [b"a?b"]


def test_parquet(tmp_path):
    import pyarrow as arrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": ["é", None, " ", "b"], "n": [1, 2, 3, 4]}), path)
    assert read(path) == ["é".encode(), b"b"]
    with pytest.raises(WeightlessError, match="no column 'txt': did you mean 'text'"):
        read(path, field="txt")
    with pytest.raises(WeightlessError, match="holds int64"):
        read(path, field="n")
    whole = path.read_bytes()
    for damaged in (whole[:40], whole.replace(b"text", b"\x92ext")):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match="cannot be read as parquet"):
            read(path)


def test_folder_is_sorted_recursive_and_skips_what_is_not_text(tmp_path, capsys):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "z.md").write_bytes(b"zed")
    (tmp_path / "a.py").write_bytes(b"aye")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "e.txt").write_bytes(b"")
    (tmp_path / ".git" / "x.txt").write_bytes(b"hidden")
    assert read(tmp_path) == [b"aye", b"zed"]
    told = "left out 1 hidden (.git), 1 binary (c.png: it holds NUL bytes), 1 empty (e.txt)\n"
    assert capsys.readouterr().err.endswith(told)


def test_plain_errors(tmp_path):
    with pytest.raises(WeightlessError, match="no such file or folder"):
        open_source(tmp_path / "nothing")
    for content, message in [(b" \n\n", "no text"), (b"a\0b", "NUL"), (bytes(range(128, 256)) * 9, "not UTF-8")]:
        path = tmp_path / "x.txt"
        path.write_bytes(content)
        with pytest.raises(WeightlessError, match=message):
            read(path)


def test_mostly_valid_text_keeps_its_bytes(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("Der Bär läuft über die Brücke.".encode("latin-1"))
    assert read(path) == [path.read_bytes()]


def test_names_and_rereading(tmp_path):
    path = tmp_path / "my books (1).train.txt"
    path.write_bytes(b"text")
    source = open_source(path)
    assert source.name == "my_books_1"
    assert list(source) == list(source) == [b"text"]
    assert str(tmp_path) not in json.dumps(source.description)
