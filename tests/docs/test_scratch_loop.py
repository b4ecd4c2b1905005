"""The training loop of docs/scratch.md is run as it stands there.

Oracle: what the page says it prints; losses within 0.1 (threads and processors sum in another order, and 300 steps of
training make that larger), words not at all, but for the end of a story in none of them.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "scratch.md"
BEFORE = """
import math
import numpy as np
import torch
from weightless.scratch import *
from weightless.tokenizer import Tokenizer
"""


def loop_and_output() -> tuple[str, str]:
    page = PAGE.read_text("utf-8")
    found = re.findall(r"```python\n((?:(?!```).)*)```\n\nIt prints[^\n]*\n\n```text\n(.*?)```", page, re.S)
    assert len(found) == 1
    return found[0]


def numbers(text: str) -> list[float]:
    """Those of the lines about losses."""
    lines = [line for line in text.splitlines() if re.match(r"step \d+:|held out:", line)]
    return [float(number) for line in lines for number in re.findall(r"\d+\.\d+", line)]


@pytest.mark.slow
def test_the_loop_prints_what_the_page_says():
    code, said = loop_and_output()
    printed, threads = io.StringIO(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(printed):
            exec(BEFORE + code, {})
    finally:
        torch.set_num_threads(threads)
    assert len(numbers(said)) == 6
    assert numbers(printed.getvalue()) == pytest.approx(numbers(said), abs=0.1)
    assert printed.getvalue().count("temperature") == 3


def test_the_page_has_one_loop_and_its_output():
    code, said = loop_and_output()
    assert compile(code, str(PAGE), "exec") and len(numbers(said)) == 6 and ">>>" not in code
