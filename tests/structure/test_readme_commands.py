"""The commands that README.md and docs/ show exist: each `./do NAME`, each `weightless VERB`, each option.

Oracle: the bootstrap's own table of commands, and the help text that the command line prints.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import runpy
import shlex
from pathlib import Path

from weightless.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PROMPT = re.compile(r"^\s*(?:\$ )?((?:\./do|weightless|python (?:train|eval)\.py)\b.*)$")


def shown_commands(markdown: str) -> list[list[str]]:
    """Command lines in fenced blocks, split into words, comments and continued lines resolved."""
    found = []
    for block in re.findall(r"^```(?:sh|bash|console|shell|text)?\n(.*?)^```", markdown, re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            if match := PROMPT.match(line):
                found.append(shlex.split(match.group(1), comments=True))
    return found


def as_verb(words: list[str]) -> list[str] | None:
    """The arguments that `weightless` gets, or None for a command of the bootstrap alone."""
    if words[0] == "weightless":
        return words[1:]
    if words[0] == "python":
        return [words[1].removesuffix(".py"), *words[2:]]
    if words[1:2] == ["run"]:
        return words[2:]
    return words[1:] if words[1:2] == ["demo"] else None


@functools.cache
def help_of(*verb: str) -> str:
    """What `weightless VERB --help` prints; '' when there is no such verb."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main([*verb, "--help"])
        except SystemExit as leaving:
            code = leaving.code
    return "" if code else printed.getvalue()


def problems_of(words: list[str], do_commands: set[str], helper=help_of) -> list[str]:
    """What is wrong with one shown command, in words."""
    line = " ".join(words)
    if words[0] == "./do" and words[1:2] and words[1] not in do_commands:
        return [f"{line}: ./do knows no {words[1]!r}"]
    verb = as_verb(words)
    if not verb or verb[0].startswith("-"):
        return []
    text = helper(verb[0])
    if not text:
        return [f"{line}: weightless knows no {verb[0]!r}"]
    if len(verb) > 1 and re.fullmatch(r"[a-z][a-z-]*", verb[1]):  # perhaps a verb of its own below the first
        text += helper(*verb[:2])
    options = [word.split("=")[0] for word in verb if word.startswith("--")]
    known = text.replace("_", "-")
    return [f"{line}: {option} is not in its help" for option in options if option.replace("_", "-") not in known]


def documents() -> list[Path]:
    return [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if path.exists()]


def test_shown_commands_exist():
    do_commands = set(runpy.run_path(str(ROOT / "do"), run_name="do")["COMMANDS"])
    lines = [words for path in documents() for words in shown_commands(path.read_text())]
    problems = [problem for words in lines for problem in problems_of(words, do_commands)]
    assert not problems, "\n".join(problems)


def test_a_command_that_does_not_exist_is_caught():
    block = (
        "$ ./do demo\n./do fly   # away\nweightless weigh x.wl --gently\nweightless hover\n"
        "./do run weigh \\\n  --deep_look\n"
    )
    text = f"```sh\n{block}```\n"
    known = {"weigh": "usage: weigh [--deep-look]", "demo": "usage: demo"}

    def helper(*verb: str) -> str:
        return known.get(" ".join(verb), "")

    words = shown_commands(text)
    assert words[-1] == ["./do", "run", "weigh", "--deep_look"]
    problems = [problem for line in words for problem in problems_of(line, {"demo", "run"}, helper)]
    assert problems == [
        "./do fly: ./do knows no 'fly'",
        "weightless weigh x.wl --gently: --gently is not in its help",
        "weightless hover: weightless knows no 'hover'",
    ]
