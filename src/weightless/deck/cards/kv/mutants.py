"""Our solution of `kv` with one known mistake each."""

from __future__ import annotations

from weightless.deck.card import Mutant

CACHE, ATTENTION = "weightless/decode/kv_cache.py", "weightless/decode/cache_attention.py"

MUTANTS = (
    Mutant(
        "causal offset of a piece ignored",
        ATTENTION,
        "behind = (past + np.arange(T))[:, None] - key_S\n    seen = behind",
        "behind = (np.arange(T))[:, None] - key_S\n    seen = behind",
    ),
    Mutant("no causal rule within a piece", ATTENTION, "seen = behind >= 0", "seen = behind > -T"),
    Mutant("a position does not see itself", ATTENTION, "seen = behind >= 0", "seen = (behind > 0) | (key_S == 0)"),
    Mutant("scores not scaled", ATTENTION, "* work(1 / np.sqrt(K))", "* work(1)"),
    Mutant("no shift by the maximum", ATTENTION, "shift = np.where(m_new == -np.inf, 0, m_new)", "shift = m_new * 0"),
    Mutant(
        "heads of another group",
        ATTENTION,
        "q_HTK.reshape(n_kv_heads, shared * T, K)",
        "q_HTK.reshape(shared, n_kv_heads, T, K).swapaxes(0, 1).reshape(n_kv_heads, shared * T, K)",
    ),
    Mutant(
        "room behind a sequence takes part",
        CACHE,
        "stop = n_keys - piece.dropped\n",
        "n_keys = stop = piece.keys.block_size\n",
    ),
    Mutant("all layers write into the first", CACHE, "piece.keys.write(layer, 0,", "piece.keys.write(0, 0,"),
    Mutant(
        "copies share their memory",
        CACHE,
        "other.values.copy(), other.scales.copy()",
        "other.values, other.scales",
    ),
    Mutant("one more position of room a step", CACHE, "            room *= 2\n", "            room += 1\n", ("SLOW",)),
    Mutant("sixty-four times the room", CACHE, "            room *= 2\n", "            room *= 64\n", ("OOM",)),
    Mutant("one float narrower than asked", "solution.py", "FORMATS[self.dtype.name])", '"f32")'),
    Mutant(
        "positions count from the piece",
        "solution.py",
        "self.filled[b, layer] + np.arange(n)",
        "np.arange(n)",
    ),
    Mutant(
        "padding is appended", "solution.py", "k[b, :, :n], v[b, :, :n])", "k[b], v[b])", ("WRONG_NUMERIC", "CRASH")
    ),
    Mutant(
        "padding is left as it was", "solution.py", "out = np.zeros(q.shape, self.dtype)", "out = q.astype(self.dtype)"
    ),
    Mutant(
        "padding of the batch is multiplied",
        "solution.py",
        "                self.store.append(self.numbers[b], layer, k[b, :, :n], v[b, :, :n])\n",
        "                self.store.append(self.numbers[b], layer, k[b, :, :n] + 0 * k[b, :, -1:], v[b, :, :n])\n",
        ("WRONG_NUMERIC", "CRASH"),
    ),
    Mutant(
        "a sequence that stands twice is one",
        "solution.py",
        "if row < 0 or number in numbers:",
        "if row < 0:",
        ("WRONG_NUMERIC", "CRASH"),
    ),
    Mutant(
        "reorder keeps the order", "solution.py", "        for row in rows:\n", "        for row in sorted(rows):\n"
    ),
    Mutant(
        "a new sequence begins with an old one's length",
        "solution.py",
        "self.filled[row] * (row >= 0) for",
        "self.filled[row] for",
    ),
    Mutant(
        "sequences that left are kept",
        "solution.py",
        "            self.store.free(number)\n",
        "            pass\n",
        ("OOM",),
    ),
    Mutant(
        "every step recomputes in Python",
        "solution.py",
        "out[b, :, :n] = self.store.attend(self.numbers[b], layer, q[b, :, :n])",
        "out[b, :, :n] = [self.store.attend(self.numbers[b], layer, q[b, :, :n])[h] "
        "for h in range(q.shape[1]) for _ in range(8)][::8]",
        ("SLOW",),
    ),
)
