"""Programs from a stranger that use the operators of the variants, of experts and memory: refused, or run without harm.

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
VALUES = ("memory", "values_of_two_heads")
NEURONS = ("memory", "silu_neurons_int4")
CAPPED = ("dense", "factorised_tied_softcap_windows")
GAINED = ("dense", "nope_with_gain_and_norm")
STRETCHED = ("llama", "stretched_f32")
POSITIONS = ("dense", "sandwich_learned_positions")
LEVELS = ("dense", "three_levels")
POST_NORM = ("dense", "post_norm_gelu_matched")
DIAGONAL = ("scan", "diagonal_hybrid_conv")
DELTA = ("scan", "delta_f32_conv")
ROUNDED = ("scan", "gated_hybrid_bf16_state")
EXITS = ("dense", "exits_after_two_blocks")


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


def with_kind(name: str, key: str, to: str | bool):
    def change(values: dict) -> dict:
        values = copy.deepcopy(values)
        values["tensors"][tensor_at(values, name)][key] = to
        return values

    return change


def with_rows(first: int, count: int):
    """Every product, those of a head and of whole matrices too, is of these rows."""

    def change(values: dict) -> dict:
        return with_field("norm_matvec", "count", count)(with_field("norm_matvec", "first", first)(values))

    return change


NAN, INF = float("nan"), float("inf")
REFUSALS = {
    "a test that passes over nothing": (EXITS, with_field("exit_test", "full", 0)),
    "a test that goes back": (EXITS, with_field("exit_test", "full", -3)),
    "a test that goes back where it exits": (EXITS, with_field("exit_test", "lite", -1)),
    "a test that leaves the body": (EXITS, with_field("exit_test", "lite", 99)),
    "a test that leaves the stretch that it is in": (EXITS, with_field("exit_test", "full", 12)),
    "a test that overflows": (EXITS, with_field("exit_test", "full", 2**63 - 1)),
    "a test of another width": (EXITS, with_shape("exit.1.weight", [1, 39])),
    "a test in the state": (EXITS, with_kind("exit.2.weight", "kind", "state")),
    "a test without a bias": (EXITS, with_shape("exit.2.bias", [1, 0])),
    "a threshold in the state": (EXITS, with_kind("exit.threshold", "kind", "state")),
    "many thresholds": (EXITS, with_shape("exit.threshold", [1, 2])),
    "a confidence among the weights": (EXITS, with_kind("exit.1.sure", "kind", "constant")),
    "a confidence that is the stream": (EXITS, with_field("exit_test", "sure", "x")),
    "a test that divides by nothing": (EXITS, with_field("exit_test", "eps", 0.0)),
    "rows before the first": (EXITS, with_rows(-1, 2)),
    "rows behind the last": (EXITS, with_rows(40, 2**40)),
    "fewer than no rows": (EXITS, with_rows(0, -1)),
    "a first row and no last": (EXITS, with_rows(3, 0)),
    "rows of a matrix that is turned over": (CAPPED, with_rows(0, 2)),
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
    "half a slot is chosen": (VALUES, with_shape("slots", [1, 13])),
    "slots of half a head": (VALUES, with_shape("slots", [1, 14])),
    "more slots than half-keys": (VALUES, with_shape("slots", [1, 32])),
    "no slots chosen": (VALUES, with_shape("slots", [1, 0])),
    "no heads": (VALUES, with_field("choose_slots", "n_heads", 0)),
    "heads below zero": (VALUES, with_field("choose_slots", "n_heads", -2)),
    "other heads than queries": (VALUES, with_field("choose_slots", "n_heads", 3)),
    "half-keys of another width": (VALUES, with_shape("block.1.keys", [28, 4])),
    "an odd half-key": (VALUES, with_shape("block.1.keys", [27, 3])),
    "more addresses than float32 tells apart": (VALUES, with_shape("block.1.keys", [4 * 4096, 3])),
    "more half-keys than scratch": (VALUES, with_shape("block.1.keys", [4 * 2**17, 3])),
    "unknown gating": (VALUES, with_field("choose_slots", "gating", "argmax")),
    "slots among the weights": (VALUES, with_kind("slots", "kind", "weight")),
    "keys in the state": (VALUES, with_kind("block.1.keys", "kind", "state")),
    "values in the state": (VALUES, with_kind("block.1.slots", "kind", "state")),
    "values packed tightly": (VALUES, with_kind("block.1.slots", "by_row", False)),
    "values of another width": (VALUES, with_shape("block.1.slots", [98, 39])),
    "fewer slots than are chosen": (VALUES, with_shape("block.1.slots", [5, 40])),
    "values with an activation": (VALUES, with_field("add_slots", "activation", "gelu")),
    "values with a norm": (VALUES, with_field("add_slots", "norm", "block.1.ffn_norm")),
    "a gated neuron": (NEURONS, with_field("add_slots", "activation", "swiglu")),
    "fewer rows up than down": (NEURONS, with_shape("block.1.slots_up", [161, 72])),
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
    "a stretch below 1": (STRETCHED, with_field("rope_append", "stretch", 0.5)),
    "a stretch that is no number": (STRETCHED, with_field("rope_append", "stretch", NAN)),
    "a stretch without end": (STRETCHED, with_field("rope_append", "stretch", INF)),
    "a stretch between equals": (STRETCHED, with_field("rope_append", "low", 4.0)),
    "a stretch of turns without end": (STRETCHED, with_field("rope_append", "high", INF)),
    "a stretch of nothing": (STRETCHED, with_field("rope_append", "learned", 0)),
    "a stretch of no positions": (STRETCHED, with_field("rope_append", "rotary", "none")),
    "parts of no stretch": (GAINED, with_field("rope_append", "learned", 63)),
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
    "gates of another width": (DIAGONAL, with_shape("scan_in", [1, 134])),
    "a state of another width": (DIAGONAL, with_shape("h.0", [1, 44])),
    "a state of two rows": (DIAGONAL, with_shape("h.0", [2, 45])),
    "a state among the weights": (DIAGONAL, with_kind("h.1", "kind", "weight")),
    "a rounded vector of state": (DIAGONAL, with_kind("h.1", "format", "bf16")),
    "decays in the state": (DIAGONAL, with_kind("block.0.decay", "kind", "state")),
    "a state that is what comes out": (DIAGONAL, with_field("scan", "state", "scan_out")),
    "a convolution of one position": (DIAGONAL, with_shape("block.0.conv", [1, 45])),
    "a convolution of many positions": (DIAGONAL, with_shape("block.0.conv", [65, 45])),
    "a convolution wider than its register": (DIAGONAL, with_shape("block.0.conv", [4, 136])),
    "a convolution without columns": (DIAGONAL, with_shape("block.0.conv", [4, 0])),
    "a kernel in bf16": (DIAGONAL, with_kind("block.0.conv", "format", "bf16")),
    "a kernel in the state": (DIAGONAL, with_kind("block.0.conv", "kind", "state")),
    "a window of fewer positions": (DIAGONAL, with_shape("conv.0", [2, 45])),
    "a window of more columns": (DIAGONAL, with_shape("conv.0", [3, 46])),
    "a window among the weights": (DIAGONAL, with_kind("conv.0", "kind", "constant")),
    "a window that is the register": (DIAGONAL, with_field("convolve", "window", "scan_in")),
    "no heads of a scan": (DELTA, with_field("linear_attend", "n_heads", 0)),
    "more heads of a scan": (DELTA, with_field("linear_attend", "n_heads", 3)),
    "heads of a scan below zero": (DELTA, with_field("linear_attend", "n_heads", -2)),
    "keys of a scan of another width": (DELTA, with_field("linear_attend", "d_key", 13)),
    "values of a scan of another width": (DELTA, with_field("linear_attend", "d_value", 2**40)),
    "strengths that are not there": (ROUNDED, with_field("linear_attend", "delta", True)),
    "strengths that nobody asked for": (DELTA, with_field("linear_attend", "delta", False)),
    "a matrix of fewer rows": (DELTA, with_shape("S.0", [27, 14])),
    "a matrix in int8": (DELTA, with_kind("S.0", "format", "int8")),
    "a matrix row by row": (DELTA, with_kind("S.0", "by_row", True)),
    "a matrix among the weights": (DELTA, with_kind("S.1", "kind", "weight")),
    "decays of other heads": (DELTA, with_shape("block.0.decay", [1, 3])),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_each_fault_is_told_in_one_line(fault):
    source, change = REFUSALS[fault]
    with pytest.raises(CorruptFileError) as caught:
        Program.from_plain(change(plain(*source)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


SOURCES = [EXPERTS, ROUTED, VALUES, NEURONS, CAPPED, GAINED, POSITIONS, LEVELS, DIAGONAL, DELTA, ROUNDED, EXITS]


@pytest.mark.parametrize("source", SOURCES, ids="-".join)
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


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_keys_that_give_no_number_are_told(kind, bad):
    """More than a few half-keys have to be broken: 3 of 7 are taken, and what is no number is not among them."""
    b = bench("memory", "values_of_two_heads")
    broken = b.arrays["block.1.keys"].copy()
    broken[:5] = bad
    engine = kind(b.program, packed_bytes(b.program, b.arrays | {"block.1.keys": broken}))
    with np.errstate(all="ignore"), pytest.raises(CorruptFileError) as caught:
        engine.feed(1)
    assert "\n" not in str(caught.value)


def slots_that_lie(program: Program) -> Program:
    """The same program with a table of fewer rows than its keys address."""
    values = program.to_plain()
    values["tensors"][tensor_at(values, "block.1.slots")]["shape"] = [7, 40]
    return Program.from_plain(values)


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
def test_a_slot_that_is_not_there_is_told(kind):
    """Keys of 98 slots over a table of 7: whoever runs it is stopped where a slot is asked for that does not exist."""
    b = bench("memory", "values_of_two_heads")
    program = slots_that_lie(b.program)
    engine = kind(program, packed_bytes(program, b.arrays | {"block.1.slots": b.arrays["block.1.slots"][:7]}))
    with pytest.raises(CorruptFileError) as caught:
        engine.feed(1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Engine, AuditEngine])
def test_of_equal_slots_the_engines_take_the_lowest(kind):
    """Keys of zeros: in every head the slots 0, 1 and 2, whatever the others hold."""
    b = bench("memory", "values_of_two_heads")
    zero, spoilt = {"block.1.keys": np.zeros_like(b.arrays["block.1.keys"])}, b.arrays["block.1.slots"].copy()
    spoilt[[row for row in range(98) if row % 49 > 2]] = np.nan
    both = ({}, {"block.1.slots": spoilt})
    engines = [kind(b.program, packed_bytes(b.program, b.arrays | zero | more)) for more in both]
    nats = [engine.score_stream(b.tokens, b.targets) for engine in engines]
    assert np.isfinite(nats[0]).all() and np.array_equal(*nats)
