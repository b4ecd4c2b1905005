"""Small models of every family, with odd sizes: the configurations that the contract suite is run over.

A new family needs one entry in CASES; test_families.py refuses to run without it.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from contract.published_cases import PUBLISHED

from weightless.models import dense, experts, feather, golf, infinigram, mixture, ngram, scan
from weightless.models.catalog import family
from weightless.program.compose import COUNTED, NEURAL
from weightless.program.engine import AuditEngine, Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.program import Program
from weightless.quant.formats import encode_rows
from weightless.quant.straight_through import fake_quantise
from weightless.train.initialise import initial_parameters

V = 301
EXACT = {"weight_format": "f32", "kv_format": "f32"}
REMEMBERED = ("kv cache", "recurrent state")
"""Ledger lines of what decoding remembers of former positions, rounded to a format."""

CASES: dict[str, dict[str, Any]] = {
    "dense": {
        "tied_mha_swiglu_f32": dense.Config(V, 40, 2, n_heads=2, context=23, **EXACT),
        "untied_gqa_silu_f32": dense.Config(
            V, 72, 2, n_heads=4, n_kv_heads=2, d_ff=45, context=33, tied=False, activation="silu", **EXACT
        ),
        "untied_mqa_relu2_bf16": dense.Config(
            V, 72, 3, n_heads=4, n_kv_heads=1, d_ff=45, context=65, tied=False, activation="relu2"
        ),
        "tied_mqa_swiglu_int8": dense.Config(
            V, 72, 2, n_heads=4, n_kv_heads=1, d_ff=45, context=33, weight_format="int8", kv_format="int8"
        ),
        "post_norm_gelu_matched": dense.Config(
            V, 40, 2, n_heads=2, d_ff=30, context=23, norm="post", activation="gelu", match_d_ff=True, **EXACT
        ),
        "no_norm_no_positions": dense.Config(V, 40, 2, n_heads=2, context=23, norm="none", positions="none", **EXACT),
        "sandwich_learned_positions": dense.Config(
            V,
            72,
            2,
            n_heads=4,
            n_kv_heads=2,
            d_ff=45,
            context=33,
            norm="sandwich",
            positions="learned",
            residual_scale="depth",
            tied=False,
            weight_format="int8",
            kv_format="f32",
        ),
        "interleaved_weighted_qk_norm_gains": dense.Config(
            V,
            72,
            2,
            n_heads=4,
            n_kv_heads=1,
            d_ff=45,
            context=33,
            positions="rope_interleaved",
            qk_norm="weighted",
            q_gain=1.5,
            residual_scale="channel",
            zero_init=True,
            kv_format="int8",
        ),
        "factorised_tied_softcap_windows": dense.Config(
            V,
            40,
            4,
            n_heads=2,
            context=33,
            d_embed=14,
            softcap=12.0,
            window=5,
            window_pattern="SSSL",
            qk_norm="bare",
            weight_format="int4",
            kv_format="f32",
        ),
        "factorised_untied_value_and_bigram_rows": dense.Config(
            V,
            72,
            2,
            n_heads=4,
            n_kv_heads=2,
            d_ff=45,
            context=33,
            tied=False,
            d_embed=18,
            value_every=2,
            bigram_rows=97,
        ),
        "nope_with_gain_and_norm": dense.Config(
            V, 40, 1, n_heads=2, context=23, positions="none", qk_norm="weighted", q_gain=0.7, value_every=1, **EXACT
        ),
        "class_head_without_norm": dense.Config(
            V, 40, 1, n_heads=2, context=23, tied=False, head="class", norm="none", **EXACT
        ),
        "three_levels": dense.Config(V, 40, 1, n_heads=2, context=23, tied=False, head="class3", **EXACT),
        "three_levels_few_classes_post_norm": dense.Config(
            300,
            72,
            1,
            n_heads=2,
            context=23,
            tied=False,
            head="class3",
            n_classes=3,
            classes_by="frequency",
            norm="post",
            weight_format="int8",
        ),
        "untied_mha_swiglu_int4": dense.Config(
            V, 72, 1, n_heads=2, d_ff=90, context=23, tied=False, weight_format="int4", kv_format="int8"
        ),
    },
    "feather": {
        "as_it_comes": feather.Config(V, 120, 2, 3, 1, 20, 90, context=65, rows_2=97, rows_3=101),
        "all_f32": feather.Config(V, 40, 2, 3, 1, 14, 45, 23, rows_2=97, rows_3=101, table_format="f32", **EXACT),
        "full_head_bigrams": feather.Config(
            V,
            72,
            1,
            4,
            2,
            18,
            45,
            33,
            97,
            0,
            "full",
            activation="silu",
            weight_format="bf16",
            table_format="f16",
            kv_format="bf16",
        ),
        "no_tables_few_classes": feather.Config(
            300,
            40,
            1,
            2,
            2,
            10,
            46,
            23,
            0,
            0,
            n_classes=7,
            classes_by="frequency",
            activation="relu2",
            weight_format="int8",
            table_format="bf16",
            kv_format="f32",
        ),
        "square_vocabulary": feather.Config(289, 72, 1, 2, 1, 18, 46, 33, 0, 97, table_format="int8"),
    },
    "experts": {
        "two_of_five_swiglu": experts.Config(V, 40, 2, 2, 1, 5, 2, 14, context=23, **EXACT),
        "one_of_three_sigmoid_bias_untied": experts.Config(
            V,
            72,
            1,
            4,
            2,
            3,
            1,
            45,
            scoring="sigmoid",
            balance="bias",
            context=33,
            tied=False,
            activation="relu2",
            weight_format="int8",
            kv_format="f32",
        ),
        "many_tiny_and_a_shared_one": experts.Config(
            V,
            40,
            2,
            2,
            2,
            33,
            4,
            6,
            18,
            context=33,
            activation="gelu",
            balance="none",
            weight_format="bf16",
            kv_format="f32",
        ),
        "int4_and_a_shared_one": experts.Config(
            V,
            72,
            1,
            2,
            1,
            4,
            3,
            46,
            30,
            context=23,
            activation="silu",
            weight_format="int4",
            kv_format="f32",
        ),
    },
    "golf": {
        "three_blocks_one_skip": golf.Config(V, 36, 3, 2, 1, context=23, **EXACT),
        "five_blocks_two_skips_bf16": golf.Config(V, 36, 5, 2, 2, 45, context=33, weight_format="bf16"),
        "two_blocks_int8": golf.Config(V, 72, 2, 4, 2, context=33, softcap=4.0, kv_format="f32"),
        "one_block_no_skip": golf.Config(V, 40, 1, 4, 1, 30, context=23, q_gain=0.7, softcap=5.0, **EXACT),
    },
    **PUBLISHED,
    "scan": {
        "diagonal_f32": scan.Config(V, 40, 2, d_state=37, d_ff=45, context=33, weight_format="f32"),
        "diagonal_hybrid_conv": scan.Config(
            V,
            72,
            3,
            d_state=45,
            layer_pattern="SSA",
            conv=4,
            n_heads=4,
            n_kv_heads=2,
            d_ff=46,
            context=65,
            tied=False,
            activation="relu2",
            weight_format="int8",
        ),
    },
    "ngram": {
        **{f"order_{n}": ngram.Config(V, n, context=33) for n in range(1, 6)},
        "order_4_pruned": ngram.Config(V, 4, context=33, min_counts=(1, 1, 2, 2)),
    },
    "mixture": {
        "dense_and_ngram": mixture.Config(
            V, 33, "dense", {"d_model": 40, "n_layers": 1, "n_heads": 2, **EXACT}, "ngram", {"order": 4}
        ),
        "feather_and_infinigram": mixture.Config(
            V,
            23,
            "feather",
            {"d_model": 72, "n_layers": 1, "n_heads": 2, "d_head": 18, "d_ff": 46, "rows_2": 97, "rows_3": 0},
            "infinigram",
            {"max_length": 3},
        ),
        "feather_and_bigrams": mixture.Config(
            V,
            23,
            "feather",
            {
                "d_model": 40,
                "n_layers": 1,
                "n_heads": 2,
                "d_head": 14,
                "d_ff": 45,
                "rows_2": 0,
                "rows_3": 97,
                "head": "full",
                **EXACT,
            },
            "ngram",
            {"order": 2},
        ),
    },
    "infinigram": {f"length_{n}": infinigram.Config(V, n, context=33) for n in (1, 3, 16)},
}

ALL = [(name, case) for name, cases in CASES.items() for case in cases]
TRAINED = [(name, case) for name, case in ALL if hasattr(family(name), "Model")]


class Bench(NamedTuple):
    """One model with weights, and a stretch of `context` tokens with their targets."""

    family: ModuleType
    name: str
    config: Any
    program: Program
    arrays: dict[str, np.ndarray]
    weights: np.ndarray
    stream: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        return self.stream[:-1]

    @property
    def targets(self) -> np.ndarray:
        return self.stream[1:]

    @property
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        stream = torch.from_numpy(self.stream[None])
        return stream[:, :-1], stream[:, 1:]

    @property
    def keeps_f32(self) -> bool:
        """No rounding anywhere: only the order of float32 sums differs between implementations."""
        return all(t.format == "f32" for t in self.program.tensors if t.kind == "weight" or t.component in REMEMBERED)

    def rounded(self) -> dict[str, torch.Tensor]:
        """Parameters as training sees them once they are rounded to their formats, and constants."""
        formats = {t.name: t.format for t in self.program.stored()}
        return {
            name: fake_quantise(torch.from_numpy(a), formats[name]) if a.dtype == np.float32 else torch.from_numpy(a)
            for name, a in self.arrays.items()
        }

    def engine(self, poison: bool = True) -> Engine:
        return Engine(self.program, self.weights, poison)

    def audit_engine(self, poison: bool = True) -> AuditEngine:
        return AuditEngine(self.program, self.weights, poison)

    def logged_engine(self, poison: bool = True) -> LoggedEngine:
        return LoggedEngine(self.program, self.weights, poison)


@cache
def bench(name: str, case: str) -> Bench:
    """The model of one case; built once per session."""
    module, config = family(name), CASES[name][case]
    rng = np.random.default_rng(7)
    text = (rng.zipf(1.3, 6000) - 1) % config.vocab_size
    if hasattr(module, "compose"):
        config, arrays = composed(config, text)
    elif hasattr(module, "Model"):
        arrays = lively_parameters(module.Model(config), text)
    else:
        config, arrays = module.count(config, text)
    program = module.decode_program(config)
    stream = np.concatenate([text[: config.context // 2], rng.integers(0, config.vocab_size, config.context)])
    stream = stream[: config.context + 1].astype(np.int64)
    return Bench(module, name, config, program, arrays, packed_bytes(program, arrays), stream)


def composed(config: Any, text: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
    """A mixture of a lively model and a table, with another weight in every class."""
    (neural, neural_config), (counted, counted_config) = (config.part(name) for name in (NEURAL, COUNTED))
    counted_config, counts = counted.count(counted_config, text)
    made = mixture.compose(config, lively_parameters(neural.Model(neural_config), text), counted_config, counts)
    weights = made[1]["mixing.weights"]
    made[1]["mixing.weights"] = np.linspace(0.1, 0.9, len(weights), dtype=np.float32)[:, None]
    return made


def part_of(b: Bench, name: str) -> Bench:
    """One part of a mixture as a model of its own, on the same stream."""
    module, config = b.config.part(name)
    arrays = {key.removeprefix(f"{name}."): a for key, a in b.arrays.items() if key.startswith(f"{name}.")}
    program = module.decode_program(config)
    family_name = b.config.neural if name == NEURAL else b.config.counted
    return Bench(module, family_name, config, program, arrays, packed_bytes(program, arrays), b.stream)


def lively_parameters(model: Any, text: np.ndarray) -> dict[str, np.ndarray]:
    """Initial parameters made uneven, so that a wrong row, norm or head shows in the loss."""
    rng, arrays = np.random.default_rng(11), {}
    for spec in model.tensors():
        (value,) = initial_parameters([spec], seed=3).values()
        array = value.detach().numpy().copy()
        if spec.group == "vector":
            array += 0.2 * rng.standard_normal(array.shape).astype(np.float32)
        elif spec.group in ("head", "embedding", "table") or spec.init == "zeros":
            array = 0.3 * rng.standard_normal(array.shape).astype(np.float32)
        arrays[spec.name] = array
    return arrays | {name: lively_constant(a, rng) for name, a in model.prepare(text, 5).items()}


def lively_constant(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ids as they are; numbers (the bias of a router begins at zero) uneven."""
    return array + 0.1 * rng.standard_normal(array.shape, np.float32) if array.dtype == np.float32 else array


def packed_bytes(program: Program, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The weight segment of a program, built here by hand; what lies between rows is 0xFF."""
    out = np.full(program.layout.weight_bytes, 0xFF, np.uint8)
    for offset, tensor in program.layout.places.values():
        if tensor.kind != "state":
            rows = out[offset : offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
            rows[:, : tensor.row_bytes] = encode_rows(arrays[tensor.name].reshape(tensor.shape), tensor.format)
    return out
