"""recipes/books_text.py.  Oracle: the published SHA-256 of both texts.

The clone is made from the real text, cut at its marks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import lzma
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def books(request):
    spec = importlib.util.spec_from_file_location("books_text", request.config.rootpath / "recipes" / "books_text.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clone(books, tmp_path_factory):
    """The listed files as an editor of another system might have saved them."""
    data = os.environ.get("WEIGHTLESS_DATA")
    if not data:
        pytest.skip("WEIGHTLESS_DATA names no folder with the books")
    folder = tmp_path_factory.mktemp("clone")
    for split, paths in books.listed().items():
        with lzma.open(Path(data, f"books_{split}.txt.xz")) as file:
            texts = file.read().split(books.END)
        assert texts.pop() == b"" and len(texts) == len(paths)
        for number, (path, text) in enumerate(zip(paths, texts)):
            ends = (b"\n", b"\r\n", b"\r")[number % 3]
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(b"\n \n" + text.replace(b"\n", ends) + ends * 2)
    return folder


def test_both_texts_are_rebuilt_to_the_byte(books, clone, tmp_path, capsys):
    assert books.main([str(clone), str(tmp_path / "out")]) == 0
    assert "115,144,789 bytes" in capsys.readouterr().out
    for split, expected in books.SHA256.items():
        assert hashlib.sha256((tmp_path / "out" / f"books_{split}.txt").read_bytes()).hexdigest() == expected


def test_a_changed_or_missing_book_leaves_nothing(books, clone, tmp_path, capsys):
    path = clone / books.listed()["valid"][0]
    before = path.read_bytes()
    try:
        for content, message in [
            (before + b"!", "git -C"),
            (b"\xff" + before, "not UTF-8 (byte 0)"),
            (None, "no such"),
        ]:
            path.unlink() if content is None else path.write_bytes(content)
            assert books.main([str(clone), str(tmp_path)]) == 2
            err = capsys.readouterr().err
            assert message in err and err.count("\n") == 1 and not list(tmp_path.iterdir())
    finally:
        path.write_bytes(before)


def test_the_list_and_plain_mistakes(books, tmp_path, capsys):
    assert {split: len(paths) for split, paths in books.listed().items()} == {"train": 263, "valid": 13}
    (tmp_path / "file").write_bytes(b"")
    wrong = [[], ["x"], [tmp_path / "none", tmp_path / "o"], [tmp_path, tmp_path / "o"], [tmp_path, tmp_path / "file"]]
    for arguments in wrong:
        assert books.main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("books_text: ") and err.count("\n") == 1
    assert books.main(["--help"]) == 0
