"""The door to the twins: every algorithm by every backend that can run here, and one line of reason for the others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.kernels import dispatch as door
from weightless.kernels.cuda import build


@pytest.mark.parametrize("name", door.ALGORITHMS)
def test_numpy_and_the_default_run_everywhere(name):
    assert door.dispatch(name, "numpy").__name__ == name == door.dispatch(name).__name__
    assert door.available(name)["numpy"] == ""
    assert set(door.available(name)) == set(door.BACKENDS)


def test_the_default_is_the_compiled_twin_where_there_is_one():
    assert door.dispatch("softmax_topk").__module__ == "weightless.kernels.fast_ops"
    assert door.dispatch("ternary_matvec").__module__ == "weightless.ops.ternary"


def test_twins_agree_through_the_door():
    z = np.random.default_rng(0).standard_normal((3, 99)).astype(np.float32)
    results = [door.dispatch("softmax_topk", backend)(z, 4)[0].tolist() for backend in ("numpy", "cpu", "auto")]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", door.ALGORITHMS)
def test_triton_runs_under_its_interpreter(name, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert door.available(name)["triton"] == ""


def test_reasons(monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHTLESS_CUDA", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(door, "_has_gpu", lambda: False)
    found = door.available("softmax_topk")
    assert found["cuda"] == "its library is not built; run python -m weightless.kernels.cuda"
    if importlib.util.find_spec("triton"):
        assert found["triton"] == "PyTorch finds no CUDA device, and TRITON_INTERPRET=1 is not set"
    build.path_of_build("softmax_topk", "gpu").write_bytes(b"")
    assert door.available("softmax_topk")["cuda"] == "PyTorch finds no CUDA device"
    assert "have CUDA sources" in door.available("flash_attention_fwd")["cuda"]
    monkeypatch.setattr(door, "find_spec", lambda name: None)
    assert door.available("softmax_topk")["triton"] == "Triton is not installed; install the extra gpu"
    assert "no compiled twin" in door.available("ternary_matvec")["cpu"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("softmax_topkk",), "no algorithm 'softmax_topkk': did you mean 'softmax_topk'"),
        (("softmax_topk", "tritn"), "no backend 'tritn': did you mean 'triton'"),
        (("softmax_topk", "cuda"), "softmax_topk cannot run on cuda here: its library is not built"),
        (("ternary_matvec", "cpu"), "ternary_matvec cannot run on cpu here: it has no compiled twin"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message, monkeypatch, tmp_path):
    monkeypatch.setenv("WEIGHTLESS_CUDA", str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        door.dispatch(*arguments)


def test_the_door_imports_neither_torch_nor_triton():
    code = (
        "import sys; from weightless.kernels.dispatch import dispatch; dispatch('softmax_topk', 'numpy'); "
        "dispatch('layer_norm_forward'); print([m for m in ('torch', 'triton') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(build.here().parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n", done.stderr
