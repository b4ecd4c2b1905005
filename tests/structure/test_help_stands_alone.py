"""`help(function)` is enough to use it: every argument, shapes, errors, and what the fast twins do otherwise.

Oracle: the signatures.  What is asked of: weightless.reference and its twins, the layers, the tokenizer.
"""

from __future__ import annotations

import inspect
import re

import pytest

import weightless.layers.functions as layers
import weightless.reference as reference
from weightless.kernels.dispatch import ALGORITHMS, BACKENDS, available, dispatch
from weightless.tokenizer import Tokenizer, train_bpe

SHAPE = re.compile(r"\[[A-Za-z0-9_ .,/]+\]|\(([.]{3}|[A-Z0-9])[^()]*\)")
NO_ARRAYS = {"train_bpe", "Tokenizer.train", "hashed_row"}
NO_ERRORS_OF_ITS_OWN = {"hashed_row", "hashed_rows", "looked_up", "target_slots", "block_step"}


def documented() -> dict[str, object]:
    """Name: function; of a class its constructor (named as the class) and its public methods."""
    found: dict[str, object] = {}
    for name in reference.__all__:
        thing = getattr(reference, name)
        found[name] = thing
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, inspect.isfunction)
            found |= {f"{name}.{key}": method for key, method in methods if not key.startswith("_")}
    functions = [getattr(layers, name) for name in layers.__all__]
    found |= {f.__name__: f for f in functions if inspect.isfunction(f)}
    return found | {"train_bpe": train_bpe, "Tokenizer.train": Tokenizer.train}


DOCUMENTED = documented()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_argument_is_explained(name):
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    for argument in inspect.signature(DOCUMENTED[name]).parameters:
        if argument not in ("self", "cls"):
            assert re.search(rf"\b{argument}\b", text), f"help({name}) does not explain {argument}"
            assert not argument.startswith("_")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_shapes_and_errors_are_said(name):
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    if name not in NO_ERRORS_OF_ITS_OWN:
        assert "Error" in text, f"help({name}) does not say what it raises"
    takes_arrays = name.count(".") == 0 and not inspect.isclass(DOCUMENTED[name]) and name not in NO_ARRAYS
    if takes_arrays:
        assert SHAPE.search(text), f"help({name}) gives no shape"
    assert "weightless." not in text and not re.search(r"\b\w+\.py\b", text), f"help({name}) sends elsewhere"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax_topk", ("Ties", "lowest index", "-1", "probability 0", "dtype", "not renormalised")),
        ("flash_attention_fwd", ("zeros", "M - N", "True where a key may be seen", "grouped", "dtype of Q")),
        ("flash_attention_bwd", ("gradient 0", "summed", "(B, G, M, E)")),
        ("layer_norm_forward", ("inside the root", "(..., D)", "float64", "(..., 1)")),
        ("layer_norm_backward", ("(D,)", "every axis but the last")),
        ("batched_beam_search", ("Ties", "nothing is padded", "earlier beam", "end token included", "n^alpha")),
        ("build_tree_mask", ("True = may", "-1", "siblings")),
        ("verify_and_accept", ("FOLLOWS", "ties to the lowest id", "without replacement", "add up to 1")),
        ("ternary_project", ("half to the even", "may be shorter", "ceil(C / group_size)", "float16")),
        ("KVCache", ("nothing is padded", "window", "nbytes")),
        ("PagedKVCache", ("nothing is padded", "CacheFull", "block_size - 1")),
    ],
)
def test_what_is_pinned_is_said(name, words):
    text = " ".join((inspect.getdoc(getattr(reference, name)) or "").split())
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_twins_say_what_their_reference_says_and_what_is_different(algorithm):
    truth = dispatch(algorithm, "numpy")
    for backend in BACKENDS[1:]:
        if available(algorithm)[backend]:
            continue
        twin = dispatch(algorithm, backend)
        text = inspect.getdoc(twin) or ""
        assert text.startswith(inspect.getdoc(truth) or "?") and len(text) > len(inspect.getdoc(truth) or "")
        for argument in inspect.signature(twin).parameters:
            assert re.search(rf"\b{argument}\b", text), f"{backend} {algorithm} does not explain {argument}"
