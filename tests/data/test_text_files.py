"""What a file is, and which files a folder has.  Oracle: the documents that json, pyarrow or zstandard have written."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import socket

import pytest
import zstandard

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.data.text.sources import open_source
from weightless.tokenizer import train_bpe
from weightless.tokenizer.opening import load_saved

DOCUMENTS = [f"document {i}: «é» \n and a second line" for i in range(40)]
ROWS = [{"id": i, "text": text, "meta": {"text": "inner"}} for i, text in enumerate(DOCUMENTS)]
FORMS = {
    "lines": "\n".join(map(json.dumps, ROWS)),
    "lines with blanks and CRLF": "\r\n\r\n".join(map(json.dumps, ROWS)) + "\r\n",
    "array": json.dumps(ROWS),
    "array, pretty": json.dumps(ROWS, indent=4, ensure_ascii=False),
    "array of strings": json.dumps(DOCUMENTS),
    "values, pretty": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "values without space": "".join(map(json.dumps, ROWS)),
    "byte order mark": "\ufeff" + json.dumps(ROWS),
}
NAMES = [
    "a.jsonl",
    "a.JSONL",
    "a.ndjson",
    "a.json",
    "a.Json",
    "a.json.gz",
    "a.JSONL.GZ",
    "a.jsonl.zst",
    "a.json.xz",
    "a.jsonl.gz.gz",
    "a.txt",
    "a",
    "part-00000",
    "a.TXT.gz",
]
PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}


def write(path, text):
    content, rest = text.encode() if isinstance(text, str) else text, path
    for _ in range(path.name.lower().count(".gz") + path.name.count(".xz") + path.name.count(".zst")):
        content, rest = PACK[rest.suffix.lower()](content), rest.with_suffix("")
    path.write_bytes(content)
    return path


def read(path, **options):
    return [document.decode() for document in open_source(path, **options)]


@pytest.mark.parametrize("name", NAMES)
def test_json_lines_are_read_under_every_name(tmp_path, name):
    assert read(write(tmp_path / name, FORMS["lines"])) == DOCUMENTS


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_json_gives_the_same_documents(tmp_path, form):
    for name in ("a.json", "a.JSONL.gz", "plain.txt"):
        assert read(write(tmp_path / name, FORMS[form])) == DOCUMENTS


def test_one_object_is_one_document(tmp_path):
    for text in (json.dumps(ROWS[0]), json.dumps(ROWS[0], indent=1), json.dumps([ROWS[0]]), json.dumps(DOCUMENTS[:1])):
        assert read(write(tmp_path / "a.json", text)) == DOCUMENTS[:1]


def test_long_values_are_read_whole(tmp_path):
    long = [{"text": "é" * n + '"\\\n'} for n in (300_000, 1, 700_000)]
    for text in ("\n".join(map(json.dumps, long)), json.dumps(long, ensure_ascii=False, indent=1)):
        assert read(write(tmp_path / "a.json", text)) == [row["text"] for row in long]


@pytest.mark.parametrize(
    "text",
    [
        "{curly} words begin this text.\nAnd more.\n",
        "[1] A footnote.\n",
        '["Hello," he said.]\n',
        "{}\nnothing\n",
        '{"open quote, never closed\nand so on',
        "{'python': 1}\n",
        "[link](there)\n",
        '"Quoted," she said.\n',
    ],
)
def test_text_that_merely_begins_so_is_text(tmp_path, text):
    assert read(write(tmp_path / "a.txt", text)) == [text]


@pytest.mark.parametrize(
    "text", ['{"a": 1}\nThis is prose about it.\n', '[{"a": 1}, and so on]\n', '{"a": 1} {"b": oops}\n']
)
def test_what_could_be_both_is_refused_with_the_way_out(tmp_path, text):
    path = write(tmp_path / "a.txt", text)
    with pytest.raises(WeightlessError, match=r"begins like JSON.*rename it \.jsonl.*--field ''"):
        read(path)
    assert read(path, field="") == [text]


def test_json_as_plain_text(tmp_path):
    path = write(tmp_path / "a.jsonl", FORMS["lines"])
    assert "".join(read(path, field="")) == FORMS["lines"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"txt": "x"}', "line 1 has no field 'text': did you mean 'txt'.*--field"),
        ('{"text": "x"}\n{"text": 3}', "line 2: field 'text' is not a string"),
        ('{"text": "x"}\n"y"', "line 2 is a string, the rows before it are an object each"),
        ("[1, 2]", "line 1 is a number; a row is"),
        ('["a", ["b"]]', "line 1 is an array"),
        ('["a"]\n["b"]', "line 2: more follows behind the array"),
        ('[{"text": "x"}\n{"text": "y"}]', "line 2 is not JSON"),
        ('[{"text": "x"},\n{"text": "y"}', "line 2 is not JSON"),
        ('[{"text": "x"},\n]', "line 2 is not JSON"),
        ('{"text": "x"}\n{"text": "y"', "line 2 is not JSON"),
        ('{"text": "x"},\n{"text": "y"}', "line 1 is not JSON"),
        ("Just prose.", "line 1 is not JSON.*--field ''"),
        ("[" * 100_000, "is not JSON"),
        (b'{"text": "x"}\n{"text": "\xff"}', "line 2 is not UTF-8"),
        ("1" * 5_000, "is not JSON"),
    ],
)
def test_json_that_cannot_be_read_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(WeightlessError, match=message):
        read(write(tmp_path / "a.json", text))


def test_null_and_blank_rows_are_counted_in_json_as_in_parquet(tmp_path, capsys):
    import pyarrow as arrow
    from pyarrow import parquet

    texts = ["x", None, " \n", "y", None, ""]
    rows = write(tmp_path / "a.jsonl", "\n".join(json.dumps({"text": text}) for text in texts) + "\nnull")
    table = tmp_path / "b.PARQUET"
    parquet.write_table(arrow.table({"text": arrow.array(texts).dictionary_encode()}), table)
    for path, n_null in ((rows, 3), (table, 2)):
        source = open_source(path)
        assert list(source) == list(source) == [b"x", b"y"]
        assert source.left_out.counts == {"null": n_null, "blank": 2}
        assert capsys.readouterr().err.count(f"left out {n_null} null ({path.name}), 2 blank ({path.name})") == 1


def test_parquet_is_known_by_content_and_a_column_twice_is_refused(tmp_path):
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.table({"text": ["x"]}), tmp_path / "blob")
    assert read(tmp_path / "blob") == ["x"]
    parquet.write_table(arrow.table([arrow.array(["x"])] * 2, names=["text", "text"]), tmp_path / "twice.parquet")
    with pytest.raises(WeightlessError, match="several columns 'text': rename all but one"):
        read(tmp_path / "twice.parquet")


def test_a_byte_order_mark_is_no_text(tmp_path):
    for text in ("<|endoftext|>\none\n<|endoftext|>\ntwo\n", "one\n<|endoftext|>\ntwo\n"):
        assert read(write(tmp_path / "a.txt", "\ufeff" + text)) == ["one\n", "two\n"]
    assert read(write(tmp_path / "b.txt.gz", "\ufeffone")) == ["one"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_unicode_is_refused_by_name(tmp_path, encoding):
    begin = "" if encoding in ("utf-16", "utf-32") else "\ufeff"
    path = write(tmp_path / "a.txt", (begin + "words and words").encode(encoding))
    with pytest.raises(WeightlessError, match=encoding[:6].upper() + ".*iconv"):
        read(path)


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zst"])
def test_a_file_of_no_bytes_is_empty_under_every_name(tmp_path, ending, capsys):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / f"a.txt{ending}").write_bytes(b"")
    write(folder / f"b.jsonl{ending}", "")
    (folder / "c.txt").write_text("words")
    source = open_source(folder)
    assert list(source) == [b"words"] and source.left_out.counts == {"empty": 2}
    assert "left out 2 empty" in capsys.readouterr().err
    with pytest.raises(WeightlessError, match="no text in it"):
        read(folder / f"a.txt{ending}")


def test_links_are_followed_once(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    for folder, text in ((inside, "a"), (inside / "deep", "b"), (outside, "c")):
        (folder / f"{text}.txt").write_text(text)
    links = {
        "z-folder": outside,
        "loop": inside,
        "deep/up": "..",
        "a-again.txt": inside / "a.txt",
        "lost": "nowhere",
        "y-folder": outside,
        "one.txt": outside / "c.txt",
    }
    for name, target in links.items():
        (inside / name).symlink_to(target)
    (outside / "back").symlink_to(inside)
    source = open_source(inside)
    assert list(source) == [b"a", b"b", b"c"]
    assert source.left_out.counts == {"broken link": 1, "met already": 6}
    assert len(source.files()) == 3 and len(source.entries()) == 3


def test_a_linked_folder_or_file_is_a_source(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file.txt").symlink_to("real/a.txt")
    assert read(tmp_path / "link") == read(tmp_path / "file.txt") == ["a"]


def test_hidden_and_irregular_files_are_counted(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("hidden")
    (tmp_path / ".y.txt").write_text("hidden")
    (tmp_path / "a.txt").write_text("a")
    os.mkfifo(tmp_path / "pipe")
    source = open_source(tmp_path)
    assert list(source) == [b"a"] and source.left_out.counts == {"hidden": 2, "not regular": 1}


def test_what_can_be_read_once_only_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        named = {
            tmp_path / "pipe": "a pipe",
            f"/dev/fd/{reading}": "a pipe",
            "/dev/null": "a device",
            tmp_path / "socket": "a socket",
        }
        for path, kind in named.items():
            with pytest.raises(WeightlessError, match=f"is {kind}, and .* read several times"):
                open_source(path)
            with pytest.raises(WeightlessError, match=f"is {kind}, and .* read several times"):
                load_saved(path)
    os.close(reading)
    os.close(writing)


def test_long_windows_and_frames_of_all_kinds(tmp_path):
    text = ("".join(f"line {i}\n" for i in range(30_000)) * 2).encode()
    long = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True, hash_log=12, chain_log=12)
    packer = zstandard.ZstdCompressor(compression_params=long).compressobj()  # no size in the header: the window counts
    frame = packer.compress(text) + packer.flush()
    assert zstandard.get_frame_parameters(frame).window_size == 1 << 31
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    path = tmp_path / "a.txt.zst"
    path.write_bytes(frame + skippable + frame + PACK[".zst"](b"end\n"))
    assert "".join(read(path)).encode() == text * 2 + b"end\n"
    path.write_bytes(frame + frame[:-5])
    with pytest.raises(CorruptFileError, match="ends inside a frame"):
        read(path)


def test_a_tokenizer_is_trained_on_what_is_packed(tmp_path):
    text = b"some words and some more words\n" * 20
    plain = train_bpe(text, 280)
    assert all(train_bpe(write(tmp_path / f"a.txt{ending}", text), 280) == plain for ending in PACK)


def test_packed_text_under_a_plain_name_is_told(tmp_path):
    for ending, pack in PACK.items():
        (tmp_path / "a.txt").write_bytes(pack(b"words"))
        with pytest.raises(WeightlessError, match=f"it is packed; give it a name that ends with {ending}"):
            read(tmp_path / "a.txt")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list everything
    with pytest.raises(WeightlessError, match="cannot read .*closed: Permission denied"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.csv.gz"])
def test_a_table_is_plain_text_and_that_is_told(tmp_path, capsys, name):
    """No column of it is taken, which a reader of rows would expect."""
    table = b"id,text\n" + b"".join(b'%d,"some words"\n' % i for i in range(9))
    (tmp_path / name).write_bytes(gzip.compress(table) if name.endswith(".gz") else table)
    assert list(open_source(tmp_path / name)) == [table]
    assert "1 table(s)" in (told := capsys.readouterr().err) and name in told and "plain text" in told
