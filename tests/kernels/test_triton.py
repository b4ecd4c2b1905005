"""The Triton kernels under Triton's interpreter, held to the NumPy truth and to the checks of tests/ops.

The interpreter runs the kernels' own code over NumPy arrays, program after program: it proves the arithmetic and the
indices, not the compiler (test_triton_compiles.py) and not the GPU (test_gpu.py).  float64 makes mistakes visible that
float32 hides.  bfloat16 products are left out: the interpreter computes them from the wrong bits.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from kernels.on_tensors import fitting, over_arrays
from ops import checks_flash_attention as flash_checks
from ops import checks_layer_norm as norm_checks
from ops import checks_softmax_topk as topk_checks

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("a GPU is here: test_gpu.py runs the kernels on it", allow_module_level=True)

from weightless.base.errors import ArgumentError
from weightless.kernels.triton import flash_attention, layer_norm, softmax_topk, ternary
from weightless.ops import softmax_topk as topk_truth
from weightless.ops import ternary as ternary_truth

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy warns of NaN and overflow inside the kernels


def norms(module: ModuleType = layer_norm):
    return over_arrays(module.layer_norm_forward, "cpu"), over_arrays(module.layer_norm_backward, "cpu")


def topk(module: ModuleType = softmax_topk):
    return over_arrays(module.softmax_topk, "cpu")


def flash(module: ModuleType = flash_attention):
    return over_arrays(module.flash_attention_fwd, "cpu"), over_arrays(module.flash_attention_bwd, "cpu")


@pytest.mark.parametrize("check", norm_checks.CHECKS)
def test_layer_norm(check):
    """float64, with the tolerances of the NumPy twin."""
    check(*norms())


@pytest.mark.parametrize("shape", [(2, 1, 5), (5, 63), (37, 3), (3, 1023)])
def test_layer_norm_in_float32(shape):
    """1e-5 of the largest entry; tiles of several rows, more programs than rows, and widths beside powers of two."""
    norm_checks.check_against_autograd(*norms(), shape=shape, dtype=np.float32, tolerance=1e-5)


def test_layer_norm_takes_offsets_and_huge_values_in_float32():
    """Rows around 1e4, where E[x^2] - E[x]^2 is noise, and around 1e25, whose squares are no float32."""
    x = norm_checks.random(3, 65)
    for moved in (x + 1e4, x * 1e25):
        moved = moved.astype(np.float32)
        y, _ = norms()[0](moved, np.ones(65, np.float32), np.zeros(65, np.float32))
        norm_checks.near(y, norm_checks.by_autograd(moved, np.ones(65), np.zeros(65), moved)[0], 1e-5)


@pytest.mark.parametrize("n_programs", [1, 2, 20])
def test_layer_norm_sums_do_not_depend_on_the_programs(n_programs):
    forward, backward = norms()
    x, dy = norm_checks.random(41, 300), norm_checks.random(41, 300, seed=1)
    _, cache = forward(x, np.ones(300), np.ones(300))
    _, dgamma, dbeta = backward(dy, cache, n_programs=n_programs)
    norm_checks.near(dgamma, (dy * cache.xhat).sum(0), 1e-12)
    norm_checks.near(dbeta, dy.sum(0), 1e-12)


@pytest.mark.parametrize("check", [check for check in topk_checks.CHECKS if check is not topk_checks.check_sizes])
def test_softmax_topk(check):
    """2e-6: float32 exponentials and sums."""
    check(topk(), **fitting(check, dtype=np.float32, tolerance=2e-6))


@pytest.mark.slow
def test_softmax_topk_up_to_151936_tokens():
    topk_checks.check_sizes(topk(), np.float32, 2e-6)


@pytest.mark.parametrize("V, k, n_parts", [(1, 1, 1), (5, 7, 2), (63, 20, 1), (1023, 5, 3), (20_001, 8, 2)])
def test_softmax_topk_in_parts(V, k, n_parts):
    """The truth in float64, for rows cut into parts, with ties across the cuts."""
    z = np.random.default_rng(V).integers(-30, 30, (2, V)).astype(np.float32) / 8
    index, p = over_arrays(softmax_topk.softmax_topk, "cpu")(z, k, n_parts=n_parts)
    wanted_index, wanted_p = topk_truth.softmax_topk(z.astype(np.float64), k)
    assert (index == wanted_index).all()
    np.testing.assert_allclose(p, wanted_p, rtol=2e-6)


def test_softmax_topk_of_zeros_of_both_signs_and_of_nan():
    index, _ = topk()(np.array([[-0.0, 0.0, -1.0, 0.0]], np.float32), 3)
    assert index.tolist() == [[0, 1, 3]]
    _, p = topk()(np.array([[np.nan, 0, 1], [np.inf, 0, 1], [0, 0, 1]], np.float32), 2)
    assert np.isnan(p[:2]).all() and np.isfinite(p[2]).all()


@pytest.mark.parametrize("kind, tolerance", [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_softmax_topk_of_half_precision(kind, tolerance):
    """The logits are exact in float32, so only the result is rounded: half a unit of 11 or 8 bits."""
    z = (torch.randn(2, 300, generator=torch.Generator().manual_seed(0)) * 3).to(kind)
    index, p = softmax_topk.softmax_topk(z, 5)
    wanted_index, wanted_p = topk_truth.softmax_topk(z.double().numpy(), 5)
    assert p.dtype == kind and (index.numpy() == wanted_index).all()
    np.testing.assert_allclose(p.double().numpy(), wanted_p, rtol=tolerance)


# B, H, G, N, M, D, tile: one of everything; D = 1, 63 queries; grouped heads, more keys; more queries, so empty rows
CASES = [(1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 63, 63, 1, 32), (1, 4, 2, 17, 33, 7, 8), (2, 2, 1, 33, 18, 20, 16)]


@pytest.mark.parametrize("case, causal", [(case, True) for case in CASES] + [(CASES[2], False)])
def test_flash_attention(case, causal):
    """PyTorch in float64, 1e-12 of the largest entry."""
    flash_checks.compare(*flash(), flash_checks.inputs(case), case[-1], 1e-12, causal)


@pytest.mark.parametrize("check", [flash_checks.check_empty_rows, flash_checks.check_large_scores])
def test_flash_attention_of_hard_rows(check):
    check(*flash())


@pytest.mark.parametrize("masks", [{"window": 3}, {"causal": False, "window": 4, "q_offset": 11}])
def test_flash_attention_with_masks(masks):
    """With rows that see nothing; padding that hides all keys of one item as well."""
    case = (2, 2, 1, 21, 29, 4, 8)
    padding = flash_checks.random(2, 29) > 0.2
    padding[1] = False
    flash_checks.compare(*flash(), flash_checks.inputs(case), 8, 1e-12, key_padding_mask=padding, **masks)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-5), (np.float16, 5e-3)])
def test_flash_attention_in_single_and_half_precision(dtype, tolerance):
    """Oracle in float64 from the rounded inputs; float16 rounds P and dS to 11 bits."""
    case = (1, 2, 1, 40, 40, 16, 16)
    flash_checks.compare(*flash(), flash_checks.inputs(case, dtype), 16, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("check", flash_checks.CHECKS)
def test_flash_attention_whole(check):
    check(*flash())


@pytest.mark.parametrize("R, C, group_size", [(1, 1, 128), (3, 63, 128), (9, 1023, 128), (17, 300, 64), (2, 9, 4)])
def test_ternary_matvec(R, C, group_size):
    """The truth sums in float64; float32 sums of 1,023 terms differ by 1e-6 of the largest."""
    W, x = norm_checks.random(R, C), norm_checks.random(2, C, seed=1).astype(np.float32)
    codes, scales = ternary_truth.ternary_project(W, group_size)
    packed = ternary_truth.ternary_pack(codes)
    wanted = ternary_truth.ternary_matvec(x, packed, scales, group_size)
    norm_checks.near(over_arrays(ternary.ternary_matvec, "cpu")(x, packed, scales, group_size), wanted, 2e-6)


Z, Q = torch.zeros(2, 5), torch.ones(1, 2, 4, 3)
BAD = [
    (softmax_topk.softmax_topk, (Z, 0), "k should be a whole number of at least 1, not 0"),
    (softmax_topk.softmax_topk, (Z, 257), "k is 257; the Triton kernel serves up to 256"),
    (softmax_topk.softmax_topk, (Z.double(), 1), "logits of shape .* holds float64"),
    (softmax_topk.softmax_topk, (Z.numpy(), 1), "logits should be a torch tensor, not ndarray"),
    (layer_norm.layer_norm_forward, (Z, Z[0, :4], Z[0]), "gamma of shape .4,. should have the shape of the last axis"),
    (layer_norm.layer_norm_forward, (Z, Z[0], Z[0], 0.0), "eps should be a positive number"),
    (layer_norm.layer_norm_forward, (Z[:0], Z[0], Z[0]), "x is empty"),
    (layer_norm.layer_norm_forward, (Z, Z[0].to("meta"), Z[0]), "different devices: x on cpu, gamma on meta"),
    (
        layer_norm.layer_norm_forward,
        (torch.ones(1, 16_385),) + 2 * (torch.ones(16_385),),
        "the last axis of x is 16385",
    ),
    (flash_attention.flash_attention_fwd, 3 * (torch.ones(1, 1, 1, 257),), "the width of a head is 257"),
    (flash_attention.flash_attention_fwd, 3 * (torch.ones(1, 65_536, 1, 1),), "the batch times the heads is 65536"),
    (flash_attention.flash_attention_fwd, (Q[0], Q, Q), r"Q should have the axes \(B, H, N, D\)"),
    (flash_attention.flash_attention_fwd, (torch.ones(1, 3, 4, 3), Q, Q), "heads of Q should be a multiple"),
    (flash_attention.flash_attention_fwd, (Q, Q.double(), Q), "one dtype"),
    (flash_attention.flash_attention_fwd, (Q, Q, Q, 0), "tile_size should be a whole number of at least 1, not 0"),
    (ternary.ternary_matvec, (Z, Z, Z.half()), "packed should be a uint8 tensor"),
    (ternary.ternary_matvec, (Z, torch.ones(2, 3, dtype=torch.uint8), Z.half()), "packed of shape"),
    (ternary.ternary_matvec, (Z, torch.ones(2, 2, dtype=torch.uint8), Z[:, :1].half(), 6), "multiple of 4"),
]


@pytest.mark.parametrize("function, arguments, message", BAD)
def test_bad_input_is_named(function, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        function(*arguments)


def mutated(module: ModuleType, old: str, new: str, folder: Path) -> ModuleType:
    """The module with `old` replaced, as a file of its own: Triton reads the source of kernels from disk."""
    source = Path(module.__file__).read_text()
    assert old in source, f"{old!r} is not in {module.__name__}"
    path = folder / f"{module.__name__.split('.')[-1]}_mutant.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    mutant = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = mutant
    try:
        spec.loader.exec_module(mutant)
    finally:
        del sys.modules[path.stem]
    return mutant


def plain(forward, backward):
    test = CASES[2]
    flash_checks.compare(forward, backward, flash_checks.inputs(test), 8, 1e-12)


MUTANTS = {
    "correction inverted": (flash_attention, "tl.exp2(m - shift)", "tl.exp2(tl.minimum(shift - m, 50.0))", plain),
    "scale missing in dK": (flash_attention, "dk * SCALE", "dk", plain),
    "scale missing in dQ": (flash_attention, "dq * SCALE", "dq", plain),
    "no guard of -inf in the forward": (
        flash_attention,
        'shift = tl.where(m_new == float("-inf"), 0.0, m_new)',
        "shift = m_new",
        flash_checks.check_empty_rows,
    ),
    "no guard of -inf in the backward": (
        flash_attention,
        'tl.where(L == float("-inf"), float("inf"), L) * LOG2E',
        "L * LOG2E",
        flash_checks.check_empty_rows,
    ),
    "diagonal off by one": (flash_attention, "ahead >= 0", "ahead >= 1", plain),
    "a tile too many unmasked": (flash_attention, "first + q_offset + 1, 0)", "first + q_offset + KEYS, 0)", plain),
    "heads of another group": (flash_attention, "head % H // (H // G)", "head % G", plain),
    "one of the shared heads only": (flash_attention, "in range(shared)", "in range(1)", plain),
    "ties to the higher token": (softmax_topk, "0x7FFFFFFF - token", "token", topk_checks.check_ties),
    "old sum not corrected": (softmax_topk, "l * tl.exp(m - shift)", "l", topk_checks.check_rising),
    "fillers all alike": (
        softmax_topk,
        "NOTHING + tl.arange(0, K)",
        "NOTHING + 0 * tl.arange(0, K)",
        topk_checks.check_ties,
    ),
    "nothing looks like a token": (
        softmax_topk,
        "tl.where(some, token, -1)",
        "token",
        topk_checks.check_minus_infinity,
    ),
    "mean term missing": (layer_norm, "dyhat - mean[:, None] - xhat", "dyhat - xhat", norm_checks.check_large_eps),
    "last part forgotten": (layer_norm, "part < n_parts", "part + 1 < n_parts", norm_checks.check_large_eps),
    "squares that overflow": (layer_norm, "tl.max(tl.abs(centred), axis=1)", "row * 0.0", norm_checks.check_scales),
}


QUICK = ("correction inverted", "scale missing in dK", "no guard of -inf in the backward", "last part forgotten")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in MUTANTS])
def test_mutants_are_caught(name, tmp_path):
    module, old, new, check = MUTANTS[name]
    mutant = mutated(module, old, new, tmp_path)
    functions = {flash_attention: flash, softmax_topk: lambda m: (topk(m),), layer_norm: norms}[module](mutant)
    with pytest.raises(AssertionError):
        check(*functions, **fitting(check, **({"dtype": np.float32} if module is softmax_topk else {})))
