"""The CUDA sources: compiled for sm_90 where nvcc exists, run on the CPU through the shim against the NumPy truth."""

import shutil

import numpy as np
import pytest
from ops.checks_softmax_topk import by_torch

from weightless.base.errors import ArgumentError, ConfigError, WeightlessError
from weightless.kernels.cuda import __main__ as command
from weightless.kernels.cuda import build
from weightless.ops.layer_norm import layer_norm_backward, layer_norm_forward
from weightless.ops.softmax_topk import softmax_topk

needs_gcc = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="no CUDA toolkit")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda")
    return {name: build.load(build.cpu_library(name, folder)) for name in build.SOURCES}


def compare(library, logits, k):
    """Indices equal; probabilities to 2e-6 (float32 exponentials, online sums of up to 150,000)."""
    index, p = build.softmax_topk_on_cpu(library, logits, k)
    wanted_index, wanted_p = softmax_topk(logits.astype(np.float32), k)
    assert (index == wanted_index).all()
    np.testing.assert_allclose(p, wanted_p, rtol=2e-6)


@needs_gcc
@pytest.mark.parametrize("V", [1, 5, 6, 7, 255, 256, 1000, 4097, 50257, 151936])
def test_softmax_topk_of_any_vocabulary(libraries, V):
    """V around k and around the number of threads; rows of odd length are not 16-byte aligned from the second on."""
    logits = (np.random.default_rng(V).standard_normal((3, V)) * 3).astype(np.float32)
    compare(libraries["softmax_topk"], logits, 7)
    wanted = by_torch(logits, 7)[1]
    np.testing.assert_allclose(
        build.softmax_topk_on_cpu(libraries["softmax_topk"], logits, 7)[1][:, : min(V, 7)], wanted, rtol=2e-6
    )


@needs_gcc
@pytest.mark.parametrize("k", [1, 4, 5, 16, 17, 33, 64])
def test_softmax_topk_of_any_k(libraries, k):
    """Every size of list, with ties and offsets of +-1e4."""
    rng = np.random.default_rng(k)
    compare(libraries["softmax_topk"], rng.integers(0, 4, (3, 1501)).astype(np.float32), k)
    compare(libraries["softmax_topk"], (rng.integers(-40, 40, (2, 777)) / 8 + 1e4).astype(np.float32), k)
    compare(libraries["softmax_topk"], (rng.integers(-40, 40, (2, 777)) / 8 - 1e4).astype(np.float32), k)


@needs_gcc
def test_softmax_topk_of_impossible_tokens(libraries):
    logits = np.full((3, 600), -np.inf, np.float32)
    logits[1, [400, 17]] = 1.0
    logits[2, 599] = -5e3
    compare(libraries["softmax_topk"], logits, 3)


