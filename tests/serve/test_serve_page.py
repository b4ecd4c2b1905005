"""docs/serve.md says what the server does: its examples are run, its tables are the code's.

Oracles: the code's own table of parameters, its limits and paths; the answers to the examples.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from serve.small_server import LIMITS

from weightless.cli.serve import Serve
from weightless.serve import app, parameters

PAGE = (Path(__file__).parents[2] / "docs/serve.md").read_text("utf-8")
HERE = "http://127.0.0.1:8000"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.S | re.M)


def row_of(name: str, parameter: parameters.Parameter) -> str:
    plain = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
    default = "" if name in parameters.REQUIRED else json.dumps(plain)
    return f"| `{name}` | {parameter.may_be} | {default} | {parameter.does} |"


def test_the_table_of_parameters():
    _, _, below = PAGE.partition("| parameter | may be |")
    rows = [line for line in below.split("\n\n")[0].splitlines()[2:] if line]
    assert rows == [row_of(name, parameter) for name, parameter in parameters.TABLE.items()]


def test_limits_and_paths():
    flags = {f.name: f.default for f in fields(Serve)}
    for name in ("together", "queue", "most_tokens", "most_bytes"):
        shown = f"{flags[name]:,}" if name == "most_bytes" else flags[name]
        assert f"`--{name}` {shown} |" in PAGE
    assert f"| headers of a request | {LIMITS['headers']:g} seconds, 64 kB |" in PAGE
    assert f"| body of a request | {LIMITS['body']:g} seconds |" in PAGE
    assert f"| a reader that takes nothing | {LIMITS['reader']:g} seconds per event |" in PAGE
    assert f"| X-rays | one at a time, {app.MOST_XRAYS} wait |" in PAGE and f"first {app.LONGEST_XRAY} tokens" in PAGE
    for path in app.PATHS:
        assert f"{path}`" in PAGE, path


def test_commands_of_curl(port):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    (block,) = blocks("sh")
    commands = block.splitlines()
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command.replace(HERE, f"http://127.0.0.1:{port}"))
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
        assert told and '"error"' not in told, command


def test_the_example_of_openai(port):
    pytest.importorskip("openai", reason="the openai client is not installed: ./do setup dev")
    (block,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block.replace(HERE, f"http://127.0.0.1:{port}"), {})
    assert len(printed.getvalue()) > 10
