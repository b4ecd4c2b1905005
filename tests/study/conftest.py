"""The command line in-process, and one finished study that was never interrupted."""

from __future__ import annotations

import os

import pytest
from study.small_study import small_study

from weightless.cli.main import main


@pytest.fixture
def command(capsys):
    """Run a command line: (exit code, standard output, standard error)."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([os.fspath(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """(its file, its folder): two arms, one seed, 120 steps each."""
    folder = tmp_path_factory.mktemp("whole")
    path = small_study(folder, steps=120)
    assert main(["study", str(path), "--out", str(folder / "out"), "--parallel", "1"]) == 0
    return path, folder / "out"
