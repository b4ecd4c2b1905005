"""The accounting of our own families.

Oracles: the generic formula for dense (two independent ways to the same numbers), the optimizers' live state, and
autograd itself: every tensor it keeps for the backward pass, each storage once, byte for byte.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError
from weightless.lab.accounting import family_model
from weightless.layers.layer import Record
from weightless.ledger.flops import forward_flops
from weightless.ledger.memory import optimizer_bytes, training_memory
from weightless.ledger.shape import TransformerShape, parameters
from weightless.models import dense, experts, feather, golf, memory, recurrent, scan
from weightless.models.catalog import Trained, families, family
from weightless.program.cost import flops
from weightless.train.config import TrainConfig
from weightless.train.optimizers.groups import grouped_optimizer

T = 48
DENSE = {
    "swiglu": dense.Config(301, 72, 2, n_heads=4, n_kv_heads=2, context=63, d_ff=88),
    "relu2, untied": dense.Config(301, 72, 3, n_heads=4, context=63, d_ff=90, activation="relu2", tied=False),
    "silu, int8 cache": dense.Config(97, 36, 1, n_heads=1, context=63, activation="silu", kv_format="int8"),
}
FEATHER = {
    "class head": feather.Config(301, 80, 2, 4, 1, 32, 96, context=63, rows_2=97, rows_3=89),
    "full head, one table": feather.Config(301, 80, 1, 2, 2, 32, 96, context=63, rows_2=0, rows_3=89, head="full"),
    "windows, experts, three levels": feather.Config(
        301,
        80,
        2,
        4,
        1,
        32,
        24,
        context=63,
        rows_2=97,
        head="class3",
        layer_pattern="WN",
        window=9,
        n_experts=5,
        top_k=2,
    ),
    "scans": feather.Config(301, 40, 2, d_ff=24, context=63, rows_2=97, layer_pattern="S", d_state=22, conv=3),
    "relu2": feather.Config(301, 40, 1, 2, 1, 16, 24, context=63, rows_2=0, rows_3=0, activation="relu2"),
}
SMALL = {"vocab_size": 301, "d_model": 72, "n_layers": 2, "n_heads": 4, "context": 63, "d_ff": 45}
VARIANTS = {
    "post-norm, gelu": dense.Config(**SMALL, norm="post", activation="gelu"),
    "no norm, no positions": dense.Config(**SMALL, norm="none", positions="none"),
    "sandwich, learned positions, factors": dense.Config(
        **SMALL, norm="sandwich", positions="learned", residual_scale="channel"
    ),
    "factorised, tied, softcap": dense.Config(**SMALL, d_embed=14, softcap=9.0, residual_scale="depth"),
    "factorised, untied, rows": dense.Config(**SMALL, tied=False, d_embed=14, bigram_rows=31, value_every=2),
    "weighted QK-norm, gain": dense.Config(**SMALL, qk_norm="weighted", q_gain=1.5, positions="rope_interleaved"),
    "three levels": dense.Config(**SMALL, tied=False, head="class3"),
    "classes without norm": dense.Config(**SMALL, tied=False, head="class", norm="post"),
}
EXPERTS = {
    "experts": experts.Config(301, 40, 2, 2, 1, 5, 2, 14, context=63),
    "one expert, bias, silu": experts.Config(
        301, 40, 1, 2, 1, 3, 1, 14, balance="bias", scoring="sigmoid", activation="silu", context=63
    ),
    "experts and a shared one": experts.Config(301, 40, 1, 2, 1, 7, 3, 6, 18, activation="gelu", context=63),
}
GOLF = {
    "golf, three blocks": golf.Config(301, 36, 3, 2, 1, context=63),
    "golf, six blocks": golf.Config(301, 36, 6, 2, 1, 30, context=63),
    "golf, an exit": golf.Config(301, 36, 4, 2, 1, context=63, exit_after=(2,)),
    "golf, one block": golf.Config(301, 36, 1, 2, 2, context=63),
}
SCAN = {
    "diagonal": scan.Config(301, 40, 2, d_state=37, d_ff=45, context=63),
    "gated": scan.Config(301, 40, 2, "gated", 30, 3, d_ff=45, context=63),
    "gated, conv, bf16 state": scan.Config(301, 40, 1, "gated", 30, 3, "bf16", 7, conv=2, d_ff=45, context=63),
    "delta, conv": scan.Config(301, 40, 1, "delta", 26, 2, chunk=100, conv=4, d_ff=45, context=63),
    "delta, hybrid": scan.Config(301, 72, 2, "delta", 36, layer_pattern="SA", d_ff=46, context=63),
    "diagonal, conv, hybrid": scan.Config(301, 72, 3, d_state=45, layer_pattern="SA", conv=3, d_ff=46, context=63),
}
MEMORY = {
    "values": memory.Config(301, 40, 2, 2, 1, 30, memory_heads=3, n_slots=49, top_k=5, d_key=6, context=63),
    "one value, no query norm": memory.Config(
        301, 40, 1, 2, 1, memory_every=1, n_slots=81, top_k=1, gating="sigmoid", query_norm=False, context=63
    ),
    "neurons": memory.Config(
        301, 40, 2, 2, 1, kind="neurons", memory_every=1, n_slots=81, top_k=4, d_key=8, context=63
    ),
    "relu2 neurons": memory.Config(
        301, 40, 1, 2, 1, kind="neurons", neuron="relu2", memory_every=1, n_slots=49, top_k=7, context=63
    ),
}
RECURRENT = {
    "passes": recurrent.Config(301, 72, 2, 3, 1, 1, n_heads=4, n_kv_heads=2, d_ff=45, context=63),
    "passes without rows": recurrent.Config(301, 40, 1, 2, 0, 0, False, 2, 1, 30, activation="relu2", context=63),
}
BY_FAMILY = {
    "dense": DENSE | VARIANTS,
    "feather": FEATHER,
    "experts": EXPERTS,
    "golf": GOLF,
    "scan": SCAN,
    "memory": MEMORY,
    "recurrent": RECURRENT,
}
CASES = [(name, config) for name, configs in BY_FAMILY.items() for config in configs.values()]
IDS = [key for configs in BY_FAMILY.values() for key in configs]


def generic_shape(c: dense.Config) -> TransformerShape:
    """The same transformer as `ledger` describes one that is not ours."""
    ffn = "gated" if c.activation == "swiglu" else "plain"
    sizes = (c.vocab_size, c.context, c.n_layers, c.d_model, c.heads, c.hidden, c.kv_heads, c.d_head)
    return TransformerShape(*sizes, ffn, tied=c.tied)


@pytest.mark.parametrize("config", DENSE.values(), ids=list(DENSE))
@pytest.mark.parametrize("causal", [False, True])
def test_dense_agrees_with_the_generic_formula(config, causal):
    model, shape = family_model("dense", config), generic_shape(config)
    assert sum(parameters(model.weights).values()) == sum(parameters(shape.weights()).values())
    assert model.forward_flops(T, causal) == forward_flops(shape, T, causal)
    assert model.forward_flops(config.context, True) == forward_flops(shape, 0, True)
    everything = sum(model.forward_flops(config.context, True).values())
    assert everything == config.context * flops(model.program)


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_optimizer_state_is_what_the_optimizers_hold(name, config, optimizer):
    specs = family(name).Model(config).tensors()
    zeros = {spec.name: torch.zeros(spec.shape) for spec in specs}
    held = grouped_optimizer(specs, zeros, TrainConfig(1, 4, 1, optimizer=optimizer))
    assert optimizer_bytes(family_model(name, config).weights, optimizer) == held.state_bytes()


def kept_by_autograd(name: str, config, B: int) -> int:
    """Bytes of all storages that autograd saves in one forward pass, weights and constants aside."""
    model, rng = family(name).Model(config), np.random.default_rng(0)
    torch.manual_seed(0)
    p = {spec.name: (torch.randn(spec.shape) * 0.02).requires_grad_() for spec in model.tensors()}
    constants = model.prepare(rng.integers(0, config.vocab_size, 2_000), 0)
    p |= {key: torch.from_numpy(value) for key, value in constants.items()}
    own = {tensor.untyped_storage().data_ptr() for tensor in p.values()}
    tokens = torch.from_numpy(rng.integers(0, config.vocab_size, (B, T + 1)))
    kept: dict[int, torch.Tensor] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        record = Record()  # what balances experts is kept, too
        model.losses(p, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), record=record)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(("name", "config"), CASES, ids=IDS)
def test_kept_activations_are_what_autograd_keeps(name, config):
    """Per sequence: the difference of two batch sizes, so that what is kept once per step (RoPE's tables, the head's
    gradient) drops out."""
    wanted = sum(part.nbytes for part in family_model(name, config).activations(T))
    assert kept_by_autograd(name, config, 5) - kept_by_autograd(name, config, 3) == 2 * wanted


def test_no_square_of_the_context_is_kept():
    """Doubling T doubles the list of this library; the textbook list grows with T x T."""
    model = family_model("dense", DENSE["swiglu"])
    sizes = [sum(part.nbytes for part in model.activations(length)) for length in (512, 1024)]
    assert sizes[1] == 2 * sizes[0]


def test_tables_have_no_dense_gradient_and_a_state_per_row():
    model = family_model("feather", FEATHER["class head"])
    tables = sum(w.parameters for w in model.weights if w.group == "table")
    memory = training_memory(model.weights, "adamw", [])
    assert memory.parameters - memory.gradients == 4 * tables == 4 * 80 * (97 + 89)
    assert optimizer_bytes(model.weights, "adamw")["table"] == 4 * (97 + 89)


def test_every_trained_family_can_be_accounted_for():
    for name in families():
        room = family(name)
        if isinstance(room, Trained):
            model = family_model(name, room.Config())
            assert sum(w.parameters for w in model.weights) > 0 and sum(model.forward_flops(4, False).values()) > 0


def test_a_counted_family_is_refused_by_name():
    with pytest.raises(ConfigError, match="'ngram' is counted, not trained"):
        family_model("ngram", family("ngram").Config())
