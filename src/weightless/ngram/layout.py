"""The flat arrays of a counted model: names, shapes, and the checks that make a stranger's arrays safe to walk.

Reverse trie of contexts; V words, order G, levels k = 1 .. G - 1.  A node of level k is a context (w_{t-k} .. w_{t-1}):

    ctx.k.word  u16/u32 [N_k]      k >= 2: the oldest word w_{t-k}, ascending among the children of one parent;
                                   level 1 has no such array: its node number is the word (N_1 = V)
    ctx.k.node  u32 [N_k + 1, 2]   column 0: first child in level k + 1; column 1: first entry of its list in cont.k;
                                   one final row closes both; the deepest level has the second column alone
    cont.k.word u16/u32 [M_k]      words that followed the context, ascending in the list
    cont.k.cum  u32 [M_k]          running sum of the list's own probabilities in quanta of 1 / QUANTA;
                                   gamma = QUANTA - last, at least 1; a list may be empty (gamma = QUANTA)
    cont.0.cum  u32 [V]            unigram distribution, running sum, every word >= 1, last = QUANTA

    p_0(w) = unigram;  p_k(w) = own_k(w) + gamma_k p_{k-1}(w)  for k = 1, 2, … while the context has a node.

Words are u16 when V <= 65,536, else u32.  Everything is normalised in integers, whatever the rounding was.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.ops.kneser_ney import QUANTA

MAX_ORDER = 8
Arrays = Mapping[str, np.ndarray]


def word_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    """The type of a stored word."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def array_names(order: int) -> list[str]:
    """Names of a model's arrays, in the order of their levels."""
    names = ["cont.0.cum"]
    for k in range(1, order):
        names += [f"ctx.{k}.word"] if k > 1 else []
        names += [f"ctx.{k}.node", f"cont.{k}.word", f"cont.{k}.cum"]
    return names


def order_of(arrays: Arrays) -> int:
    """G of a model, from the names it has."""
    order = 1
    while f"ctx.{order}.node" in arrays:
        order += 1
    return order


def vocab_of(arrays: Arrays) -> int:
    """V of a model."""
    return int(arrays["cont.0.cum"].shape[0])


def list_bounds(arrays: Arrays, k: int) -> np.ndarray:
    """The column of ctx.k.node that delimits the lists in cont.k, [N_k + 1]."""
    return arrays[f"ctx.{k}.node"][:, -1]


def check_layout(arrays: Arrays) -> None:
    """Raise CorruptFileError with the first broken promise of the layout above; silent when all hold."""
    order = order_of(arrays)
    expected = set(array_names(order))
    if set(arrays) != expected:
        wrong = sorted(set(arrays) ^ expected)
        raise CorruptFileError(f"n-gram arrays of order {order}: missing or unexpected {', '.join(wrong)}")
    vocab = vocab_of(arrays)
    _check_type(arrays, "cont.0.cum", np.dtype(np.uint32), (vocab,))
    unigrams = arrays["cont.0.cum"]
    _require(vocab > 0 and unigrams[0] > 0 and unigrams[-1] == QUANTA, "cont.0.cum does not end in QUANTA")
    _require(bool(np.all(unigrams[1:] > unigrams[:-1])), "cont.0.cum is not ascending")
    for k in range(1, order):
        _check_level(arrays, k, order, vocab)


def _check_level(arrays: Arrays, k: int, order: int, vocab: int) -> None:
    word = np.dtype(word_dtype(vocab))
    n_nodes = vocab if k == 1 else arrays[f"ctx.{k}.word"].shape[0]
    n_entries = arrays[f"cont.{k}.word"].shape[0]
    _check_type(arrays, f"ctx.{k}.node", np.dtype(np.uint32), (n_nodes + 1, 2 if k < order - 1 else 1))
    _check_type(arrays, f"cont.{k}.word", word, (n_entries,))
    _check_type(arrays, f"cont.{k}.cum", np.dtype(np.uint32), (n_entries,))
    lists = list_bounds(arrays, k)
    _check_bounds(lists, n_entries, f"ctx.{k}.node column {arrays[f'ctx.{k}.node'].shape[1] - 1}")
    _check_ascending(arrays[f"cont.{k}.word"], lists, vocab, f"cont.{k}.word")
    _check_ascending(arrays[f"cont.{k}.cum"], lists, QUANTA, f"cont.{k}.cum")
    if n_entries:
        _require(bool(np.all(arrays[f"cont.{k}.cum"] > 0)), f"cont.{k}.cum holds a word without probability")
    if k < order - 1:
        children = arrays[f"ctx.{k}.node"][:, 0]
        below = arrays[f"ctx.{k + 1}.word"]
        _check_type(arrays, f"ctx.{k + 1}.word", word, below.shape[:1])
        _check_bounds(children, below.shape[0], f"ctx.{k}.node column 0")
        _check_ascending(below, children, vocab, f"ctx.{k + 1}.word")


def _check_type(arrays: Arrays, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    found = arrays[name]
    _require(found.dtype == dtype and found.shape == shape, f"{name}: {found.dtype} {found.shape}, not {dtype} {shape}")


def _check_bounds(bounds: np.ndarray, end: int, name: str) -> None:
    _require(bounds[0] == 0 and bounds[-1] == end, f"{name} does not run from 0 to {end}")
    _require(bool(np.all(bounds[1:] >= bounds[:-1])), f"{name} goes backwards")


def _check_ascending(values: np.ndarray, bounds: np.ndarray, below: int, name: str) -> None:
    """Strictly ascending inside each range of `bounds`, and every value < `below`."""
    if values.size == 0:
        return
    _require(int(values.max()) < below, f"{name} holds a value >= {below}")
    broken = np.flatnonzero(values[1:] <= values[:-1]) + 1
    starts = np.zeros(values.size + 1, bool)
    starts[bounds] = True
    _require(bool(np.all(starts[broken])), f"{name} is not ascending inside its lists")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise CorruptFileError(f"n-gram arrays: {complaint}; build the model again")
