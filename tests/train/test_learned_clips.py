"""Oracles: the equations of LSQ written with autograd, the stored bytes, and the run that was not interrupted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import ToyModel, toy_tokens

from weightless.base.errors import ConfigError
from weightless.export.clipped import clipped_rows
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.layout import format_named, n_groups
from weightless.quant.learned_steps import step_gradients
from weightless.quant.straight_through import fake_quantise, rounded
from weightless.train import loop
from weightless.train.checkpoint import load_checkpoint
from weightless.train.config import TrainConfig
from weightless.train.learned_clips import clips_in
from weightless.train.loop import train

FORMATS = ["int8", "int4", "int3", "int2", "t2", "t5@lsq", "binary", "int4_g32_s8", "int6_row", "int4@quantile0.9"]
TRAIN, VAL = toy_tokens(20_000), toy_tokens(3_000, seed=1)
SMALL = TrainConfig(
    4, 9, num_steps=24, log_every=1, eval_every=10, eval_tokens=500, checkpoint_every=1e9, threads=1, qat_start=0.25
)


def some(rows: int, cols: int, fmt: str, wide: bool, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, one group of them zero, and factors below 1."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, cols, generator=draw) * 0.1
    w[1] = 0
    shape = (rows, n_groups(fmt, cols)) if wide else (1, 1)
    return w, 0.5 + 0.5 * torch.rand(shape, generator=draw)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("cols", [130, 64])
def test_training_computes_with_what_is_stored(fmt: str, wide: bool, cols: int) -> None:
    """The twin in PyTorch and the packed rows: the same bits."""
    w, clip = some(7, cols, fmt, wide)
    spec = dataclasses.replace(ToyModel().tensors()[0], name="w", shape=(7, cols), format=fmt)
    stored = clipped_rows([spec], {"w": w.numpy()}, {"w": clip.numpy()})["w"].rows
    read = torch.from_numpy(decode_rows(stored, fmt, cols))
    assert torch.equal(rounded(w, format_named(fmt), clip).view(torch.int32), read.view(torch.int32))
    ones = clipped_rows([spec], {"w": w.numpy()}, {"w": np.ones(clip.shape, np.float32)})["w"].rows
    assert np.array_equal(ones, encode_rows(w.numpy(), fmt)) and not np.array_equal(ones, stored)


def paper(v: torch.Tensor, s: torch.Tensor, m: float, even: bool) -> torch.Tensor:
    """Esser et al. 2020, appendix A, by autograd: clip, then round with a gradient of one."""
    ratio = v / s
    bounded = ratio.clamp(-m, m)
    near = (bounded.floor() + 0.5).clamp(-m, m) if even else bounded.round()
    return (bounded + (near - bounded).detach()) * s


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("fmt", ["int4", "int3@absmax", "int2", "t2", "binary"])
def test_gradients_are_the_papers(fmt: str, wide: bool) -> None:
    """In float32, so 1e-5 of the largest; scales are held at what fp16 makes of them, and the rule's as constants."""
    w, clip = some(5, 128, fmt, wide, seed=3)
    w = w[[0, 2, 3, 4]]
    clip = clip[[0, 2, 3, 4]] if wide else clip
    described, draw = format_named(fmt), torch.Generator().manual_seed(9)
    g, m = torch.randn(w.shape, generator=draw), (described.levels - 1) / 2
    mine = step_gradients(w, described, clip, g)

    given = torch.from_numpy(_rule_scales(w, fmt))
    v, c = w.clone().requires_grad_(), clip.clone().requires_grad_()
    wanted = given * c
    stored = wanted + (wanted.half().float() - wanted).detach()
    out = paper(v.unflatten(1, (-1, 64)), stored[..., None], m, described.levels % 2 == 0).flatten(1)
    torch.testing.assert_close(out.detach(), rounded(w, described, clip), rtol=1e-6, atol=1e-7)
    out.backward(g)
    assert v.grad is not None and c.grad is not None
    torch.testing.assert_close(mine[0], v.grad)
    n = 64 if wide else w.numel()
    torch.testing.assert_close(mine[1], c.grad / (n * m) ** 0.5, rtol=1e-4, atol=1e-5 * float(c.grad.abs().max()))
    assert float((v.grad == 0).float().mean()) > 0.01  # some were clipped


