"""Programs from a stranger that use the operators of the variants and of experts: refused, or run without harm.

Oracle: the error type, as in test_malformed.py, of which this is the continuation.
"""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
from contract.cases import bench, packed_bytes
from program.test_malformed import SMALL, mutated, plain, run_both, tensor_at

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.program.engine import AuditEngine, Engine
from weightless.program.program import Program

EXPERTS = ("experts", "many_tiny_and_a_shared_one")
ROUTED = ("experts", "one_of_three_sigmoid_bias_untied")
CAPPED = ("dense", "factorised_tied_softcap_windows")
GAINED = ("dense", "nope_with_gain_and_norm")
POSITIONS = ("dense", "sandwich_learned_positions")
LEVELS = ("dense", "three_levels")
POST_NORM = ("dense", "post_norm_gelu_matched")


def with_field(op: str, field: str, to):
    """Every operator of that name gets this value."""

    def change(values: dict) -> dict:
        values = copy.deepcopy(values)
        found = [o for part in (values["body"], *values["heads"].values()) for o in part if o["op"] == op]
        assert found and all(field in o for o in found)
        for entry in found:
            entry[field] = to
        return values

    return change


def with_shape(name: str, shape: list[int]):
    def change(values: dict) -> dict:
        values = copy.deepcopy(values)
        values["tensors"][tensor_at(values, name)]["shape"] = shape
        return values

    return change


def with_kind(name: str, key: str, to: str):
    def change(values: dict) -> dict:
        values = copy.deepcopy(values)
        values["tensors"][tensor_at(values, name)][key] = to
        return values

    return change


