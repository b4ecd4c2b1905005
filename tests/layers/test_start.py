"""The stream as it began: kept once, mixed into every block; and norms without weights.

Oracle: the window written out by hand with PyTorch's own `rms_norm`, and NumPy's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.layers.experts import Experts
from weightless.layers.feedforward import FeedForward
from weightless.layers.layer import Window
from weightless.layers.residual import Residual
from weightless.layers.start import FromStart, MixStart
from weightless.models import golf
from weightless.program.program import Program
from weightless.program.tensor import Parameter, Rows, Uniform
from weightless.train.initialise import initial_parameters

D = 37
SMALL = golf.Config(61, 36, 3, 2, 1, context=23)


def test_a_window_by_hand():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 7, D, generator=generator, dtype=torch.float64)
    p = {f"block.{i}.mix": torch.randn(2, D, generator=generator, dtype=torch.float64) for i in (0, 1)}
    layer = FromStart((MixStart(0, D), MixStart(1, D)), D, 1e-5)
    start = F.rms_norm(x, (D,), eps=1e-5)
    wanted = p["block.0.mix"][0] * start + p["block.0.mix"][1] * start
    wanted = p["block.1.mix"][0] * wanted + p["block.1.mix"][1] * start
    torch.testing.assert_close(layer.forward(p, x, Window(torch.zeros(2, 7))), wanted, rtol=1e-12, atol=1e-12)


def test_a_stack_that_has_learned_nothing_passes_its_stream_on():
    stack = golf.stack(SMALL)
    p = {name: tensor.detach() for name, tensor in initial_parameters(stack.parameters(), 0).items()}
    tokens = torch.arange(14).reshape(2, 7)
    p |= {f"skip.{j}": torch.zeros(1, 36) for j in range(1)}
    x = None
    for layer in stack.layers:
        x = layer.forward(p, x, Window(tokens))
    wanted = F.rms_norm(p["embed"][tokens], (36,), eps=SMALL.eps)
    torch.testing.assert_close(x, wanted, rtol=1e-6, atol=0)  # the same but for the last bit of the norm


@pytest.mark.parametrize("half", [False, True])
def test_a_bare_norm_is_one_with_weights_of_one(half):
    bare, weighted = (Residual("ffn_", D, 1e-5, bare=bare) for bare in (True, False))
    layers = [FeedForward(0, residual, 19, "relu2", "f32", 0.2, 0.2) for residual in (bare, weighted)]
    p = initial_parameters(layers[1].parameters(), 3)
    x = torch.randn(3, 5, D, generator=torch.Generator().manual_seed(5))
    if half:
        p, x = {name: tensor.bfloat16() for name, tensor in p.items()}, x.bfloat16()
    assert {spec.name for spec in layers[0].parameters()} == set(p) - {"ffn_norm"}
    assert torch.equal(*(layer.forward(p, x, Window(torch.zeros(3, 5))) for layer in layers))


def test_bare_norms_are_refused_where_they_do_not_stand():
    for placement in ("post", "none", "sandwich"):
        with pytest.raises(ConfigError, match=placement):
            Residual("ffn_", D, 1e-5, placement, bare=True)
    with pytest.raises(ConfigError, match="router"):
        Experts(0, Residual("", D, 1e-5, bare=True), 3, 1, 4, 0, "silu", "softmax", "none", 0.0, "f32", 0.1, 0.1)


def test_initial_values_by_row_and_drawn_evenly():
    specs = [
        Parameter("mix", (2, 1023), "f32", Rows(1.0, -0.5), "vector"),
        Parameter("up", (1023, 63), "f32", Uniform(0.25), "matrix"),
    ]
    made = {name: tensor.detach().numpy() for name, tensor in initial_parameters(specs, 7).items()}
    assert (made["mix"][0] == 1).all() and (made["mix"][1] == -0.5).all()
    assert 0.2499 < np.abs(made["up"]).max() <= 0.25 and made["up"].dtype == np.float32
    assert abs(made["up"].std() - 0.25 / 3**0.5) < 1e-3  # 64,449 draws: the error of a deviation is 0.0004
    assert np.array_equal(made["up"], initial_parameters(specs, 7)["up"].detach().numpy())


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("norm_keep", {"out": "x"}, "two vectors"),
        ("norm_keep", {"out": "history"}, "history"),
        ("norm_keep", {"eps": 0.0}, "eps 0"),
        ("norm_keep", {"eps": float("nan")}, "eps"),
        ("mix_kept", {"kept_as": "x"}, "two vectors"),
        ("mix_kept", {"mix": "skip.0"}, "shape"),
        ("mix_kept", {"mix": "embed"}, "shape"),
        ("norm_matvec", {"norm": "skip.0"}, "bare norm has no weights"),
        ("norm_matvec", {"eps": 2.0}, "eps 2"),
        ("norm_ffn_add", {"norm": "skip.0"}, "bare norm has no weights"),
        ("norm_ffn_add", {"eps": -1.0}, "eps -1"),
    ],
)
def test_a_program_that_does_not_fit_is_refused(name, change, said):
    values = golf.stack(SMALL).program().to_plain()
    next(op for op in values["body"] if op["op"] == name).update(change)
    with pytest.raises(CorruptFileError, match=said):
        Program.from_plain(values)
