"""What is overheard adds up to what is scored.

Oracle: the compiled engine's score of the same token, and the logit of each node's probability.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from countmix.small import PIECES, V, text
from countmix.test_counted_models import made

from weightless.base.errors import ConfigError
from weightless.lab.overheard import overheard, top_of_tree
from weightless.lab.report.overheard import overheard_svg
from weightless.lab.report.token_tree import path_svg, tree_svg
from weightless.models.countmix import Config
from weightless.program.operators.countmix.listening import input_names, listen, spoken


@pytest.fixture(scope="module", params=[("depth", "node", "confidence", "input", "token"), ("input",)])
def packed(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp("listening"), Config(V, 64, stored_mb=1.0, mixers=request.param), text(8000))


def heard(packed, tokens, target):
    engine = packed.audit_engine()
    for token in tokens:
        engine.feed(int(token))
    (op,) = packed.program.heads["score"]
    return listen(op, engine.arena, int(target))


@pytest.mark.parametrize("at", [1, 7, 63])
def test_the_path_is_what_the_compiled_engine_scores(packed, at):
    """To the float32 that the engine leaves its score in."""
    tokens, engine = text(80, seed=3), packed.engine()
    for token in tokens[:at]:
        engine.feed(int(token))
    for target in (*tokens[at : at + 3], 0, V - 1):
        steps = heard(packed, tokens[:at], target)
        assert -sum(math.log(step.p) for step in steps) == pytest.approx(engine.score(int(target)), rel=1e-6)
        assert steps[0].low == 0 and steps[0].high == V
        last = steps[-1]
        assert (last.high if last.right else last.node) - (last.node if last.right else last.low) == 1


def test_pushes_add_up_to_the_logit(packed):
    """Each of the sums is rounded to 1/256; five of them, each with a weight of at most two."""
    tokens, n_checked = text(80, seed=3), 0
    for target in range(0, V, 7):
        for step in heard(packed, tokens[:50], target):
            logit = math.log(step.p_right / (1 - step.p_right))
            if abs(logit) < 4:
                assert sum(step.pushes) == pytest.approx(logit, abs=(0.5 * 5 * 2 + 1) / 256)
                n_checked += 1
    assert n_checked > 30


def test_inputs_that_know_nothing_are_silent(packed):
    """At the first position no list and no window has anything to say; order 0 and the bias always have."""
    (op,) = packed.program.heads["score"]
    names = [name for name, _ in input_names(op)]
    steps = heard(packed, text(1), 5)
    for step in steps:
        said = dict(zip(names, zip(step.logits, step.weights, strict=True), strict=True))
        assert said["window o1"] == said["window pairs"] == (0.0, 0.0)
        assert said["bias"][0] == pytest.approx(0.3, abs=1 / 256)


def test_contexts_in_words():
    assert spoken("o4") == "last 4 tokens" and spoken("t2") == "the token 2 back" and spoken("o1+w0") == "o1+w0"
    assert len(PIECES) == V


def test_the_record_tells_of_the_same_path(packed):
    """p of the sides: the compiled engine's distribution, summed over their tokens; to its float32."""
    tokens = text(80, seed=3)
    told = overheard(packed, tokens, 40)
    assert told["token"] == f"#{tokens[40]}" and told["before"][-1] == f"#{tokens[39]}" and told["position"] == 40
    reached, n = 1.0, V
    for step in told["steps"]:
        left, right = step["sides"]
        assert left["tokens"] + right["tokens"] == n and len(step["logits"]) == len(told["inputs"])
        assert right["p"] == pytest.approx(reached * step["p_right"], abs=1e-6)
        taken = right if step["right"] else left
        reached, n = taken["p"], taken["tokens"]
    assert (
        n == 1 and taken["examples"] == [told["token"]] and -math.log(reached) == pytest.approx(told["nats"], rel=1e-5)
    )


def test_the_top_of_the_tree_holds_every_token_once(packed):
    tokens = text(500, seed=5)
    top = top_of_tree(packed, tokens, 3)
    deepest = [c for a in top["sides"] for b in a["sides"] for c in b["sides"] or [b]]
    assert sum(branch["tokens"] for branch in deepest) == V and sum(b["share"] for b in deepest) == pytest.approx(1)
    most = int((tokens[:, None] == range(V)).sum(0).argmax())
    assert top["examples"][0] == f"#{most}"


def test_what_cannot_be_overheard_is_told(packed):
    for at in (0, 80, 70):
        with pytest.raises(ConfigError, match=r"choose one of 1\.\.64"):
            overheard(packed, text(80), at)


def test_pictures_are_drawn_of_any_model(packed):
    """Every input is a row, every step a column, and the file is XML."""
    told = overheard(packed, text(80, seed=3), 40)
    for svg in (overheard_svg(told), path_svg(told), tree_svg(top_of_tree(packed, text(500))), tree_svg(told | TOP)):
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    for name, _ in told["inputs"]:
        assert f">{name.removeprefix('window ')}<" in overheard_svg(told)
    assert overheard_svg(told).count("left<") + overheard_svg(told).count("right<") == len(told["steps"])


TOP = {"share": 1.0, "tokens": 1, "examples": ["<&>"], "sides": []}
