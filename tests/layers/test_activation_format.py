"""Activations of eight bits as a model declares them: they are rounded, in training and in the engine, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contract.cases import TURNED, bench

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.models import dense, experts, llama, qwen3
from weightless.program.operator import from_plain, to_plain
from weightless.program.operators.attention import NormMatvec
from weightless.program.program import Program

SMALL = {"vocab_size": 50, "d_model": 64, "n_layers": 1, "context": 16}


def program_of(**fields) -> Program:
    return dense.FAMILY.decode_program(dense.Config(**SMALL, **fields))


def test_every_product_of_a_model_is_told():
    program = program_of(weight_format="int8", activation_format="int8")
    told = [getattr(op, "activations", None) for op in (*program.body, *program.heads["score"])]
    assert [word for word in told if word is not None] == ["int8"] * 4  # qkv, out, feed-forward, head
    assert {getattr(op, "activations", "f32") for op in program_of(weight_format="int8").body} == {"f32"}


def test_training_sees_rounded_numbers():
    losses, x = [], torch.arange(16)[None] % 50
    for fmt in ("f32", "int8"):
        config = dense.Config(**SMALL, weight_format="int8", activation_format=fmt)
        model = dense.FAMILY.Model(config)
        generator = torch.Generator().manual_seed(0)
        p = {spec.name: torch.randn(spec.shape, generator=generator) * 0.3 for spec in model.tensors()}
        losses.append(model.losses(p, x, x.flip(1)))
    assert 1e-4 < (losses[0] - losses[1]).abs().max() < 0.5


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"weight_format": "bf16"}, "embed is stored as bf16"),
        ({"weight_format": "int3", "tied": False}, "block.0.qkv is stored as int3"),
        ({"weight_format": "int8", "plan": {"*.up": "f32"}}, "block.0.up is stored as f32"),
        ({"weight_format": "int8", "plan": {"embed": "t5"}}, "embed is stored as t5"),
        ({"weight_format": "int8", "d_embed": 16}, "FactorisedEmbedding"),
        ({"weight_format": "int8", "tied": False, "head": "class"}, "ClassHead"),
    ],
)
def test_what_has_no_such_product_is_refused_before_anything_is_made(fields, named):
    with pytest.raises(ConfigError, match=named):
        program_of(activation_format="int8", **fields)


def test_a_layer_that_knows_none_is_named():
    config = experts.Config(vocab_size=50, d_model=64, n_layers=1, context=16, weight_format="int8")
    told = from_dict(experts.Config, {**vars(config), "activation_format": "int8"}, "a test")
    with pytest.raises(ConfigError, match="Experts"):
        experts.FAMILY.decode_program(told)


def test_a_misspelt_format_names_the_nearest():
    with pytest.raises(ConfigError, match="int8"):
        from_dict(dense.Config, {**SMALL, "activation_format": "int7"}, "a test")


@pytest.mark.parametrize("config", [llama.Config, qwen3.Config])
def test_a_plan_may_mix_formats_of_whole_codes(config):
    fields = {"n_heads": 2, "n_kv_heads": 1, "d_head": 32, "d_ff": 96}
    family = {llama.Config: llama.FAMILY, qwen3.Config: qwen3.FAMILY}[config]
    made = config(**SMALL, **fields, weight_format="t2", plan={"embed": "int8"}, activation_format="int8")
    formats = {tensor.format for tensor in family.decode_program(made).stored() if tensor.shape[0] > 1}
    assert formats == {"t2", "int8"}


@pytest.mark.parametrize("odd", ["int9", "", "bf16"])
def test_a_program_with_another_format_of_activations_is_damaged(odd):
    program = program_of(weight_format="int8")
    at = next(i for i, op in enumerate(program.body) if isinstance(op, NormMatvec))
    changed = from_plain({**to_plain(program.body[at]), "activations": odd}, "a test")
    body = (*program.body[:at], changed, *program.body[at + 1 :])
    with pytest.raises(CorruptFileError, match="format of activations"):
        Program(program.vocab_size, program.context, program.tensors, body, program.heads).validate()


def test_a_program_that_rounds_activations_of_bf16_is_damaged():
    program = program_of(weight_format="bf16")
    at = next(i for i, op in enumerate(program.body) if isinstance(op, NormMatvec))
    changed = from_plain({**to_plain(program.body[at]), "activations": "int8"}, "a test")
    body = (*program.body[:at], changed, *program.body[at + 1 :])
    with pytest.raises(CorruptFileError, match="no product with whole numbers"):
        Program(program.vocab_size, program.context, program.tensors, body, program.heads).validate()


def test_zeros_stay_zeros():
    from weightless.layers.functions.activations import taken

    assert not taken(torch.zeros(3, 70), "int8").any() and np.isfinite(taken(torch.zeros(3, 70), "int8").numpy()).all()


@pytest.mark.parametrize(
    ("name", "case"), [("dense", "tied_gqa_int8_whole_products"), ("qwen3", "untied_t2_whole_products")]
)
def test_engines_and_training_compute_the_same_numbers(name, case):
    """Of most positions to float32 sums of some hundred terms; one activation on the other side of a half moves nats of
    these models by a tenth, and with them what comes behind it."""
    b = bench(name, case)
    nats = b.engine().score_stream(b.tokens, b.targets)
    readable = b.audit_engine().score_stream(b.tokens, b.targets)
    with torch.no_grad():
        trained = b.family.Model(b.config).losses(b.rounded(), *b.batch)[0].numpy()
    for other in (readable, trained):
        gap = np.abs(nats - other)
        assert np.median(gap) < 2e-5 and gap.max() < TURNED
