"""The Triton and CUDA kernels on a GPU, held to the same checks as their NumPy truth; skipped without a device."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from kernels.on_tensors import fitting, over_arrays
from ops import checks_flash_attention as flash_checks
from ops import checks_layer_norm as norm_checks
from ops import checks_softmax_topk as topk_checks

from weightless.kernels.dispatch import available, dispatch
from weightless.ops import ternary

pytestmark = pytest.mark.gpu


def on_device(name: str, backend: str):
    if os.environ.get("TRITON_INTERPRET") == "1" and backend == "triton":
        pytest.skip("TRITON_INTERPRET=1 is set")
    if why := available(name)[backend]:
        pytest.skip(why)
    return over_arrays(dispatch(name, backend), "cuda")


@pytest.mark.parametrize("check", topk_checks.CHECKS)
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_softmax_topk(backend, check):
    """1e-5: the GPU's exponential is good to 2 units, and its argument to 1e-6 at -20."""
    check(on_device("softmax_topk", backend), **fitting(check, dtype=np.float32, tolerance=1e-5))


@pytest.mark.parametrize("shape", [(2, 1, 5), (3, 5, 63), (2, 33, 768), (65,), (700, 1023), (3, 4096)])
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_layer_norm_in_float32(backend, shape):
    """1e-5 of the largest entry; the CUDA backward takes the cache of the Triton forward."""
    functions = on_device("layer_norm_forward", "triton"), on_device("layer_norm_backward", backend)
    norm_checks.check_against_autograd(*functions, shape=shape, dtype=np.float32, tolerance=1e-5)


@pytest.mark.parametrize("check", norm_checks.CHECKS)
def test_layer_norm_in_float64(check):
    check(on_device("layer_norm_forward", "triton"), on_device("layer_norm_backward", "triton"))


@pytest.mark.parametrize("check", flash_checks.CHECKS)
@pytest.mark.parametrize("dtype, tolerance, large", [(np.float32, 2e-5, 5e-3), (np.float64, 1e-12, 1e-10)])
def test_flash_attention(check, dtype, tolerance, large):
    """The tolerances of the NumPy twin in these types (scores of 1e4 carry 1e-3 in float32)."""
    wanted = large if check is flash_checks.check_large_scores else 1e-11 if dtype == np.float64 else tolerance
    functions = on_device("flash_attention_fwd", "triton"), on_device("flash_attention_bwd", "triton")
    check(*functions, **fitting(check, dtype=dtype, tolerance=wanted))


@pytest.mark.parametrize("width", [16, 64, 128, 256])
@pytest.mark.parametrize("kind, tolerance", [(torch.float16, 5e-3), (torch.bfloat16, 3e-2)])
def test_flash_attention_of_half_precision(kind, tolerance, width):
    """PyTorch in float64 from the rounded inputs; P and dS are rounded to 11 or 8 bits, and so are the results."""
    forward, backward = (dispatch(f"flash_attention_{name}", "triton") for name in ("fwd", "bwd"))
    Q, K, V, dO = (torch.tensor(a).to(kind) for a in flash_checks.inputs((2, 4, 2, 200, 333, width, 0)))
    wanted = flash_checks.by_torch(*(t.double().numpy() for t in (Q, K, V, dO)))
    O, cache = forward(*(t.cuda() for t in (Q, K, V)), return_cache=True)
    for found, truth in zip((O, *backward(dO.cuda(), cache)), wanted):
        flash_checks.near(found.double().cpu().numpy(), truth, tolerance)


@pytest.mark.parametrize("R, C", [(1, 1), (3, 63), (9, 1023), (4096, 4096)])
def test_ternary_matvec(R, C):
    """The truth sums in float64; 2e-6 of the largest entry."""
    codes, scales = ternary.ternary_project(norm_checks.random(R, C))
    x, packed = norm_checks.random(2, C, seed=1).astype(np.float32), ternary.ternary_pack(codes)
    found = on_device("ternary_matvec", "triton")(x, packed, scales)
    norm_checks.near(found, ternary.ternary_matvec(x, packed, scales), 2e-6)


def test_equal_inputs_give_equal_bits():
    """No atomics: the order of sums is fixed."""
    on_device("flash_attention_fwd", "triton")
    Q, dO = (torch.randn(2, 8, 515, 64, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    results = []
    for _ in range(3):
        _, cache = dispatch("flash_attention_fwd", "triton")(Q, Q, Q, return_cache=True)
        results.append(dispatch("flash_attention_bwd", "triton")(dO, cache))
    assert all(torch.equal(a, b) for again in results[1:] for a, b in zip(results[0], again))
