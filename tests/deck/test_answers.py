"""Answers become files by written rules, and never outside of their folder.

Oracle: the table below, made by reading the rules; the system's own listing of the folder above.
"""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError
from weightless.deck.answers import MOST_FILES, Answer, answer_of, write_answer
from weightless.deck.file_names import checked_name, checked_path, name_of

CODE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("above", "info", "first"),
    [
        ("", "python solution.py", ""),
        ("", "python:solution.py", ""),
        ("", "solution.py", ""),
        ("", 'py title="solution.py"', ""),
        ("", "{.python filename=solution.py}", ""),
        ("### solution.py", "python", ""),
        ("## 1. `solution.py`", "python", ""),
        ("**solution.py**", "python", ""),
        ("**File: `solution.py`**\n", "python", ""),
        ("Filename: ./solution.py", "", ""),
        ("Here is the code for `solution.py`:", "py", ""),
        ("", "python", "# solution.py"),
        ("", "python", "# file: solution.py"),
        ("", "", "// solution.py"),
        ("Some words before it.", "python", ""),
        ("", "Python3", ""),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_name_is_found_wherever_the_rules_look_for_it(above, info, first, fence):
    code = (first + "\n" if first else "") + CODE
    answer = answer_of(f"Words.\n\n{above}\n{fence}{info}\n{code}{fence}\nMore words, of `other.py`.\n")
    assert answer == Answer({"solution.py": code}, ())


def test_of_unnamed_blocks_the_one_with_the_wanted_names_is_taken_and_the_others_are_told_of():
    longer = "def test_double():\n    " + "assert double(2) == 4\n    " * 9 + "\n"
    text = f"```python\n{CODE}```\nand\n```python\n{longer}```\n```\n$ python solution.py\n```\n```cuda\nint x;\n```\n"
    assert answer_of(text, ["double"]) == Answer(
        {"solution.py": CODE, "solution.cu": "int x;\n"}, ("2 blocks without a file name left out",)
    )
    assert answer_of(text).files["solution.py"] == longer


def test_a_block_may_hold_fences_of_another_length_and_the_last_of_a_name_counts():
    text = f"````python solution.py\n'''\n```\n'''\n````\nNo, rather:\n```py solution.py\n{CODE}```\n"
    assert answer_of(text).files == {"solution.py": CODE}
    assert answer_of(text.split("No,")[0]).files == {"solution.py": "'''\n```\n'''\n"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would rather not.", None),
        ("", None),
        (f"```python solution.py\n{CODE}", "cut off"),
        ("<think>```python solution.py\nx = 1\n```", "thinking"),
        (f"<think>hm</think>```\n{CODE}", "cut off"),
        (f"```python ../solution.py\n{CODE}```", "leads out"),
        (f"```python /etc/solution.py\n{CODE}```", "no relative path"),
        (f"```python a/../../solution.py\n{CODE}```", "leads out"),
        (f"```python ..\\solution.py\n{CODE}```", "no relative path"),
        (f"### `C:\\solution.py`\n```python\n{CODE}```", "no relative path"),
        (f"```python ~/solution.py\n{CODE}```", "letters, digits"),
        (f"```python .hidden.py\n{CODE}```", "letters, digits"),
        (f"```python con.py\n{CODE}```", "device"),
        (f"```python a/b/c/d.py\n{CODE}```", "folders deep"),
        (f"```python {'n' * 70}.py\n{CODE}```", "characters"),
        (f"```sh run.sh\n{CODE}```", "ends in none"),
        (f"```PROMPT.md\n{CODE}```", "would replace"),
        ("```python solution.py\nx = '\0'\n```", "NUL"),
        (f"```python solution.py\n#{'x' * 2_000_000}\n```", "2,000,000"),
    ],
)
def test_what_is_no_file_is_left_out_and_told(text, told):
    answer = answer_of(text)
    assert answer.files == {}
    assert len(answer.left_out) == bool(told)
    assert all(told in line for line in answer.left_out)


def test_a_text_that_is_python_needs_no_fence_and_words_are_no_python():
    assert answer_of(CODE).files == {"solution.py": CODE}
    assert answer_of("<think>a\n```\nb</think>\n" + CODE).files == {"solution.py": "\n" + CODE}
    assert answer_of("print").files == {}


def test_the_number_of_files_has_an_end_and_twins_are_told():
    many = "".join(f"```python f{i}.py\n{CODE}```\n" for i in range(MOST_FILES + 3))
    answer = answer_of(many + f"```python F0.py\n{CODE}```\n")
    assert len(answer.files) == MOST_FILES and len(answer.left_out) == 4
    assert "one file" in answer.left_out[-1]


def test_files_are_written_inside_and_through_no_link(tmp_path):
    (tmp_path / "card").mkdir()
    (tmp_path / "secret").mkdir()
    assert write_answer(Answer({"solution.py": CODE, "a/b.py": "x\ud800"}, ()), tmp_path / "card") == [
        "a/b.py",
        "solution.py",
    ]
    assert (tmp_path / "card/a/b.py").read_text() == "x\\ud800"
    (tmp_path / "card/out").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="is a link"):
        write_answer(Answer({"out/b.py": "x"}, ()), tmp_path / "card")
    (tmp_path / "card/link.py").symlink_to(tmp_path / "secret/there.py")
    write_answer(Answer({"link.py": CODE}, ()), tmp_path / "card")
    assert list((tmp_path / "secret").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", "../x", "/etc", "a/b", "a\\b", ".", "..", "-n", ".x", "a b", "ä", "a\n", "x" * 65, "NUL", "com1.txt", "a."],
)
def test_names_that_are_no_folder_everywhere_are_refused(name):
    with pytest.raises(ConfigError):
        checked_name(name)


def test_names_that_are_taken():
    assert [checked_name(name) for name in ("trial", "Qwen3-0.6B", "a_b", "1", "x" * 64)][0] == "trial"
    assert name_of("qwen/qwen3-coder:free") == "qwen-qwen3-coder-free" and name_of("x" * 99) == "x" * 64
    assert str(checked_path("./a/b.py")) == "a/b.py"
    with pytest.raises(ConfigError, match="-n NAME"):
        name_of("///")
