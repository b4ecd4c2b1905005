"""Every name of weightless.reference refuses what it cannot take: a ValueError that names the argument, and its shape.

Oracle: the table below, which has to name every public function and class.  More cases of each stand beside its own
tests; here are those that all of them share: wrong rank, sizes that do not fit, NaN, nothing at all, sizes below 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from contract.cases import bench

from weightless import reference
from weightless.base.errors import ArgumentError, ConfigError
from weightless.decode.batch_runner import BatchRunner
from weightless.reference import KVCache, PagedKVCache, flash_attention_fwd, layer_norm_forward, softmax_topk

X = np.ones((1, 2, 4, 3))
ROW = np.ones(3)
NAN = float("nan")
CACHE = flash_attention_fwd(X, X, X, 2, return_cache=True)[1]
NORM = layer_norm_forward(np.ones((2, 3)), ROW, ROW)[1]


def model(tokens, mask, positions) -> np.ndarray:
    return np.zeros((len(tokens), 7))


def log_probs(prefixes) -> np.ndarray:
    return np.zeros((len(prefixes), 7))


def cached(kind: Callable, **options) -> Callable:
    """append of a new cache: 1 layer, 2 key-value heads of width 3."""
    return lambda k, v: kind(1, 2, 3, **options).append(0, 0, k, v)


NEW = np.ones((2, 1, 3))
CASES = [
    ("layer_norm_forward", (ROW[0], ROW, ROW), r"x should have the axes \(..., D\), but its shape is \(\)"),
    ("layer_norm_forward", (X, ROW[:2], ROW), r"gamma of shape \(2,\) should have the shape of the last axis of x"),
    ("layer_norm_forward", (X * NAN, ROW, ROW), r"x of shape \(1, 2, 4, 3\) holds nan"),
    ("layer_norm_forward", (X[:0], ROW, ROW), r"x is empty: its shape is \(0, 2, 4, 3\)"),
    ("layer_norm_forward", (X, ROW, ROW, 0.0), "eps should be a positive number, not 0.0"),
    ("layer_norm_backward", (X, NORM), r"dy of shape \(1, 2, 4, 3\) should have the shape of x, \(2, 3\)"),
    ("layer_norm_backward", (np.full((2, 3), NAN), NORM), r"dy of shape \(2, 3\) holds nan"),
    ("layer_norm_backward", (np.ones((2, 3)), None), "cache should be what layer_norm_forward returned"),
    ("softmax_topk", (ROW[0], 1), r"logits should have the axes \(..., V\), but its shape is \(\)"),
    ("softmax_topk", (ROW, 0), "k should be a whole number of at least 1, not 0"),
    ("softmax_topk", (ROW * NAN, 1), "logits hold nan in row 0 at token 0"),
    ("softmax_topk", (X[:0], 1), r"logits is empty: its shape is \(0, 2, 4, 3\)"),
    ("flash_attention_fwd", (X[0], X, X, 2), r"Q should have the axes \(B, H, N, D\), but its shape is \(2, 4, 3\)"),
    ("flash_attention_fwd", (X[:, :1], X, X, 2), r"heads of Q should be a multiple of those of K.* Q \(1, 1, 4, 3\)"),
    ("flash_attention_fwd", (X, X, X * NAN, 2), r"V of shape \(1, 2, 4, 3\) holds nan"),
    ("flash_attention_fwd", (X[:0], X[:0], X[:0], 2), r"Q is empty: its shape is \(0, 2, 4, 3\)"),
    ("flash_attention_fwd", (X, X, X, 0), "tile_size should be a whole number of at least 1, not 0"),
    ("flash_attention_bwd", (X[0], CACHE, 2), r"dO should have the axes \(B, H, N, E\), but its shape is \(2, 4, 3\)"),
    ("flash_attention_bwd", (X[:, :1], CACHE, 2), r"dO of shape \(1, 1, 4, 3\) should have the shape of O"),
    ("flash_attention_bwd", (X * NAN, CACHE, 2), r"dO of shape \(1, 2, 4, 3\) holds nan"),
    ("flash_attention_bwd", (X, CACHE, 0), "tile_size should be a whole number of at least 1, not 0"),
    ("flash_attention_bwd", (X, {"O": X}, 2), "cache should be what flash_attention_fwd returned"),
    ("ternary_project", (ROW,), r"W should have the axes \(R, C\), but its shape is \(3,\)"),
    ("ternary_project", (np.full((2, 3), NAN),), r"W of shape \(2, 3\) holds nan"),
    ("ternary_project", (np.ones((0, 3)),), r"W is empty: its shape is \(0, 3\)"),
    ("ternary_project", (np.ones((2, 3)), 0), "group_size should be a whole number of at least 1, not 0"),
    ("batched_beam_search", ([], 1, 1, 0.6, 0, log_probs), "prompts should be a list of lists of token ids"),
    ("batched_beam_search", ([[]], 1, 1, 0.6, 0, log_probs), r"prompts\[0\] should be a list of at least one token id"),
    ("batched_beam_search", ([[1]], 0, 1, 0.6, 0, log_probs), "beam_width should be a whole number of at least 1"),
    ("batched_beam_search", ([[1]], 1, 1, NAN, 0, log_probs), "alpha should be a finite number, not nan"),
    ("batched_beam_search", ([[1]], 1, 1, 0.6, 7, log_probs), "eos_token_id 7 is not in the vocabulary"),
    ("build_tree_mask", (0, []), "prompt_len should be a whole number of at least 1, not 0"),
    ("build_tree_mask", (1, [0]), r"tree_parents\[0\] is 0; a parent is -1 or a node before its child"),
    ("build_tree_mask", (1, [[-1]]), r"tree_parents\[0\] should be a whole number of at least -1"),
    ("verify_and_accept", ([], [], [], model), "prompt_len should be a whole number of at least 1, not 0"),
    ("verify_and_accept", ([1], [1], [], model), "1 tree_tokens and 0 tree_parents"),
    ("verify_and_accept", ([1], [7], [-1], model), "tree token 7 is outside the vocabulary of 7"),
    ("verify_and_accept", ([1], [1], [-1], model, NAN), "temperature should be a finite number, not nan"),
    ("verify_and_accept", ([1], [], [], lambda *_: ROW), r"logits of shape \(1, V\), not \(3,\)"),
]
for kind in (KVCache, PagedKVCache):
    CASES += [
        (kind.__name__, (0, 2, 3), "n_layers should be a whole number of at least 1, not 0"),
        (kind.__name__, (1, 2, 3, *([16, None] * (kind is PagedKVCache)), "q4"), "cache format 'q4'"),
    ]
    CASES += [
        (kind.__name__, case, message)
        for case, message in (
            ((NEW[0], NEW[0]), r"k_HTK should have the axes \(H, T, K\), but its shape is \(1, 3\)"),
            ((NEW[:1], NEW[:1]), r"k_HTK of shape \(1, 1, 3\) should have the shape \(2, T, 3\)"),
            ((NEW * NAN, NEW), r"k_HTK of shape \(2, 1, 3\) holds nan"),
            ((NEW[:, :0], NEW[:, :0]), r"k_HTK is empty: its shape is \(2, 0, 3\)"),
        )
    ]


def called(name: str, arguments: tuple) -> object:
    """The function, or for two arrays `append` of a new cache."""
    kind = getattr(reference, name)
    if isinstance(kind, type) and isinstance(arguments[0], np.ndarray):
        return cached(kind)(*arguments)
    return kind(*arguments)


@pytest.mark.parametrize("name, arguments, message", CASES)
def test_what_cannot_be_taken_is_named(name, arguments, message):
    with pytest.raises(ArgumentError, match=message) as refused:
        called(name, arguments)
    assert isinstance(refused.value, ValueError) and "\n" not in str(refused.value)


def test_every_public_name_is_among_the_cases():
    assert {name for name, _, _ in CASES} == set(reference.__all__)


@pytest.mark.parametrize("format, size", [("f32", 1e300), ("f16", 1e5), ("int8", 1e7)])
@pytest.mark.parametrize("kind", [KVCache, PagedKVCache])
def test_numbers_that_a_format_cannot_hold_are_refused(kind, format, size):
    """They would be stored as infinity, and read as NaN."""
    with pytest.raises(ArgumentError, match=rf"v_HTK of shape \(2, 1, 3\) holds 1e\+\d+, too much for {format}"):
        cached(kind, format=format)(NEW, NEW * size)


def test_k_beyond_the_vocabulary_is_padded_not_refused():
    index, p = softmax_topk(np.zeros((2, 3)), 5)
    assert index.tolist() == 2 * [[0, 1, 2, -1, -1]]
    np.testing.assert_allclose(p, 2 * [[1 / 3, 1 / 3, 1 / 3, 0, 0]], rtol=1e-15)


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths():
    small = bench("dense", "tied_mha_swiglu_f32")
    runner = BatchRunner(small.program, small.weights)
    context = runner.context
    with pytest.raises(ConfigError, match=f"{context + 1} tokens do not fit the model's context of {context}"):
        runner.forward([(runner.begin(), [1] * (context + 1))])
