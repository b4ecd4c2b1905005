"""Golf against the published baseline, written out here from its equations in plain PyTorch.

The oracle shares nothing with the layers: separate query, key and value matrices, PyTorch's own `rms_norm` and
`scaled_dot_product_attention`, and the optimizers in the form that the baseline keeps.  Its rotation turns the other
way, which is ours with the sign of the second half of every query and key head changed, and `theirs` changes it.

One difference is ours and known: sines and cosines are rounded to float32 (6e-8 of 1), which moves a loss by less than
1e-6 and a gradient by less than 2e-6 of its largest element.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from weightless.cli.main import main
from weightless.lab.accounting import family_model
from weightless.lab.recipe import Recipe, load_recipe
from weightless.ledger.shape import parameters
from weightless.models import golf
from weightless.models.catalog import trained
from weightless.program.cost import formula
from weightless.program.tensor import Parameter
from weightless.train.config import TrainConfig
from weightless.train.initialise import initial_parameters
from weightless.train.optimizers.groups import grouped_optimizer
from weightless.train.run_state import schedule_factor

EPS = torch.finfo(torch.float32).eps
SIZES = {
    "nine blocks": golf.Config(61, 36, 9, 2, 1, context=31, weight_format="f32", kv_format="f32"),
    "two blocks": golf.Config(61, 40, 2, 4, 2, 30, context=31, weight_format="f32", kv_format="f32"),
    "one block": golf.Config(61, 36, 1, 3, 3, context=31, softcap=2.0, weight_format="f32", kv_format="f32"),
}


def normed(x: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=EPS)


def turned(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary positions as complex numbers, elements j and j + half: turned by -position * theta^(-2 j / width)."""
    half = x.shape[-1] // 2
    rate = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = -torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rate
    z = torch.complex(x[..., :half].double(), x[..., half:].double()) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], -1).to(x.dtype)


