"""Each known mistake of a key-value cache, put into its source, is caught by the check that is named beside it."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from contract.cases import bench
from decode import checks_blocks as blocks
from decode import checks_kv_cache as checks
from ops.mutants import mutated

from weightless.decode import batch_runner, cache_attention, kv_cache, kv_storage, paged_cache

USERS = (kv_cache, paged_cache, batch_runner)


def put_in(monkeypatch, module: ModuleType, old: str, new: str) -> None:
    """Let everybody who uses `module` use its mutant."""
    mutant = mutated(module, old, new)
    for user in USERS:
        for name, value in list(vars(user).items()):
            if getattr(value, "__module__", "") == module.__name__:
                monkeypatch.setattr(user, name, getattr(mutant, name))


MUTANTS = {
    "causal offset of a piece ignored": (
        cache_attention,
        "behind = (past + np.arange(T))",
        "behind = (np.arange(T))",
        checks.check_chunks,
    ),
    "no causal rule within a piece": (cache_attention, "seen = behind >= 0", "seen = behind > -T", checks.check_chunks),
    "old sum not corrected": (cache_attention, "l = c * l + p.sum", "l = l + p.sum", checks.check_ragged),
    "old output not corrected": (cache_attention, "out = out * c[..., None] + p", "out = out + p", checks.check_ragged),
    "pieces that show nothing give NaN": (
        cache_attention,
        "shift = np.where(m_new == -np.inf, 0, m_new)",
        "shift = m_new",
        checks.check_window,
    ),
    "a tree sees what every query sees": (cache_attention, "if tree_TT is not None:", "if False:", checks.check_tree),
    "window off by one": (cache_attention, "behind < window", "behind <= window", checks.check_window),
    "room behind a sequence takes part": (
        kv_cache,
        "stop = n_keys - piece.dropped\n",
        "n_keys = stop = piece.keys.block_size\n",
        checks.check_ragged,
    ),
    "room behind a block is read": (
        paged_cache,
        "store.read(layer, block, slot, slot + n)",
        "store.read(layer, block, slot, self.block_size)",
        checks.check_ragged,
    ),
    "a padded block takes part": (
        paged_cache,
        "self._pieces(table, layer, oldest, n_keys), n_keys,",
        "self._pieces(table, layer, oldest, len(table.blocks) * self.block_size), len(table.blocks) * self.block_size,",
        checks.check_ragged,
    ),
    "fork without a copy": (
        kv_cache,
        "other.values.copy(), other.scales.copy()",
        "other.values, other.scales",
        checks.check_fork,
    ),
    "fork without copy on write": (
        paged_cache,
        "if self.references[table.blocks[i]] > 1",
        "if self.references[table.blocks[i]] > 9",
        checks.check_fork,
    ),
    "keys copied on write, values not": (
        paged_cache,
        "            self.values.copy_block(old, new)\n",
        "",
        checks.check_fork,
    ),
    "fork shares the table itself": (
        paged_cache,
        "copy.blocks, copy.lengths = list(table.blocks),",
        "copy.blocks, copy.lengths = table.blocks,",
        checks.check_fork,
    ),
    "fork counts nothing up": (
        paged_cache,
        "                self.references[block] += 1\n",
        "                pass\n",
        blocks.check_books,
    ),
    "copy on write counts nothing down": (paged_cache, "            self._release(old)\n", "", blocks.check_books),
    "freed while somebody names it": (
        paged_cache,
        "if self.references[block] == 0 and block not in",
        "if self.references[block] <= 1 and block not in",
        blocks.check_books,
    ),
    "never freed": (paged_cache, "            self._free.append(block)\n", "", blocks.check_reuse),
    "what a cut leaves is not given back": (
        paged_cache,
        "self._release(table.blocks.pop())",
        "table.blocks.pop()",
        blocks.check_books,
    ),
    "free blocks not poisoned": (
        paged_cache,
        "            if self.poison:\n                self._poison([block])\n",
        "",
        blocks.check_books,
    ),
    "refused tokens stay": (
        kv_cache,
        "for to, position in enumerate(chosen, start=n):",
        "for to, position in enumerate([], start=n):",
        checks.check_keep,
    ),
    "kept tokens move in a shared block": (
        paged_cache,
        "        if chosen:\n",
        "        if False:\n",
        checks.check_keep,
    ),
    "window leaves a block too early": (
        paged_cache,
        "max(0, min(table.lengths) - self.window) // self.block_size",
        "max(0, min(table.lengths) - self.window + self.block_size) // self.block_size",
        checks.check_window,
    ),
    "window never leaves a block": (
        paged_cache,
        "        if self.window is None:\n            return\n",
        "        return\n",
        checks.check_window,
    ),
    "window drops nothing": (kv_cache, "        if gone <= 0:\n", "        if True:\n", checks.check_window),
    "int8 without its scale": (
        kv_storage,
        "found * self.scales[layer, block, :, first:stop, None].astype(np.float32)",
        "found.astype(np.float32)",
        checks.check_int8,
    ),
    "int8 with one scale for all positions": (
        kv_storage,
        "(np.abs(x_GTK).max(axis=2) /",
        "(np.full(x_GTK.shape[:2], np.abs(x_GTK).max()) /",
        checks.check_int8,
    ),
    "scales not copied with their block": (
        kv_storage,
        "        self.scales[:, target] = self.scales[:, source]\n",
        "",
        blocks.check_int8_forks,
    ),
    "scales not counted": (kv_cache, ' + 2 * (self.format == "int8")', "", checks.check_int8),
    "bytes of keys alone": (kv_cache, "return 2 * self.n_layers *", "return self.n_layers *", checks.check_memory),
    "one more row of room a step": (
        kv_cache,
        "            room *= 2\n",
        "            room += 1\n",
        checks.check_copies,
    ),
    "one more block of room a step": (
        paged_cache,
        "self._grow(max(4, 2 * self.keys.n_blocks))",
        "self._grow(self.keys.n_blocks + 1)",
        checks.check_copies,
    ),
    "blocks known by their own tokens only": (
        paged_cache,
        "hashlib.sha256(name + part)",
        "hashlib.sha256(part)",
        blocks.check_prefix,
    ),
    "blocks known by their place only": (
        paged_cache,
        "hashlib.sha256(name + part)",
        "hashlib.sha256(name)",
        blocks.check_prefix,
    ),
    "tokens known by two bytes": (
        paged_cache,
        "dtype=np.int64).tobytes()",
        "dtype=np.int64).astype(np.uint16).tobytes()",
        blocks.check_prefix,
    ),
    "nothing left to compute": (paged_cache, "tokens[: max(0, len(tokens) - 1)]", "tokens", blocks.check_prefix),
    "a resumed block counts nobody": (
        paged_cache,
        "            self.references[self._remembered[name]] += 1\n",
        "",
        blocks.check_in_use,
    ),
    "eviction of a block in use": (
        paged_cache,
        "next((b for b in self._remembered.values() if self.references[b] == 0), None)",
        "next((b for b in self._remembered.values()), None)",
        blocks.check_in_use,
    ),
    "what was used last is evicted": (
        paged_cache,
        "next((b for b in self._remembered.values() if",
        "next((b for b in list(self._remembered.values())[::-1] if",
        blocks.check_eviction,
    ),
    "the order of filing, not of use": (paged_cache, "        self._used(names)\n", "", blocks.check_eviction),
    "the beginning of a chain goes before its end": (
        paged_cache,
        "for name in reversed(chain):",
        "for name in chain:",
        blocks.check_eviction,
    ),
    "a block that is written to stays remembered": (
        paged_cache,
        "            self._forget(table.blocks[i])\n",
        "            pass\n",
        blocks.check_written_blocks_are_forgotten,
    ),
    "a full cache forgets an empty sequence": (
        paged_cache,
        "            if begins:\n",
        "            if not any(table.lengths):\n",
        blocks.check_full,
    ),
    "a full cache keeps a sequence that never began": (
        paged_cache,
        "                del self._sequences[sequence]\n            raise",
        "                pass\n            raise",
        blocks.check_full,
    ),
    "a place that the window left is written to": (
        paged_cache,
        "dropped = self.block_size * sum(block == GONE for block in table.blocks)",
        "dropped = 0",
        blocks.check_no_way_back,
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name, monkeypatch):
    module, old, new, check = MUTANTS[name]
    put_in(monkeypatch, module, old, new)
    with pytest.raises(AssertionError):
        check(kv_cache.KVCache, paged_cache.PagedKVCache)


def check_positions(runner_class) -> None:
    """Keys are rotated by their place in the text: fed in pieces or at once, the model says the same (float64)."""
    model = bench("dense", "tied_mha_swiglu_f32")
    text = np.random.default_rng(0).integers(0, 280, 20).tolist()
    for paged in (False, True):
        runner = runner_class(model.program, model.weights, np.float64, paged)
        (wanted,) = runner.forward([(runner.begin(), text)])
        s = runner.begin()
        found = [runner.forward([(s, text[start:stop])])[0] for start, stop in ((0, 6), (6, 7), (7, 20))]
        np.testing.assert_allclose(np.concatenate(found), wanted, rtol=0, atol=1e-10)


def test_positions_are_absolute(monkeypatch):
    check_positions(batch_runner.BatchRunner)
    put_in(
        monkeypatch, batch_runner, "position_N = len(past) - 1 + np.array(depth)", "position_N = np.array(depth) - 1"
    )
    with pytest.raises(AssertionError):
        check_positions(batch_runner.BatchRunner)
