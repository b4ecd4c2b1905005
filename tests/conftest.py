"""For all tests: those marked gpu are skipped where there is no CUDA device, and Triton is interpreted there.

Triton reads TRITON_INTERPRET when it is first imported, which another package may do, so it is set before any test
module is imported.
"""

from __future__ import annotations

import os

import pytest

if not os.path.exists("/dev/nvidiactl"):  # asking PyTorch would cost every run a second
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_configure(config):
    """How long an example takes to make or to try says nothing about the code on a machine that others use as well."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("shared machine")


def pytest_collection_modifyitems(items):
    """torch is asked only when a test wants a GPU, because importing it costs a second."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def command(capsys):
    """Run a command line in-process: (exit code, standard output, standard error)."""

    def run(*arguments):
        from weightless.cli.main import main

        capsys.readouterr()
        try:
            code = main([os.fspath(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