def _rule_scales(w: torch.Tensor, fmt: str) -> np.ndarray:
    from weightless.quant.code_rows import grouped
    from weightless.quant.rules import wanted_scales

    return wanted_scales(*grouped(w.numpy(), 64), format_named(fmt).parts)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("kind", ["tensor", "group"])
def test_a_run_learns_them_and_packs_what_it_computed_with(kind: str, optimizer: str, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, qat_clip=kind, optimizer=optimizer, qat_warmup=0.25)
    result = train(ToyModel(), TRAIN, VAL, config, tmp_path)
    assert all(check["ok"] for check in result.observed.values()), result.observed
    specs = {spec.name: spec for spec in ToyModel().tensors()}
    assert set(result.clips) == {"embed", "matrix"}  # the table keeps its rule, the others have no codes
    found = {"embed": (61, 1), "matrix": (16, 1)} if kind == "group" else {"embed": (1, 1), "matrix": (1, 1)}
    assert {name: clip.shape for name, clip in result.clips.items()} == found
    assert all((clip != 1).any() for clip in result.clips.values())
    factors = sum(clip.size for clip in result.clips.values())
    assert result.optimizer_bytes_by_group["clips"] == 4 * factors * (1 if optimizer == "sgd" else 3)

    saved = load_checkpoint(tmp_path / "checkpoint")
    assert saved is not None
    arrays = {name: w.numpy() for name, w in result.params.items()}
    rows = clipped_rows(specs.values(), arrays, clips_in(saved.optimizer))
    inputs: dict[str, Any] = {
        name: torch.from_numpy(value.astype(np.int64)) for name, value in result.constants.items()
    }
    for name, spec in specs.items():
        w = result.params[name]
        inputs[name] = fake_quantise(w, spec.format)
        if name in rows:
            inputs[name] = torch.from_numpy(decode_rows(rows[name].rows, spec.format, w.shape[1]))
    from weightless.train.validation import Validation

    assert result.curve[-1]["val_loss"] == Validation(VAL, 9, 4, 500).loss(ToyModel(), inputs)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(SMALL, qat_clip="group", average="ema", ema_decay=0.9)
    whole = train(ToyModel(), TRAIN, VAL, config, tmp_path / "whole")

    def stopped(*rest: Any, true: Any = loop.train_step, **more: Any) -> Any:
        if more["step"] == 15:
            raise KeyboardInterrupt
        return true(*rest, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "train_step", stopped)
        train(ToyModel(), TRAIN, VAL, dataclasses.replace(config, checkpoint_every=0), tmp_path / "parts")
    parts = train(ToyModel(), TRAIN, VAL, config, tmp_path / "parts")
    assert all(torch.equal(whole.params[name], parts.params[name]) for name in whole.params)
    assert all(np.array_equal(whole.clips[name], parts.clips[name]) for name in whole.clips)
    assert [line["val_loss"] for line in whole.curve] == [line["val_loss"] for line in parts.curve]


def test_a_learned_clip_errs_less_where_the_rule_is_bad() -> None:
    """absmax at seven levels: of normal numbers it errs 1.40 times as much as the best clip (docs/formats.md)."""
    w, fmt, clip = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)), format_named("int3@absmax"), 1.0
    errors = []
    for _ in range(100):
        factor = torch.full((1, 1), clip)
        out = rounded(w, fmt, factor)
        errors.append(float((out - w).square().sum()))
        clip -= 0.01 * float(step_gradients(w, fmt, factor, out - w)[1].sign())
    assert min(errors) < errors[0] / 1.3 and errors[-1] < 1.01 * min(errors)


def test_without_codes_there_is_nothing_to_learn(tmp_path: Path) -> None:
    class Plain(ToyModel):
        def tensors(self) -> list[Any]:
            return [dataclasses.replace(spec, format="bf16") for spec in super().tensors()]

    config = dataclasses.replace(SMALL, qat_clip="tensor")
    with pytest.raises(ConfigError, match="nothing to learn"):
        train(Plain(), TRAIN, VAL, config, tmp_path)
    with pytest.raises(ConfigError, match="'group'"):
        dataclasses.replace(SMALL, qat_clip="groups")
    with pytest.raises(ConfigError, match="does nothing"):
        dataclasses.replace(config, qat_start=1.0).check_used({"qat_clip"})
