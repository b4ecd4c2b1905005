"""Our solution with one mistake each, and the status that the grader has to give it."""

from __future__ import annotations

from weightless.deck.card import Mutant

_FILE = "weightless/ops/flash_attention.py"
MUTANTS = (
    Mutant("correction inverted", _FILE, "c = np.exp(m - shift)", "c = np.exp(np.minimum(shift - m, 50.0))"),
    Mutant("output not corrected", _FILE, "            o *= c[:, None]\n", ""),
    Mutant("sum not corrected", _FILE, "l = c * l + p.sum(axis=1)", "l = l + p.sum(axis=1)"),
    Mutant("scores not scaled", _FILE, "* work(scale)\n", "* work(1)\n"),
    Mutant("no maximum taken out", _FILE, "m_new = np.maximum(m, s.max(axis=1))", "m_new = np.zeros_like(m)"),
    Mutant("maximum of the tile alone", _FILE, "m_new = np.maximum(m, s.max(axis=1))", "m_new = s.max(axis=1)"),
    Mutant("diagonal off by one", _FILE, "seen &= ahead >= 0", "seen &= ahead >= 1"),
    Mutant("diagonal tile unmasked", _FILE, "keys.stop - 1 <= rows.start", "keys.start <= rows.start"),
    Mutant("a tile too many skipped", _FILE, "tile.start <= high", "tile.start < high"),
    Mutant("output not divided", _FILE, "        o /= np.where(empty, work(1), l)[:, None]\n", ""),
    Mutant(
        "float32 answers with float64",
        _FILE,
        "O = np.zeros((*Q.shape[:3], V.shape[3]), Q.dtype)",
        "O = np.zeros((*Q.shape[:3], V.shape[3]))",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "worked out in float32", _FILE, "    work = working_dtype(q_ND)\n    O_NE", "    work = np.float32\n    O_NE"
    ),
    Mutant(
        "ragged end left out",
        _FILE,
        "for start in range(0, n, tile_size):",
        "for start in range(0, max(tile_size, n - n % tile_size), tile_size):",
    ),
    Mutant("no guard of -inf", _FILE, "shift = np.where(m_new == -np.inf, work(0), m_new)", "shift = m_new"),
    Mutant("no guard of an empty sum", _FILE, "        empty = l == 0\n", "        empty = l < 0\n"),
    Mutant("window off by one", _FILE, "seen &= np.abs(ahead) < self.window", "seen &= np.abs(ahead) <= self.window"),
    Mutant("padded keys seen", _FILE, "seen &= self.padding_M[keys]", "pass"),
    Mutant("offset ignored", _FILE, "if q_offset is None else q_offset", "if q_offset is None else 0"),
    Mutant(
        "writes to Q",
        _FILE,
        "        q = q_ND[rows].astype(work) * work(scale)\n",
        "        q = q_ND[rows]\n        q *= work(scale)\n",
    ),
    Mutant(
        "the whole score matrix",
        _FILE,
        "    O_NE, L_N = np.zeros(",
        "    scores = np.ones((len(q_ND), len(k_MD)))\n    O_NE, L_N = np.zeros(",
        ("OOM",),
    ),
    Mutant("no tile skipped", _FILE, "if tile.start <= high and tile.stop > low:", "if True:", ("SLOW",)),
    Mutant(
        "zeros",
        "solution.py",
        "return tiled.flash_attention_fwd(Q, K, V, tile_size, causal, **masks)",
        "return np.zeros_like(Q)",
    ),
    Mutant(
        "nothing",
        "solution.py",
        "return tiled.flash_attention_fwd(Q, K, V, tile_size, causal, **masks)",
        "return None  # type: ignore",
        ("WRONG_SHAPE",),
    ),
)
