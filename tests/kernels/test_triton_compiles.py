"""Every Triton kernel compiles ahead of time for sm_90, in a process of its own that is not under the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SOURCE = Path(__file__).resolve().parents[2] / "src"


def compiled(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(SOURCE), "TRITON_CACHE_DIR": str(folder)}
    command = [sys.executable, "-m", "weightless.kernels.triton", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize(
    "words, n_variants",
    [
        (("ternary_matvec", "bf16"), 1),
        pytest.param(("layer_norm",), 12, marks=pytest.mark.slow),
        pytest.param(("softmax_topk",), 8, marks=pytest.mark.slow),
        pytest.param(("ternary_matvec",), 3, marks=pytest.mark.slow),
        pytest.param(("flash_attention", "bf16"), 9, marks=pytest.mark.slow),
        pytest.param(("flash_attention", "fp16"), 6, marks=pytest.mark.slow),
        pytest.param(("flash_attention", "fp32"), 6, marks=pytest.mark.slow),
        pytest.param(("flash_attention", "fp64"), 6, marks=pytest.mark.slow),
    ],
)
def test_compiles_for_hopper(words, n_variants, tmp_path):
    """A line per variant, each with a cubin of some kilobytes and within the 227 kB of shared memory of a block."""
    done = compiled(tmp_path, "sm_90", *words)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == n_variants
    for line in lines:
        size, shared = (int(part.replace(",", "")) for part in (line.split()[0], line.split()[2]))
        assert size > 4000 and shared <= 227 * 1024


def test_what_cannot_be_compiled_is_one_line(tmp_path):
    done = compiled(tmp_path, "hopper")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "no GPU architecture 'hopper'; name it like sm_90" in done.stderr
