"""Each known mistake of the references, put into their source, is caught by the check that is named beside it."""

import pytest
from ops import checks_flash_attention as flash
from ops import checks_layer_norm as norm
from ops import checks_softmax_topk as topk
from ops import checks_ternary as codes
from ops.mutants import mutated

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
    "gamma missing in dx": ("dyhat = dy * gamma.astype(np.float64)", "dyhat = dy * 1.0", norm.check_against_autograd),
    "dbeta not summed over T": ("dbeta = np.sum(dy, axis=rows,", "dbeta = np.sum(dy, axis=0,", norm.check_identities),
    "float64 comes back for float32": (
        "return y.astype(x.dtype), LayerNormCache",
        "return y, LayerNormCache",
        norm.check_single,
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
    "output not corrected": ("            o *= c[:, None]\n", "", flash.check_against_torch),
    "sum not corrected": ("l = c * l + p.sum(axis=1)", "l = l + p.sum(axis=1)", flash.check_against_torch),
    "scores not scaled": ("* work(scale)\n", "* work(1)\n", flash.check_against_torch),
    "D left out": ("            ds -= D_N[rows, None]\n", "", flash.check_invariances),
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
    "padded keys seen": ("seen &= self.padding_M[keys]", "pass", flash.check_masks),
    "shared heads overwritten": ("        dK[b, g] += dk\n", "        dK[b, g] = dk\n", flash.check_against_torch),
    "heads of another group": (
        "g = h // shared\n        O[b, h]",
        "g = h % K.shape[1]\n        O[b, h]",
        flash.check_against_torch,
    ),
    "L of the maximum alone": ("m + np.log(np.where(empty, work(1), l))", "m", flash.check_against_torch),
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
    "renormalised over the last block": (
        "l_R = l_R * np.exp(m_R - shift_R) + np.exp(z_RC - shift_R[:, None]).sum(axis=1)",
        "l_R = np.exp(z_RC - shift_R[:, None]).sum(axis=1)",
        topk.check_rising,
    ),
    "a row of -inf shifted by itself": (
        "shift_R = np.where(m_new_R == -np.inf, 0.0, m_new_R)",
        "shift_R = m_new_R",
        topk.check_minus_infinity,
    ),
    "a row of -inf divided by its sum": (
        "/ np.where(l_R == 0, 1.0, l_R)[:, None]",
        "/ l_R[:, None]",
        topk.check_minus_infinity,
    ),
    "indices of the block, not of the row": (
        "np.arange(start, start + z_RC.shape[1])",
        "np.arange(z_RC.shape[1])",
        topk.check_sizes,
    ),
    "as many as there are tokens": (
        "    n_rows, vocab_size = z_RV.shape\n",
        "    n_rows, vocab_size = z_RV.shape\n    k = min(k, vocab_size)\n",
        topk.check_sizes,
    ),
    "a whole row at a time": ("BLOCK = 4096", "BLOCK = 1 << 30", topk.check_memory),
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
        codes.check_codes,
    ),
    "scale by the maximum": (
        "means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / lengths",
        "means = np.maximum.reduceat(np.abs(W.astype(np.float64)), starts, axis=1)",
        codes.check_definition,
    ),
    "groups of twice the size": (
        "starts = np.arange(0, W.shape[1], group_size)",
        "starts = np.arange(0, W.shape[1], 2 * group_size)",
        codes.check_definition,
    ),
    "a short last group counts as a whole one": (
        "starts, axis=1) / lengths",
        "starts, axis=1) / group_size",
        codes.check_definition,
    ),
    "scale not rounded before use": (
        "step = np.repeat(scales.astype(np.float64), lengths, axis=1)",
        "step = np.repeat(means * 1.001, lengths, axis=1)",
        codes.check_definition,
    ),
    "scale kept in fp32": (
        "scales = means.astype(np.float16)",
        "scales = means.astype(np.float32)",
        codes.check_definition,
    ),
    "groups of zeros divide by zero": ("np.where(step == 0, 1.0, step)", "step", codes.check_zero_groups),
    "groups of zeros get a scale": (
        "scales = means.astype(np.float16)",
        "scales = np.maximum(means, 1e-4).astype(np.float16)",
        codes.check_zero_groups,
    ),
    "projected again from codes times scale": (
        "what = ternary_expand(*ternary_project(W, group_size), group_size, W.dtype)",
        "what = ternary_expand(*ternary_project(W, group_size), group_size, W.dtype)\n"
        "    what = ternary_expand(*ternary_project(what, group_size), group_size, W.dtype)",
        codes.check_master_copy,
    ),
    "a gradient through the scale": (
        "return dy @ what, dy_NR.T @ x_NC",
        "dW, sign = dy_NR.T @ x_NC, np.sign(what)\n"
        "    return dy @ what, dW + sign * (dW * sign).mean(axis=1, keepdims=True)",
        codes.check_straight_through,
    ),
    "no gradient where the code is 0": (
        "return dy @ what, dy_NR.T @ x_NC",
        "return dy @ what, (dy_NR.T @ x_NC) * (what != 0)",
        codes.check_straight_through,
    ),
    "the last code of a byte first": (
        "bits.reshape(n_rows, -1, 4) << np.arange(0, 8, 2, dtype=np.uint8)",
        "bits.reshape(n_rows, -1, 4) << np.arange(6, -1, -2).astype(np.uint8)",
        codes.check_packing,
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", TERNARY)
def test_ternary(name):
    old, new, check = TERNARY[name]
    with pytest.raises(AssertionError):
        check(mutated(ternary, old, new))
