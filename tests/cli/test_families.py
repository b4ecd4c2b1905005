"""`weightless families`: every family with its kind, layers and bytes at three sizes; and the fields of one.

Oracles: `weightless count` of the same configuration, the Config itself, and layers written down by hand.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

from weightless.base.config import to_dict
from weightless.cli.families import SIZES, described, grouped
from weightless.models.catalog import families, family


@pytest.fixture(scope="module")
def listed():
    return {name: described(name, family(name)) for name in families()}


def test_every_family_is_listed_with_its_kind_and_layers(listed):
    kinds = {name: one["kind"] for name, one in listed.items()}
    known = {"dense": "trained", "experts": "trained", "ngram": "counted", "mixture": "composed"}
    assert kinds.items() >= known.items()
    assert listed["dense"]["layers"] == "Embedding, 4 × (Attention, FeedForward), FullHead"
    assert listed["feather"]["layers"] == "Embedding, 2 × HashedRows, 2 × (Attention, FeedForward), ClassHead"
    assert listed["mixture"]["layers"] == "feather + ngram"
    assert listed["recurrent"]["layers"] == "Embedding, 3 × Repeat(2 × (Attention, FeedForward)), FullHead"
    block = "MixStart, Attention, FeedForward"
    halves = f"4 × ({block}, Push), 4 × (Pop, {block}), {block}"
    assert listed["golf"]["layers"] == f"Embedding, FromStart(UNet({halves})), FullHead"
    assert listed["ngram"]["layers"] == "AcceptToken, 4 × NgramContext, 5 × NgramScore, NgramFinish"
    assert all(one["about"].lower().replace("-", "").startswith(name) for name, one in listed.items())


@pytest.mark.parametrize("name", ["dense", "experts", "infinigram"])
def test_sizes_are_those_that_count_tells(listed, name, command):
    one = listed[name]
    assert [at["size"] for at in one["sizes"]] == list(SIZES)
    default = to_dict(family(name).Config())
    for at in one["sizes"]:
        config = to_dict(family(name).Config.at(at["size"]))
        pairs = [f"{key}={json.dumps(value)}" for key, value in config.items() if value != default[key]]
        ledger = json.loads(command("count", name, "--json", *(["--set", *pairs] if pairs else []))[1])[name]
        told = {"parameters": ledger["parameters"], "stored": ledger["stored"]["weights"]}
        assert at == {"size": at["size"], **told, "touched": ledger["touched"]["T"]["mean"]}
        assert one["bounds"] == ledger["stored"]["is_bound"]


def test_bounds_are_called_so_and_figures_stand_whole(command, listed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = command("families")
    assert code == 0 and "…" not in out
    for one in listed.values():
        for at in one["sizes"]:
            for key in ("parameters", "touched", "stored"):
                told = f"{at[key]:,.0f}"
                assert f"at most {told}" in out if one["bounds"] else f" {told} " in out


def test_the_fields_of_a_family_stand_with_type_default_and_help(command):
    code, out, _ = command("families", "dense", "--json")
    fields = {one["field"]: one for one in json.loads(out)}
    assert code == 0
    assert list(fields) == [f.name for f in dataclasses.fields(family("dense").Config)]
    assert fields["norm"]["type"] == "pre | post | none | sandwich" and fields["norm"]["default"] == '"pre"'
    assert (fields["window"]["type"], fields["window"]["default"]) == ("int or none", "none")
    assert all(one["help"] for one in fields.values())
    table = command("families", "dense")[1]
    assert all(name in table for name in fields)


def test_every_field_of_every_family_has_help(command):
    for name in families():
        for one in json.loads(command("families", name, "--json")[1]):
            assert one["help"], f"{name}.{one['field']}"


def test_an_unknown_family_is_refused_by_its_nearest(command):
    code, _, err = command("families", "dens")
    assert code == 2 and "'dense'" in err


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("", ""),
        ("A", "A"),
        ("AAA", "3 × A"),
        ("ABCBCD", "A, 2 × (B, C), D"),
        ("ABABAB", "3 × (A, B)"),
        ("AABAAB", "2 × (A, A, B)"),
        ("ABC", "A, B, C"),
    ],
)
def test_what_repeats_is_told_once(names, told):
    assert grouped(list(names)) == told
