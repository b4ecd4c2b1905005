"""Our FLOPs against PyTorch's FlopCounterMode, exactly, on the dense family.

What PyTorch's counter sees differs from 2 m n p per product in four named ways, each of which is checked:
  1. attention on a CPU is one fused operator that it does not know and silently counts as zero; with the "math"
     backend the same attention is two products, which it counts in full (all T x T pairs, no causal discount);
  2. the fused softmax head makes its gradients in the forward pass;
  3. of these the gradient of the head's matrix is summed by the in-place addmm_, which it also counts as zero;
  4. the backward pass of a norm sums with a product by the (D, 1) weight, 2 N D, which we leave out as no matmul
     of the model.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from weightless.lab.accounting import LOOKING_BACK, family_model
from weightless.ledger.flops import training_flops
from weightless.models import dense

B, T = 2, 48
CONFIGS = {
    "grouped": dense.Config(301, 72, 2, n_heads=4, n_kv_heads=2, context=63, d_ff=88),
    "relu2, untied": dense.Config(301, 72, 3, n_heads=4, context=63, d_ff=90, activation="relu2", tied=False),
}


def counted(work) -> int:
    """What FlopCounterMode sees while `work` runs; the in-place addmm_ is taught to it."""
    taught = {torch.ops.aten.addmm_: lambda _, a, b, *rest, **kw: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=taught) as counter:
        work()
    return counter.get_total_flops()


def parameters_of(config) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    specs = dense.FAMILY.Model(config).tensors()
    return {spec.name: (torch.randn(spec.shape) * 0.02).requires_grad_() for spec in specs}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_forward_is_exactly_ours(config):
    ours = family_model("dense", config).forward_flops(T, causal=False)
    tokens, p = torch.randint(0, 301, (B, T)), parameters_of(config)
    fused = counted(lambda: dense.FAMILY.Model(config).log_probs(p, tokens))
    assert fused == B * (sum(ours.values()) - ours[LOOKING_BACK])
    with sdpa_kernel(SDPBackend.MATH):
        written_out = counted(lambda: dense.FAMILY.Model(config).log_probs(p, tokens))
    assert written_out == B * sum(ours.values())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_a_training_step_is_three_times_the_forward_pass(config):
    ours = sum(family_model("dense", config).forward_flops(T, causal=False).values())
    tokens, p = torch.randint(0, 301, (B, T)), parameters_of(config)
    n_norms, D = 2 * config.n_layers + 1, config.d_model
    with sdpa_kernel(SDPBackend.MATH):
        seen = counted(lambda: dense.FAMILY.Model(config).losses(p, tokens, tokens).mean().backward())
    assert seen == training_flops(ours, B) + n_norms * 2 * B * T * D


def test_pytorch_alone_misses_what_the_docstring_says():
    """Without being taught, the counter loses the head's weight gradient: 2 B T D V."""
    config = CONFIGS["grouped"]
    tokens, p = torch.randint(0, 301, (B, T)), parameters_of(config)

    def step() -> None:
        dense.FAMILY.Model(config).losses(p, tokens, tokens).mean().backward()

    with FlopCounterMode(display=False) as plain:
        step()
    assert counted(step) - plain.get_total_flops() == 2 * B * T * config.d_model * config.vocab_size
