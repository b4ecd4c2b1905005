"""Which Python and NumPy a worker has: an environment of its own where there is one, and what is said where not.

Oracle: paths of an environment made here, whose NumPy is a link to the one that runs these tests.
"""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from weightless.base.errors import WeightlessError
from weightless.deck import interpreter
from weightless.deck.copying import readable_by_all
from weightless.deck.interpreter import FOLDER, worker_interpreter
from weightless.deck.sandbox import Backend, opened, strongest


@pytest.fixture
def environment(tmp_path):
    """An environment with NumPy alone, and without an installer."""
    venv.create(tmp_path / FOLDER, symlinks=True, with_pip=False)
    site = next((tmp_path / FOLDER).glob("lib/python*/site-packages"))
    for name in ("numpy", "numpy.libs"):
        if (source := Path(np.__file__).parents[1] / name).exists():
            (site / name).symlink_to(source)
    return tmp_path / FOLDER


def test_an_environment_of_its_own_is_used_and_needs_no_stamp(environment, tmp_path, monkeypatch):
    found = worker_interpreter(environment)
    assert found.stamp == "" and found.numpy == np.__version__ and found.python == sys.version.split()[0]
    assert all(path.is_relative_to(environment) for _, path in found.packages)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert interpreter._places()[0] == environment
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "solution.py").write_text("import numpy as np\n\n\ndef version():\n    return np.__version__\n")
    readable_by_all(folder)
    with opened(folder, Backend(strongest().name, found, ())) as worker:
        assert worker.call("version") == np.__version__


def test_without_one_the_stamp_says_so(monkeypatch):
    monkeypatch.setattr(interpreter, "_places", list)
    found = worker_interpreter.__wrapped__()
    assert found.stamp.startswith(f"no {FOLDER}: NumPy of the running interpreter")
    assert {name for name, _ in found.packages} <= {"numpy", "numpy.libs"}


def test_an_environment_without_numpy_is_an_error_that_says_what_to_do(tmp_path):
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    with pytest.raises(WeightlessError, match="No module named 'numpy'.*./do setup deck"):
        worker_interpreter(tmp_path / "bare")
    with pytest.raises(WeightlessError, match="holds no bin/python"):
        worker_interpreter(tmp_path / "nowhere")
