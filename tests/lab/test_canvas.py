"""A PNG is drawn without a home folder, in silence but for our own line.

Oracle: standard error of a fresh process whose home, temporary folder and installation are as the test says.
"""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys
from weightless.base import compiled
from weightless.lab.report.vocabulary import vocabulary_png

compiled.PACKAGE = compiled.Path("/dev/null/site/weightless")  # an installation that cannot be written
vocabulary_png({"docs": [(256, 1.0), (512, 1.5)]}, sys.argv[1])
"""


def drawn(picture, **variables):
    """What a fresh process that draws `picture` says on standard error."""
    own = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(picture)],
        env=own | variables,
        text=True,
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    return done.stderr


def test_without_a_home_the_fonts_are_kept_in_a_private_folder_and_it_is_told_once(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"HOME": "/dev/null/none", "TMPDIR": str(temporary)}
    told = drawn(tmp_path / "one.png", **variables)
    (folder,) = temporary.iterdir()  # nothing of matplotlib's own beside it
    assert told.count("\n") == 1 and str(folder) in told and "MPLCONFIGDIR" in told
    assert list(folder.glob("fontlist-*.json"))
    assert drawn(tmp_path / "two.png", **variables) == ""
