"""The scanner finds what Python's parser finds.  Oracle: ast, on the standard library and on generated modules."""

from __future__ import annotations

import ast
import re
import sysconfig
import textwrap
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.data.text import docs_corpus
from weightless.data.text.docs_corpus import parsed_docstrings, scanned_docstrings
from weightless.data.text.docstring_scan import docstring_spans, quoted_bytes

LONG = "words that are long enough to be kept " * 4
Q = f'"""{LONG}"""'


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile before a test is timed."""
    docstring_spans(b"'x'")
    quoted_bytes(b"x")


def kept(texts):
    return [text for text in texts if len(text) >= docs_corpus._SMALLEST_DOCSTRING]


def agrees(content: bytes) -> bool:
    """Whether the scanner found something, which then is what the parser finds."""
    scanned = scanned_docstrings(content)
    if scanned is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # escapes of the generated text
            warnings.simplefilter("ignore", DeprecationWarning)  # the same before Python 3.12
            assert kept(scanned) == kept(parsed_docstrings(content)), content
    return scanned is not None


@pytest.mark.parametrize("letter", [pytest.param("a", marks=pytest.mark.slow), *"bcdelmstuz"])
def test_standard_library(letter):
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob(f"{letter}*.py"))
    assert files and sum(agrees(path.read_bytes()) for path in files) >= 0.9 * len(files)


FOUND = {
    "module": f"#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\n{Q}\n",
    "byte order mark": f"\ufeff{Q}\n",
    "class on one line": f"class A(Exception): {Q}\nclass B: pass\n",
    "long header": f"async def f(\n    a: int = 1,  # a comment: with a colon\n    b={{1: 2}},\n) -> dict[str, int]:\n"
    f"    # before it\n\n    '''{LONG}'''\n    return a\n",
    "joined header": f"class A \\\n  (B):\n  {Q}\n",
    "raw and escapes": f'def f():\n  r{Q[:-3]}\\n"""\ndef g():\n  {Q[:-3]}\\n\\x41\\\n joined"""\n'
    f'def h():\n  u"{LONG}"\n',
    "quotes inside": f"def f():\n  '''{LONG}\"\"\" it's \\''' '''\n",
    "semicolon and comment": f"def f():\n  {Q}; x = 1\ndef g():\n  {Q}  # why\n",
    "no docstrings": f"x = {Q}\nif x:\n  {Q}\ndef f():\n  x = 1\n  {Q}\ndefine = {Q}\ndef g():\n  {Q} % x\n"
    f"def h():\n  b{Q}\ndef i():\n  f{Q}\ndef j():\n  {Q}.strip()\n",
    "nested": f'def f():\n  """{LONG}1"""\n  class A:\n    """{LONG}2"""\n    def g(self): """{LONG}3"""\n  try:\n'
    f'    def h():\n      """{LONG}4"""\n  except E:\n    def h():\n      """{LONG}5"""\n  else:\n    def h():\n'
    f'      """{LONG}6"""\n  finally:\n    def h():\n      """{LONG}7"""\n',
    "match": f"match x:\n  case 1:\n    def f():\n      {Q}\n",
    "windows": f'def f():\r\n  {Q[:-3]}\r\n  more\r\n  """\r\n  return "\\\r\n"\r\n',
    "other letters": f'def naïve():\n  """Ünï {LONG} ☃ 𝄞"""\n',
    "strings in code": f"x = 'a # b' + \"c ' d\" + '''e \" f'''  # it's\ndef f():\n  \"\"\"{LONG}\"\"\"\n",
    "type parameters": f'class A:\n  def f(self, x: "B" = ":") -> "C:":\n    {Q}\n',
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name):
    content = FOUND[name].encode()
    assert agrees(content)
    ast.parse(content)
    assert bool(kept(parsed_docstrings(content))) == (name != "no docstrings")


@pytest.mark.parametrize(
    "content",
    [
        f'def f():\n  {Q} "side by side"\n',
        f'def f():\n  {Q} \\\n  "side by side"\n',
        f"def f():\n  ({Q})\n",
        f"{Q[:-3]}",
        f"def f(:\n  {Q}\n",
        f"def f)(:\n  {Q}\n",
        f'{Q}\nx = "open\n',
        f"# -*- coding: latin-1 -*-\n{Q}\n",
        f"{Q}\rx = 1\r",
        f"{Q}\nx = \\ 1\n",
        f"{Q}\n\0\n",
        f'{Q[:-3]} \\x4"""\n',
        f'{Q[:-3]} \udcff"""\n',
    ],
)
def test_in_doubt_the_parser_looks(content):
    assert scanned_docstrings(content.encode("utf-8", "surrogateescape")) is None


PIECES = [
    "def f():",
    "class A(B):",
    "async def g(x={1: 2}):",
    Q,
    f"r'''{LONG}\\d'''",
    "if x:",
    "x = '#'",
    "b" + Q,
    "# it's",
    "pass",
    "y = " + Q,
    "(1,",
    "2)",
    "\\",
    "@d",
    "",
    f'"{LONG}" "more"',
]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PIECES)), max_size=14))
def test_generated_modules(lines):
    content = "".join(f"{'  ' * depth}{piece}\n" for depth, piece in lines).encode()
    try:
        ast.parse(content)
    except SyntaxError:
        scanned_docstrings(content)  # any answer, as long as it comes
    else:
        agrees(content)


@given(st.text(alphabet="\"'ab\\\n", max_size=60))
def test_quoted_bytes(text):
    content = text.encode()
    pattern = re.compile(rb'""".*?"""|\'\'\'.*?\'\'\'', re.DOTALL)
    assert quoted_bytes(content) == sum(map(len, pattern.findall(content)))


@given(st.binary(max_size=80) | st.text(alphabet="\"'\\\n#:(d ef)", max_size=80).map(str.encode))
def test_any_bytes_give_an_answer(content):
    spans = docstring_spans(content)
    assert spans is None or all(0 <= start < end <= len(content) for start, end in spans.tolist())


def test_order_is_that_of_the_file():
    content = textwrap.dedent(FOUND["nested"]).encode()
    assert [text[-1] for text in parsed_docstrings(content)] == list("1234567")
