"""Our solution with one mistake each, and the status that the grader has to give it."""

from __future__ import annotations

from weightless.deck.card import Mutant

_FILE = "weightless/ops/flash_attention.py"
MUTANTS = (
    Mutant("D left out", _FILE, "            ds -= D_N[rows, None]\n", ""),
    Mutant("D summed over one tile", _FILE, "ds -= D_N[rows, None]", "ds -= (p * ds).sum(axis=1, keepdims=True)"),
    Mutant(
        "D summed over the first half of the row",
        _FILE,
        "np.sum(dO_NE * O_NE, axis=1)",
        "np.sum((dO_NE * O_NE)[:, : max(1, O_NE.shape[1] // 2)], axis=1)",
    ),
    Mutant("scale missing in dQ", _FILE, "        dQ[rows] *= scale\n", ""),
    Mutant("scale missing in dK", _FILE, "dK[keys] += ds.T @ q  #", "dK[keys] += ds.T @ q_ND[rows]  #"),
    Mutant("scale twice in dQ", _FILE, "dQ[rows] *= scale\n", "dQ[rows] *= scale * scale\n"),
    Mutant("dV overwritten", _FILE, "dV[keys] += p.T @ do", "dV[keys] = p.T @ do"),
    Mutant("dK overwritten", _FILE, "dK[keys] += ds.T @ q", "dK[keys] = ds.T @ q"),
    Mutant("dQ overwritten", _FILE, "dQ[rows] += ds @ k_MD[keys]", "dQ[rows] = ds @ k_MD[keys]"),
    Mutant("not multiplied by P", _FILE, "            ds *= p\n", ""),
    Mutant(
        "unmasked backwards",
        _FILE,
        "            s -= L[:, None]\n",
        "            s = q @ k_MD[keys].T\n            s -= L[:, None]\n",
    ),
    Mutant("L of the maximum alone", _FILE, "m + np.log(np.where(empty, work(1), l))", "m"),
    Mutant(
        "L in other units", _FILE, "m + np.log(np.where(empty, work(1), l))", "m + np.log2(np.where(empty, work(1), l))"
    ),
    Mutant("correction inverted", _FILE, "c = np.exp(m - shift)", "c = np.exp(np.minimum(shift - m, 50.0))"),
    Mutant("diagonal off by one", _FILE, "seen &= ahead >= 0", "seen &= ahead >= 1"),
    Mutant("a tile too many skipped", _FILE, "tile.start <= high", "tile.start < high"),
    Mutant("no guard of -inf forwards", _FILE, "shift = np.where(m_new == -np.inf, work(0), m_new)", "shift = m_new"),
    Mutant("no guard of -inf backwards", _FILE, "L = np.where(L == -np.inf, work(np.inf), L)", "L = L * 1"),
    Mutant(
        "worked out in float32", _FILE, "    work = working_dtype(q_ND)\n    scale", "    work = np.float32\n    scale"
    ),
    Mutant(
        "float32 answers with float64",
        _FILE,
        "return dQ.astype(Q.dtype, copy=False)",
        "return dQ.astype(np.float64)",
        ("WRONG_DTYPE",),
    ),
    Mutant("heads share a gradient", _FILE, "dQ[b, h], dk, dv = backward_head", "dQ[b, 0], dk, dv = backward_head"),
    Mutant(
        "more kept than allowed",
        _FILE,
        '"Q": Q, "K": K, "V": V}) if',
        '"Q": Q, "K": K, "V": V, "S": O @ O.swapaxes(2, 3)}) if',
        ("WRONG_SHAPE",),
    ),
    Mutant(
        "writes to the upstream gradient",
        "solution.py",
        "    return tiled.flash_attention_bwd(",
        "    dO *= 1.5\n    return tiled.flash_attention_bwd(",
    ),
    Mutant(
        "keeps the first cache it was given",
        "solution.py",
        "    return tiled.flash_attention_bwd(dO, cache,",
        "    cache = flash_attention_bwd.__dict__.setdefault('cache', cache)\n"
        "    return tiled.flash_attention_bwd(dO, cache,",
        ("WRONG_DTYPE", "CRASH"),
    ),
    Mutant(
        "the whole probabilities",
        _FILE,
        "    D_N = np.sum(",
        "    probabilities = np.ones((len(q_ND), len(k_MD)))\n    D_N = np.sum(",
        ("OOM",),
    ),
    Mutant("no tile skipped", _FILE, "if tile.start <= high and tile.stop > low:", "if True:", ("SLOW",)),
    Mutant(
        "zeros",
        "solution.py",
        "    return tiled.flash_attention_bwd(dO, cache, tile_size, causal, q_offset=q_offset)",
        '    return tuple(np.zeros_like(cache[name]) for name in "QKV")',
    ),
    Mutant(
        "nothing",
        "solution.py",
        "    return tiled.flash_attention_bwd(dO, cache, tile_size, causal, q_offset=q_offset)",
        "    return None",
        ("WRONG_SHAPE",),
    ),
)
