"""What `./do` gives its commands for an environment.  Oracle: the interpreter itself, asked where it keeps bytecode."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
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


def test_extras_have_the_names_that_installers_look_for():
    """Oracle: PEP 685's normal form.  pip 23.2 asks metadata for `lm_eval`, finds `lm-eval`, warns and exits with 0."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(runpy.run_path(str(ROOT / "do"), run_name="do")["EXTRAS"]) == sorted(extras)
    assert [re.sub(r"[-_.]+", "-", name).lower() for name in extras] == list(extras)


def test_an_extra_that_the_package_lacks_is_no_success(monkeypatch, capsys):
    scope = runpy.run_path(str(ROOT / "do"), run_name="do")["_check_extras"].__globals__
    monkeypatch.setitem(scope, "_python", lambda: sys.executable)
    scope["_check_extras"](["dev", "lm-eval"])
    with pytest.raises(SystemExit):
        scope["_check_extras"](["dev", "lm_eval"])
    assert "nothing was installed for lm_eval" in capsys.readouterr().err


def test_the_deck_gets_an_environment_of_the_pinned_numpy_alone_and_only_once(tmp_path, monkeypatch):
    """Oracle: the pin in constraints.txt, and what the bootstrap would start, recorded instead of started."""
    scope = runpy.run_path(str(ROOT / "do"), run_name="do")["prepare_deck"].__globals__
    (tmp_path / "constraints.txt").write_text("numba==1.0\nnumpy==9.9.9\n")
    started = []
    for name, value in {
        "ROOT": tmp_path,
        "DECK": tmp_path / ".venv-deck",
        "CACHE": tmp_path / ".cache",
        "LOG": tmp_path / ".cache/setup.log",
        "_logged": lambda command, remedy: ((tmp_path / ".venv-deck").mkdir(exist_ok=True), started.append(command)),
        "_venv_version": lambda folder: scope["_own_version"](),
    }.items():
        monkeypatch.setitem(scope, name, value)
    scope["prepare_deck"]()
    make, install, compiled = started
    assert compiled[1:4] == ["-I", "-m", "compileall"] and compiled[-1] == str(tmp_path / ".venv-deck")
    assert make[1:3] == ["-m", "venv"] and "--without-pip" in make and make[-1] == str(tmp_path / ".venv-deck")
    assert install[-1] == "numpy==9.9.9" and not [word for word in install if "numba" in word]
    assert str(tmp_path / ".venv-deck") in " ".join(install)
    scope["prepare_deck"]()
    assert len(started) == 3
    (tmp_path / "constraints.txt").write_text("numpy==9.9.10\n")
    scope["prepare_deck"]()
    assert len(started) == 6
