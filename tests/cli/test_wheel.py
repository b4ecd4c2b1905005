"""The built wheel alone does what README shows: help, counting, and the demo, from a folder that is no checkout.

Oracle: exit codes, and the files a demo leaves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the unpacked wheel; built by hatchling itself, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def program(installed, cwd, *arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(installed), **variables}
    code = "import sys, weightless.cli.main as m; print(m.__file__, file=sys.stderr); sys.exit(m.main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert str(installed) in done.stderr.splitlines()[0]
    return done


def test_the_wheel_holds_the_recipes_and_nothing_of_the_workshop(installed):
    places = installed / "weightless" / "recipes", ROOT / "recipes"
    shipped, ours = ({f.relative_to(p).as_posix() for f in p.rglob("*") if f.is_file()} for p in places)
    assert shipped == {name for name in ours if "__pycache__" not in name}
    assert {path.name.partition("-")[0] for path in installed.iterdir()} == {"weightless"}
    assert (installed / "weightless" / "py.typed").is_file()


ANYWHERE = (["--help"], ["demo", "--help"], ["count", "dense"], ["count", "demo"], ["count", "recipes/demo.toml"])


@pytest.mark.parametrize("words", ANYWHERE, ids=" ".join)
def test_help_and_counting_work_anywhere(words, installed, tmp_path):
    done = program(installed, tmp_path, *words)
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)  # every kernel is compiled anew
def test_the_demo_runs_from_the_wheel_without_a_home(installed, tmp_path):
    done = program(
        installed,
        tmp_path,
        "demo",
        "--text",
        "fables",
        "--only",
        "ngram",
        "--out",
        "run",
        HOME="/dev/null/none",
        XDG_CACHE_HOME="",
        NUMBA_CACHE_DIR="",
        TMPDIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and (tmp_path / "run" / "report.html").exists()
