"""One finished study that was never interrupted."""

from __future__ import annotations

import pytest
from study.small_study import small_study

from weightless.cli.main import main


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """(its file, its folder): two arms, one seed, 120 steps each."""
    folder = tmp_path_factory.mktemp("whole")
    path = small_study(folder, steps=120)
    assert main(["study", str(path), "--out", str(folder / "out"), "--parallel", "1"]) == 0
    return path, folder / "out"