NAN, INF = float("nan"), float("inf")
REFUSALS = {
    "half an expert is chosen": (EXPERTS, with_shape("route", [1, 7])),
    "more experts than there are": (EXPERTS, with_shape("route", [1, 68])),
    "no experts chosen": (EXPERTS, with_shape("route", [1, 0])),
    "no experts": (EXPERTS, with_field("experts_add", "n_experts", 0)),
    "experts below zero": (EXPERTS, with_field("experts_add", "n_experts", -33)),
    "experts that do not divide": (EXPERTS, with_field("experts_add", "n_experts", 32)),
    "other experts than rows": (EXPERTS, with_shape("block.0.up", [197, 40])),
    "fewer experts below": (EXPERTS, with_shape("block.1.down", [1280, 6])),
    "unknown scoring": (EXPERTS, with_field("route", "scoring", "argmax")),
    "a router of another width": (EXPERTS, with_shape("block.0.router", [33, 41])),
    "a bias of another width": (ROUTED, with_shape("block.0.router_bias", [1, 4])),
    "a bias in the state": (ROUTED, with_kind("block.0.router_bias", "kind", "state")),
    "a route among the weights": (EXPERTS, with_kind("route", "kind", "weight")),
    "experts in the state": (EXPERTS, with_kind("block.0.up", "kind", "state")),
    "a shared expert of another width": (EXPERTS, with_shape("block.0.shared_up", [17, 40])),
    "half a shared expert": (EXPERTS, with_field("experts_add", "shared_up", "")),
    "scratch of many experts": (EXPERTS, with_shape("block.0.router", [2**15, 40])),
    "a cap that is no number": (CAPPED, with_field("norm_matvec", "softcap", NAN)),
    "a cap without end": (CAPPED, with_field("norm_matvec", "softcap", INF)),
    "a cap below zero": (CAPPED, with_field("norm_matvec", "softcap", -1.0)),
    "a cap that float32 takes for zero": (CAPPED, with_field("norm_matvec", "softcap", 1e-60)),
    "a cap that float32 takes for infinity": (CAPPED, with_field("norm_matvec", "softcap", 1e60)),
    "a factor that is no number": (POST_NORM, with_field("matvec_add", "scale", NAN)),
    "a factor without end": (POST_NORM, with_field("matvec_add", "scale", INF)),
    "a factor that float32 takes for infinity": (POST_NORM, with_field("matvec_add", "scale", 1e60)),
    "a norm elsewhere": (POST_NORM, with_field("matvec_add", "on", "elsewhere")),
    "a norm behind of another width": (POST_NORM, with_shape("block.0.attn_post_norm", [1, 39])),
    "a norm behind in the state": (POST_NORM, with_kind("block.0.ffn_post_norm", "kind", "state")),
    "transposed by itself": (CAPPED, with_field("norm_matvec", "transposed", True)),
    "a factor turned over too wide": (CAPPED, with_shape("embed_widen", [40, 2**20])),
    "unknown pairs": (GAINED, with_field("rope_append", "rotary", "x")),
    "weights of a norm that is not there": (GAINED, with_field("rope_append", "qk_norm", False)),
    "a query norm of another width": (GAINED, with_shape("block.0.q_norm", [1, 19])),
    "a key norm in the state": (GAINED, with_kind("block.0.k_norm", "kind", "state")),
    "gains of other heads": (GAINED, with_shape("block.0.q_gain", [1, 3])),
    "a window below zero": (CAPPED, with_field("attend", "window", -1)),
    "a row before the register": (GAINED, with_field("gather_row", "first", -1)),
    "a row behind the register": (GAINED, with_field("gather_row", "first", 81)),
    "a row that leaves the rest as it was": (GAINED, with_field("gather_row", "add", False)),
    "fewer positions than the context": (POSITIONS, with_shape("position", [32, 72])),
    "positions of another width": (POSITIONS, with_shape("position", [33, 71])),
    "positions in the state": (POSITIONS, with_kind("position", "kind", "state")),
    "no groups of a class": (LEVELS, with_field("group_score", "per_class", 0)),
    "groups below zero": (LEVELS, with_field("group_sample", "per_class", -7)),
    "groups that do not divide": (LEVELS, with_field("group_full", "per_class", 6)),
    "more groups than rows": (LEVELS, with_field("group_full", "n_groups", 50)),
    "groups that end too early": (LEVELS, with_field("group_full", "n_groups", 42)),
    "no words of a group": (LEVELS, with_field("group_score", "n_words", 0)),
    "uneven words": (LEVELS, with_shape("words", [300, 40])),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_each_fault_is_told_in_one_line(fault):
    source, change = REFUSALS[fault]
    with pytest.raises(CorruptFileError) as caught:
        Program.from_plain(change(plain(*source)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("source", [EXPERTS, ROUTED, CAPPED, GAINED, POSITIONS, LEVELS], ids="-".join)
@pytest.mark.filterwarnings("ignore:.*invalid value encountered.*:RuntimeWarning")
def test_150_mutations_are_refused_or_run(source):
    values, rng, outcomes = plain(*source), random.Random(str(source)), []
    for seed in range(150):
        try:
            program = Program.from_plain(mutated(values, rng))
        except (CorruptFileError, ConfigError) as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
            continue
        if program.layout.state_bytes + program.layout.weight_bytes < SMALL:
            run_both(program, seed)
            outcomes.append("ran")
    assert outcomes.count("refused") > 50 and outcomes.count("ran") > 5, "the mutations are too wild or too tame"


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
def test_a_router_that_gives_nan_is_told(kind):
    """No expert is the largest of nothing; nothing outside the experts is read."""
    b = bench("experts", "two_of_five_swiglu")
    broken = np.full_like(b.arrays["block.1.router"], np.nan)
    engine = kind(b.program, packed_bytes(b.program, b.arrays | {"block.1.router": broken}))
    with np.errstate(all="ignore"), pytest.raises(CorruptFileError) as caught:
        engine.feed(1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
def test_of_equal_experts_the_engines_take_the_lowest(kind):
    """A router of zeros: experts 0 and 1 with half each, whatever the others hold."""
    b = bench("experts", "two_of_five_swiglu")
    zero = {f"block.{i}.router": np.zeros_like(b.arrays[f"block.{i}.router"]) for i in (0, 1)}
    spoilt = {}
    for i in (0, 1):
        for part in ("up", "down"):
            array = b.arrays[f"block.{i}.{part}"].copy()
            array[len(array) // 5 * 2 :] = np.nan
            spoilt[f"block.{i}.{part}"] = array
    engines = [kind(b.program, packed_bytes(b.program, b.arrays | zero | more)) for more in ({}, spoilt)]
    nats = [engine.score_stream(b.tokens, b.targets) for engine in engines]
    assert np.isfinite(nats[0]).all() and np.array_equal(*nats)
