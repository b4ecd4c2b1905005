"""Hints towards the name that was meant. Oracle: what a person would have meant."""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest

KNOWN = ["d_model", "n_layers", "n_heads", "vocab_size"]


@pytest.mark.parametrize(("typed", "meant"), [("dmodel", "d_model"), ("n_layer", "n_layers"), ("vocab", "vocab_size")])
def test_the_nearest_name_is_hinted(typed, meant):
    assert nearest(typed, KNOWN) == f"did you mean {meant!r}?"


def test_far_from_everything_all_are_listed():
    assert nearest("zzz", iter(KNOWN)) == "known: d_model, n_heads, n_layers, vocab_size"


def test_every_error_of_input_is_one_kind():
    assert issubclass(ConfigError, WeightlessError)
    assert issubclass(CorruptFileError, WeightlessError)


def test_a_message_is_one_line_whatever_name_is_in_it():
    assert (
        str(WeightlessError("no column 'a\nb\x1b[2J\ud800' in naïve.txt"))
        == r"no column 'a\nb\x1b[2J\ud800' in naïve.txt"
    )


def test_a_long_list_of_known_names_is_cut():
    told = nearest("zzz", [f"{i:04}" for i in range(5000)])
    assert told.startswith("known: 0000, 0001") and told.endswith(", 0029 and 4970 more")


def test_a_value_of_any_length_leaves_where_and_remedy():
    told = str(WeightlessError(f"tokenizer.json: the model is {'x' * 9000}; only BPE can be imported"))
    assert told.startswith("tokenizer.json: the model is x") and told.endswith("x; only BPE can be imported")
    assert len(told) < 1300