def published(c: golf.Config, w: dict[str, torch.Tensor], tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean nats per target, block by block."""
    start = x = normed(w["embed"][tokens])
    pushed, half = [], c.n_layers // 2
    for i in range(c.n_layers):
        if i >= half and pushed:
            x = x + w[f"skip.{i - half}"] * pushed.pop()
        x = w[f"mix.{i}"][0] * x + w[f"mix.{i}"][1] * start
        x = x + w[f"attn_scale.{i}"] * attended(c, w, i, normed(x))
        x = x + w[f"mlp_scale.{i}"] * (F.relu(normed(x) @ w[f"fc.{i}"].T) ** 2 @ w[f"proj.{i}"].T)
        if i < half:
            pushed.append(x)
    z = normed(x) @ w["embed"].T
    return F.cross_entropy((c.softcap * torch.tanh(z / c.softcap)).flatten(0, 1), targets.flatten())


def attended(c: golf.Config, w: dict[str, torch.Tensor], i: int, h: torch.Tensor) -> torch.Tensor:
    B, T, _ = h.shape
    q, k, v = ((h @ w[f"{kind}.{i}"].T).view(B, T, -1, c.d_model // c.n_heads).transpose(1, 2) for kind in "qkv")
    q, k = turned(normed(q), c.rope_theta) * w[f"q_gain.{i}"][:, None, None], turned(normed(k), c.rope_theta)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return y.transpose(1, 2).reshape(B, T, -1) @ w[f"out.{i}"].T


NAMES = {
    "out": "out",
    "up": "fc",
    "down": "proj",
    "attn_scale": "attn_scale",
    "ffn_scale": "mlp_scale",
    "mix": "mix",
    "q_gain": "q_gain",
}


def theirs(c: golf.Config, ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our tensors by the oracle's names: qkv in three, vectors as vectors; for gradients and for changes as well."""
    found, d_head = {}, c.d_model // c.n_heads
    rows = [c.n_heads * d_head, c.n_kv_heads * d_head, c.n_kv_heads * d_head]
    for name, tensor in ours.items():
        kind, _, i = name.removeprefix("block.").partition(".")[::-1]
        if name == "embed" or name.startswith("skip."):
            found[name] = tensor if name == "embed" else tensor.reshape(-1)
        elif kind == "qkv":
            found |= {f"{part}.{i}": piece for part, piece in zip("qkv", tensor.split(rows), strict=True)}
            for part in "qk":
                heads = found[f"{part}.{i}"].unflatten(0, (-1, 2, d_head // 2))
                found[f"{part}.{i}"] = (heads * torch.tensor([1, -1])[:, None, None]).flatten(0, 2)
        else:
            keeps_rows = kind in ("out", "up", "down", "mix")
            found[f"{NAMES[kind]}.{i}"] = tensor if keeps_rows else tensor.reshape(-1)
    return found


def lively(c: golf.Config, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Initial parameters with what begins at zero or one made uneven."""
    made, generator = initial_parameters(golf.stack(c).parameters(), 5), torch.Generator().manual_seed(8)
    for name, tensor in made.items():
        noise = torch.randn(tensor.shape, generator=generator)
        made[name] = (tensor.detach() + (0.02 if name == "embed" else 0.2) * noise).to(dtype)
    return made


def batch(c: golf.Config) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(c.vocab_size, (3, 20), generator=torch.Generator().manual_seed(9))
    return tokens[:, :-1], tokens[:, 1:]


@pytest.mark.parametrize("c", SIZES.values(), ids=SIZES)
def test_losses_and_gradients_are_the_published_ones(c):
    p = {name: tensor.requires_grad_() for name, tensor in lively(c).items()}
    w = {name: tensor.detach().clone().requires_grad_() for name, tensor in theirs(c, p).items()}
    x, y = batch(c)
    ours, wanted = trained("golf").Model(c).losses(p, x, y).mean(), published(c, w, x, y)
    assert ours.item() == pytest.approx(wanted.item(), abs=1e-6)
    ours.backward()
    wanted.backward()
    gradients = theirs(c, {name: tensor.grad for name, tensor in p.items()})
    assert gradients.keys() == w.keys()
    for name, gradient in gradients.items():
        largest = float(w[name].grad.abs().max())
        torch.testing.assert_close(gradient, w[name].grad, rtol=0, atol=2e-6 * max(largest, 1e-3), msg=name)


def test_they_begin_alike():
    """Zeros, ones, 1.5, a small embedding, and the even distribution of PyTorch's own matrices."""
    c = SIZES["nine blocks"]
    made = {name: tensor.detach() for name, tensor in initial_parameters(golf.stack(c).parameters(), 0).items()}
    for name, tensor in theirs(c, made).items():
        kind = name.partition(".")[0]
        if kind in ("out", "proj"):
            assert not tensor.any()
        elif kind in ("attn_scale", "mlp_scale", "skip"):
            assert (tensor == 1).all()
        elif kind in "qkv" or kind == "fc":
            torch_own = torch.nn.Linear(c.d_model, len(tensor), bias=False).weight
            assert 0.97 < tensor.abs().max() / torch_own.abs().max() < 1.03
            assert abs(tensor).max() <= c.d_model**-0.5
    assert (made["block.3.mix"][0] == 1).all() and not made["block.3.mix"][1].any()
    assert (made["block.8.q_gain"] == 1.5).all() and 0.0045 < made["embed"].std() < 0.0055


def orthogonal(g: torch.Tensor) -> torch.Tensor:
    """Five steps of Newton-Schulz on one matrix."""
    x = g.T if len(g) > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if len(g) > g.shape[1] else x


@pytest.fixture
def shipped(request) -> Recipe:
    return load_recipe(request.config.rootpath / "recipes" / "parameter_golf.toml")


@pytest.fixture
def recipe(shipped) -> TrainConfig:
    """The published rates and momenta of the recipe, with a short rise and fall."""
    asked = shipped.model[0].build_training(golf.Config(), 0)
    return dataclasses.replace(
        asked, seconds=None, num_steps=8, context=19, muon_momentum_warmup=5, warmdown_steps=3, device="cpu"
    )


def test_the_recipe_asks_for_the_published_training(shipped):
    """524,288 tokens a step, rates of 0.05, 0.04 and 0.04, momentum 0.85 to 0.95 in 500 steps, a fall of 1,200."""
    (model,) = shipped.model
    c, asked = model.build_config(1024), model.build_training(golf.Config(), 0)
    assert c == golf.Config() and asked.positions_per_step == 524_288
    specs = golf.stack(SIZES["two blocks"]).parameters()
    optimizer = grouped_optimizer(specs, initial_parameters(specs, 0), asked)
    assert optimizer.rates(1.0) == pytest.approx({"matrix": 0.04, "embedding": 0.05, "vector": 0.04})
    muon = next(part.optimizer for part in optimizer.parts if part.group == "matrix")
    assert [muon.momentum_at(t) for t in (1, 251, 501, 9999)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert all(part.optimizer.decay == 0 for part in optimizer.parts) and asked.grad_clip == 0
    n = 13_000  # steps that the clock may allow
    at = [schedule_factor(asked, progress, asked.seconds / n) for progress in (0, 1 - 1200 / n, 1 - 600 / n, 1)]
    assert at == pytest.approx([1, 1, 0.5, 0])


def test_eight_steps_of_training_are_the_published_ones(recipe):
    """Adam on embedding and vectors, Muon on every matrix by itself with the sum form of its momentum."""
    c = SIZES["two blocks"]
    p = {name: tensor.requires_grad_() for name, tensor in lively(c, torch.float32).items()}
    w = {name: tensor.detach().clone().requires_grad_() for name, tensor in theirs(c, p).items()}
    optimizer, model, (x, y) = grouped_optimizer(golf.stack(c).parameters(), p, recipe), golf.FAMILY.Model(c), batch(c)
    matrices = {name for name in w if name.partition(".")[0] in (*"qkv", "out", "fc", "proj")}
    adam = torch.optim.Adam(
        [
            {"params": [w["embed"]], "peak": 0.05},
            {"params": [w[name] for name in w if name != "embed" and name not in matrices], "peak": 0.04},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    momentum: dict[str, Any] = {name: torch.zeros_like(w[name]) for name in matrices}
    for step in range(8):
        factor, share = min((8 - step) / 3, 1.0), min(step / 5, 1.0)
        mu = (1 - share) * 0.85 + share * 0.95
        model.losses(p, x, y).mean().backward()
        optimizer.update({name: tensor.grad for name, tensor in p.items()}, factor, step + 1)
        published(c, w, x, y).backward()
        for group in adam.param_groups:
            group["lr"] = factor * group["peak"]
        adam.step()
        with torch.no_grad():
            for name in matrices:
                g = w[name].grad
                momentum[name] = mu * momentum[name] + g
                w[name] -= 0.04 * factor * math.sqrt(max(1, len(g) / g.shape[1])) * orthogonal(g + mu * momentum[name])
        for tensor in (*p.values(), *w.values()):
            tensor.grad = None
    for name, tensor in theirs(c, p).items():  # eight steps of 0.05 in float32; 3e-6 were seen
        torch.testing.assert_close(tensor, w[name], rtol=0, atol=2e-5, msg=name)
        assert (tensor - theirs(c, lively(c, torch.float32))[name]).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("change", "n"),
    [({}, 17_059_912), ({"n_layers": 10}, 18_897_488), ({"d_ff": 1536}, 21_778_504)],
)
def test_as_many_parameters_as_published(change, n, capsys):
    """Of the model that is built, of its accounting, and of what the counter prints."""
    c = golf.Config(**change)
    specs: list[Parameter] = trained("golf").Model(c).tensors()
    assert sum(math.prod(spec.shape) for spec in specs) == n
    assert sum(parameters(family_model("golf", c).weights).values()) == n
    main(["count", "golf", *(["--set", *(f"{k}={v}" for k, v in change.items())] if change else [])])
    assert f"{n:,} parameters" in capsys.readouterr().out
    if not change:
        assert n == 524_288 + 9 * (1_835_008 + 2_056) + 2_048
        initial = initial_parameters(specs, 0)
        assert sum(tensor.numel() for tensor in initial.values()) == n
        assert sum(touched.T for touched in formula(golf.FAMILY.decode_program(c), 1, "score").values()) > 17e6


def test_the_dial_passes_the_published_model():
    assert golf.Config.at(8) == golf.Config()
    for size in range(1, 13):
        c = golf.Config.at(size, 61)
        assert c.d_model == 64 * size and c.n_layers == size + 1 and c.n_heads % c.n_kv_heads == 0