@needs_gcc
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 255), (9, 257), (4, 768), (3, 1025), (2, 4096)])
@pytest.mark.parametrize("n_blocks", [1, 3, 8])
def test_layer_norm_backward(libraries, shape, n_blocks):
    """1e-5 of the largest entry, as for every float32 twin; more blocks than rows leave empty parts of zero."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    gamma = rng.standard_normal(shape[1]).astype(np.float32)
    _, cache = layer_norm_forward(x, gamma, gamma)
    wanted = layer_norm_backward(dy, cache)
    found = build.layer_norm_backward_on_cpu(
        libraries["layer_norm_backward"], dy, cache.xhat, cache.r[:, 0], gamma, n_blocks
    )
    for got, truth in zip(found, wanted):
        assert np.isfinite(got).all()
        assert np.abs(got - truth).max() <= 1e-5 * max(1.0, np.abs(truth).max())


@needs_gcc
def test_sizes_that_no_kernel_serves_are_refused(libraries):
    with pytest.raises(ConfigError, match="k from 1 to 64 is served"):
        build.softmax_topk_on_cpu(libraries["softmax_topk"], np.zeros((1, 100), np.float32), 65)
    with pytest.raises(ConfigError, match="widths from 1 to 4096"):
        wide = np.zeros((1, 4097), np.float32)
        build.layer_norm_backward_on_cpu(libraries["layer_norm_backward"], wide, wide, np.ones(1), wide[0])


MUTANTS = {
    "softmax_topk": [
        ("half", "= 16; bits > 0; bits >>= 1) {\n        float m", "= 8; bits > 0; bits >>= 1) {\n        float m"),
        ("old sum not corrected", "l *= expf(m - v);", "l *= 1.0f;"),
        ("ties to the higher index", "static_cast<unsigned>(ia) < static_cast<unsigned>(ib)", "ia > ib"),
        ("tail forgotten", "i < V; i += THREADS) take<K>(row[i]", "i < 0; i += THREADS) take<K>(row[i]"),
    ],
    "layer_norm_backward": [
        ("mean term missing", "d[j] * g[j] - a - h[j] * b", "d[j] * g[j] - h[j] * b"),
        ("no barrier before the exchange", "__syncthreads();\n        a = b = 0.0f;", "a = b = 0.0f;"),
        ("last part forgotten", "p < n_parts", "p + 1 < n_parts"),
    ],
}


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("name, which", [(name, i) for name, all_of in MUTANTS.items() for i in range(len(all_of))])
def test_mutants_of_the_sources_are_caught(name, which, tmp_path, monkeypatch):
    _, old, new = MUTANTS[name][which]
    text = build.source(name).read_text()
    assert old in text
    (tmp_path / f"{name}.cu").write_text(text.replace(old, new))
    shutil.copy(build.here() / "cpu_shim.h", tmp_path)
    monkeypatch.setattr(build, "here", lambda: tmp_path)
    library = {name: build.load(build.cpu_library(name, tmp_path))}
    with pytest.raises(AssertionError):
        if name == "softmax_topk":
            test_softmax_topk_of_any_vocabulary(library, 4097)
            test_softmax_topk_of_any_k(library, 5)
        else:
            test_layer_norm_backward(library, (9, 257), 3)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("name", build.SOURCES)
def test_compiles_for_hopper(name, tmp_path):
    path, said = build.cubin(name, tmp_path, "sm_90")
    assert path.stat().st_size > 1000 and path.read_bytes()[:4] == b"\x7fELF"
    assert "registers" in said


def test_a_missing_compiler_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WEIGHTLESS_CUDA", str(tmp_path / "builds"))
    with pytest.raises(WeightlessError, match="nvcc is not on the path: install the CUDA toolkit"):
        build.gpu_library("softmax_topk", tmp_path)
    assert command.main(["gpu"]) == 2
    assert "nvcc is not on the path" in capsys.readouterr().err
    assert command.main(["gpus"]) == 2
    assert "did you mean 'gpu'?" in capsys.readouterr().err


@needs_gcc
def test_calls_with_torch_tensors(libraries):
    """The wrappers for torch, here with the CPU builds: shapes, types and views; the numbers are held above."""
    torch = pytest.importorskip("torch")
    from weightless.kernels.cuda import torch_calls

    z = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).transpose(0, 1)
    index, p = torch_calls.softmax_topk_by(libraries["softmax_topk"], z.half(), 4)
    wanted = softmax_topk(z.half().numpy(), 4)
    assert p.dtype == torch.float16 and (index.numpy() == wanted[0]).all()
    np.testing.assert_allclose(p.float().numpy(), wanted[1].astype(np.float32), rtol=1e-3)
    x, dy, gamma = z.numpy(), (z * z).numpy(), z[0, 0].numpy()
    cache = layer_norm_forward(x, gamma, gamma)[1]
    found = torch_calls.layer_norm_backward_by(
        libraries["layer_norm_backward"], torch.from_numpy(dy), type(cache)(*(torch.from_numpy(a) for a in cache))
    )
    for got, truth in zip(found, layer_norm_backward(dy, cache)):
        assert got.shape == truth.shape and np.abs(got.numpy() - truth).max() <= 1e-5 * np.abs(truth).max()


def test_calls_with_torch_tensors_refuse_what_would_end_the_process(libraries, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    from weightless.kernels.cuda import torch_calls

    monkeypatch.setenv("WEIGHTLESS_CUDA", str(tmp_path))
    with pytest.raises(ConfigError, match="run python -m weightless.kernels.cuda"):
        torch_calls.softmax_topk(torch.zeros(1, 5), 1)
    with pytest.raises(ArgumentError, match="logits should be a torch tensor on a CUDA device, not on cpu"):
        torch_calls.on_gpu("logits", torch.zeros(1, 5))
    with pytest.raises(ArgumentError, match="k is 65; the CUDA kernel serves up to 64"):
        torch_calls.softmax_topk_by(libraries["softmax_topk"], torch.zeros(1, 99), 65)
