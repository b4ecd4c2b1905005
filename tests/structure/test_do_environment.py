"""What `./do` gives its commands for an environment.  Oracle: the interpreter itself, asked where it keeps bytecode."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASK = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "False None"),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, f"False {ROOT / '.cache' / 'bytecode'}"),
        ({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": os.devnull}, f"False {os.devnull}"),
    ],
)
def test_bytecode_is_kept_but_not_beside_sources_of_who_wants_none_there(monkeypatch, given, said):
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    values = runpy.run_path(str(ROOT / "do"), run_name="do")["environment"]()
    asked = subprocess.run([sys.executable, "-c", ASK], env=values, capture_output=True, text=True)
    assert asked.stdout.strip() == said
