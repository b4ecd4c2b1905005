"""Each known mistake of the references, put into their source, is caught by the check that is named beside it."""

import numpy as np
import pytest
from ops import checks_flash_attention as flash
from ops import checks_layer_norm as norm
from ops import checks_softmax_topk as topk
from ops.mutants import mutated
from ops.test_ternary import by_definition, random

from weightless.ops import flash_attention, layer_norm, softmax_topk, ternary

LAYER_NORM = {
    "mean term missing": ("dx = r * (dyhat - mean_dyhat - ", "dx = r * (dyhat - ", norm.check_against_autograd),
    "xhat term missing": (" - xhat * mean_dyhat_xhat)", ")", norm.check_against_autograd),
    "ddof 1": (
        "variance = np.mean((centred / size) ** 2, axis=-1, keepdims=True)",
        "variance = np.sum((centred / size) ** 2, axis=-1, keepdims=True) / (x.shape[-1] - 1)",
        norm.check_against_autograd,
    ),
    "eps outside the root": (
        "np.sqrt(variance + eps / size / size)",
        "(np.sqrt(variance) + eps)",
        norm.check_large_eps,
    ),
    "dgamma not summed over T": ("rows = tuple(range(dy.ndim - 1))", "rows = (0,)", norm.check_against_autograd),
    "variance by E[x^2] - E[x]^2": (
        "variance = np.mean((centred / size) ** 2, axis=-1, keepdims=True)",
        "size = 1; variance = np.mean(x * x, -1, keepdims=True) - np.mean(x, -1, keepdims=True) ** 2",
        norm.check_offset,
    ),
    "no scaling by the largest": (
        "size = np.maximum(np.abs(centred).max(axis=-1, keepdims=True), 1.0)",
        "size = 1e-10",
        norm.check_scales,
    ),
    "input written to": ("centred = x - x.mean(", "x -= 1.0; centred = x - x.mean(", norm.check_inputs_survive),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LAYER_NORM)
def test_layer_norm(name):
    old, new, check = LAYER_NORM[name]
    mutant = mutated(layer_norm, old, new)
    with pytest.raises(AssertionError):
        check(mutant.layer_norm_forward, mutant.layer_norm_backward)


FLASH = {
    "correction inverted": (
        "c = np.exp(m - shift)",
        "c = np.exp(np.minimum(shift - m, 50.0))",
        flash.check_against_torch,
    ),
    "D summed over one tile": (
        "ds -= D_N[rows, None]",
        "ds -= (p * ds).sum(axis=1, keepdims=True)",
        flash.check_against_torch,
    ),
    "scale missing in dQ": ("        dQ[rows] *= scale\n", "", flash.check_against_torch),
    "scale missing in dK": (
        "dK[keys] += ds.T @ q  #",
        "dK[keys] += ds.T @ q_ND[rows]  #",
        flash.check_against_torch,
    ),
    "dV overwritten": ("dV[keys] += p.T @ do", "dV[keys] = p.T @ do", flash.check_against_torch),
    "dK overwritten": ("dK[keys] += ds.T @ q", "dK[keys] = ds.T @ q", flash.check_against_torch),
    "dQ overwritten": ("dQ[rows] += ds @ k_MD[keys]", "dQ[rows] = ds @ k_MD[keys]", flash.check_against_torch),
    "no guard of -inf in the forward": (
        "shift = np.where(m_new == -np.inf, work(0), m_new)",
        "shift = m_new",
        flash.check_empty_rows,
    ),
    "no guard of -inf in the backward": (
        "L = np.where(L == -np.inf, work(np.inf), L)",
        "L = np.where(L == -np.inf, work(0), L) * 0 + L",
        flash.check_empty_rows,
    ),
    "diagonal off by one": ("seen &= ahead >= 0", "seen &= ahead >= 1", flash.check_against_torch),
    "a tile too many skipped": ("tile.start <= high", "tile.start < high", flash.check_against_torch),
    "offset ignored": ("offset = n_keys - Q.shape[2] if", "offset = 0 if", flash.check_against_torch),
    "window off by one": (
        "seen &= np.abs(ahead) < self.window",
        "seen &= np.abs(ahead) <= self.window",
        flash.check_masks,
    ),
    "the whole score matrix held": (
        "    O_NE, L_N = np.zeros(",
        "    scores = np.zeros((len(q_ND), len(k_MD)))\n    O_NE, L_N = np.zeros(",
        flash.check_memory,
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FLASH)
def test_flash_attention(name):
    old, new, check = FLASH[name]
    mutant = mutated(flash_attention, old, new)
    with pytest.raises(AssertionError):
        check(mutant.flash_attention_fwd, mutant.flash_attention_bwd)


SOFTMAX_TOPK = {
    "old sum not corrected": ("l_R = l_R * np.exp(m_R - shift_R) + ", "l_R = l_R + ", topk.check_rising),
    "ties to the highest index": (
        'order = np.argsort(-z, axis=1, kind="stable")[:, :k]',
        'order = z.shape[1] - 1 - np.argsort(-z[:, ::-1], axis=1, kind="stable")[:, :k]',
        topk.check_ties,
    ),
    "renormalised over k": (
        "    shape = (*logits.shape[:-1], k)\n    return index_RK",
        "    p_RK /= p_RK.sum(1, keepdims=True)\n    shape = (*logits.shape[:-1], k)\n    return index_RK",
        topk.check_not_renormalised,
    ),
    "no shift by the maximum": (
        "np.exp(z_RC - shift_R[:, None]).sum(axis=1)",
        "np.exp(z_RC).sum(axis=1)",
        topk.check_offsets,
    ),
    "padding that looks like a token": (
        "np.full((n_rows, k), -1)",
        "np.full((n_rows, k), 0)",
        topk.check_minus_infinity,
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", SOFTMAX_TOPK)
def test_softmax_topk(name):
    old, new, check = SOFTMAX_TOPK[name]
    mutant = mutated(softmax_topk, old, new)
    with pytest.raises(AssertionError):
        check(mutant.softmax_topk)


TERNARY = {
    "no clip": (
        "np.clip(np.rint(W / np.where(step == 0, 1.0, step)), -1, 1)",
        "np.rint(W / np.where(step == 0, 1.0, step))",
    ),
    "scale by the maximum": (
        "means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / lengths",
        "means = np.maximum.reduceat(np.abs(W.astype(np.float64)), starts, axis=1)",
    ),
    "groups across the outputs": (
        "starts = np.arange(0, W.shape[1], group_size)",
        "starts = np.arange(0, W.shape[1], 2 * group_size)",
    ),
    "scale not rounded before use": (
        "step = np.repeat(scales.astype(np.float64), lengths, axis=1)",
        "step = np.repeat(means * 1.001, lengths, axis=1)",
    ),
}


@pytest.mark.parametrize("name", TERNARY)
def test_ternary(name):
    mutant = mutated(ternary, *TERNARY[name])
    W = random(50, 300)
    codes, scales = mutant.ternary_project(W, 128)
    wanted_codes, wanted_scales = by_definition(W, 128)
    same = codes.shape == wanted_codes.shape and scales.shape == wanted_scales.shape
    assert not (same and np.array_equal(codes, wanted_codes) and np.array_equal(scales, wanted_scales))
