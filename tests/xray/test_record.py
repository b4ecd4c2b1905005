"""The record of a text holds what the ledger counts, to the byte, for every family.

Oracles: `LoggedEngine.touched` (the reduction that `weightless count --text` prints), the plain engine's nats (1e-5:
the logged one may add in another order) and its distribution, `cost.formula` where no text decides.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from contract.cases import CASES, bench
from xray.models import TEXT, counted

from weightless.base.errors import ConfigError, WeightlessError
from weightless.export.packed import open_packed
from weightless.program.cost import formula, is_exact
from weightless.program.program import REGISTRY
from weightless.xray import record as room
from weightless.xray.reasons import REASONS
from weightless.xray.record import Written, of_tokens, record
from weightless.xray.touches import unrolled

FIRST = [(name, next(iter(cases))) for name, cases in sorted(CASES.items())]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return counted(tmp_path_factory.mktemp("xray"), "ngram")


@pytest.mark.parametrize("case", FIRST, ids="-".join)
def test_every_family_sums_to_the_ledger(case):
    b = bench(*case)
    tokens = b.stream[:14]
    told = json.loads(json.dumps(of_tokens(b, tokens, top=3)))
    engine = b.logged_engine()
    nats, counts = engine.touched(tokens[:-1], tokens[1:])
    for i, token in enumerate(told["tokens"]):
        T, U, T64 = counts[i].sum(axis=0).tolist()
        assert (token["T"], token["U"], 64 * token["lines"]) == (T, U, T64)
        assert token["nats"] == pytest.approx(nats[i], rel=1e-5) and token["p"] == pytest.approx(math.exp(-nats[i]))
        parts = [part for n in token["touches"] for part in told["touches"][n]["tensors"]]
        assert sum(part["read"] + part["written"] for part in parts) == T
        assert distinct(parts) == U
        by = {n: (c["T"], c["U"], 64 * c["lines"]) for n, c in token["components"].items()}
        assert by == {n: tuple(c) for n, c in zip(engine.components, counts[i].tolist(), strict=True) if any(c)}
        if is_exact(b.program):
            want = formula(b.program, i + 1)  # lines apart: a tightly packed row may straddle one more of them
            assert {n: c[:2] for n, c in by.items()} == {n: (c.T, c.U) for n, c in want.items()}
    assert told["totals"]["T"] == counts[:, :, 0].sum()
    assert told["model"]["stored"] == sum(t["bytes"] for t in told["tensors"] if t["kind"] != "state")


def distinct(parts) -> int:
    """U anew: every byte of every tensor once."""
    found: dict[int, set[int]] = {}
    for part in parts:
        for first, end in unrolled(part["reads"]) + unrolled(part["writes"]):
            found.setdefault(part["tensor"], set()).update(range(first, end))
    return sum(map(len, found.values()))


@pytest.mark.parametrize("case", [("ngram", FIRST[[n for n, _ in FIRST].index("ngram")][1])], ids="-".join)
def test_odds_are_those_of_the_distribution(case):
    b = bench(*case)
    tokens, engine = b.stream[:9], b.engine()
    told = of_tokens(b, tokens, lambda token: Written(f"<{token}>", 2), top=4)
    for i, token in enumerate(told["tokens"]):
        engine.feed(int(tokens[i]))
        p_V = engine.distribution().astype(np.float64)
        assert token["rank"] == 1 + sum(p > p_V[token["id"]] for p in p_V)
        assert token["entropy"] == pytest.approx(-sum(p * math.log2(p) for p in p_V if p > 0), rel=1e-9)
        assert [other["p"] for other in token["top"]] == sorted(p_V.tolist(), reverse=True)[:4]
        assert token["at"] == 2 * i and token["text"] == f"<{tokens[i + 1]}>"


def test_of_a_text_it_is_what_the_artifact_scores(model):
    packed, told = open_packed(model), record(model, TEXT)
    ids = packed.tokenizer.encode(TEXT)
    assert [token["id"] for token in told["tokens"]] == ids
    assert "".join(token["text"] for token in told["tokens"]) == TEXT
    assert told["totals"]["bytes"] == len(TEXT.encode()) and told["totals"]["left_off"] == 0
    nats = packed.engine().score_stream(np.array([packed.tokenizer.end_of_text, *ids[:-1]]), np.array(ids))
    assert told["totals"]["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / len(TEXT), rel=1e-6)
    assert told["model"]["name"] == "ngram" and str(model.parent) not in json.dumps(told)


def test_long_texts_end_at_the_limit_and_the_context_and_say_so(model):
    packed = open_packed(model)
    n, context = len(packed.tokenizer.encode(TEXT * 9)), packed.program.context
    assert n > context
    for limit, shown in ((7, 7), (10**6, context)):
        told = record(packed, TEXT * 9, limit=limit)
        assert len(told["tokens"]) == shown and told["totals"]["left_off"] == n - shown


@pytest.mark.parametrize("text", ["\0<script>", "שלום ‮", "🦊", b"\xff\xfe\x80 a", "<|endoftext|>", "\ud800"])
def test_any_text_becomes_plain_data(model, text):
    told = record(model, text)
    again = json.loads(json.dumps(told))
    assert again["tokens"] and all(type(token["text"]) is str for token in again["tokens"])
    if isinstance(text, bytes):
        assert told["tokens"][0]["text"] == "‹ff›"
    if text == "<|endoftext|>":
        assert len(told["tokens"]) > 1 and told["totals"]["bytes"] == len(text)


@pytest.mark.parametrize(
    "wrong, words",
    [({"text": ""}, "too short"), ({"limit": 0}, "limit = 0"), ({"top": -1}, "top = -1"), ({"limit": True}, "limit")],
)
def test_bad_input_is_told(model, wrong, words):
    with pytest.raises(ConfigError, match=words):
        record(model, **{"text": TEXT, **wrong})


def test_a_map_that_disagrees_with_the_ledger_is_not_shown(monkeypatch):
    b = bench(*FIRST[0])
    wrong = lambda spans: sum(end - first for first, end in spans) + 1  # noqa: E731
    monkeypatch.setattr("weightless.xray.touches._length", wrong)
    with pytest.raises(WeightlessError, match="disagree"):
        of_tokens(b, b.stream[:3])


def test_every_operator_has_its_reason():
    assert set(REASONS) == set(REGISTRY)


def test_five_hundred_tokens_stay_small(model):
    """A few MB at most; here a table, whose accesses differ at every token."""
    packed = open_packed(model)
    told = of_tokens(packed, np.resize(packed.tokenizer.encode_array(TEXT).astype(np.int64), packed.program.context))
    per_token = len(json.dumps(told["tokens"] + told["touches"])) / len(told["tokens"])
    assert 512 * per_token < 4e6 and room.LIMIT == 512
