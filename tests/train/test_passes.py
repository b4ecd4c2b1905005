"""Oracle: the same run uncompiled and in float32.

Tolerances: compiled float32 differs by the order of sums and by vector exponentials, 1e-4 of the nats after a dozen
steps (Muon's orthogonal steps and codes that flip make it more than one rounding); products in bf16 have 2^-8 each, and
nats are means over many of them: 1e-2.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import ToyModel

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.functions.losses import slopes_to_compile, softmax_slopes
from weightless.layers.layer import Record
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig
from weightless.train.initialise import initial_parameters
from weightless.train.loop import train
from weightless.train.passes import Passes
from weightless.train.result import TrainResult
from weightless.train.step import as_tensor, constant_tensor
from weightless.train.validation import Validation

rng = np.random.default_rng
SMALL = TrainConfig(4, 33, num_steps=12, log_every=1, eval_every=6, eval_tokens=500, checkpoint_every=1e9, threads=1)
DENSE: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 40}
TINY: dict[str, Any] = {"vocab_size": 61, "context": 33, "d_model": 32, "n_layers": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("dense", DENSE),
    "narrow embedding": ("dense", {**DENSE, "d_embed": 16}),
    "exits": ("dense", {**DENSE, "n_layers": 3, "exit_after": (1, 2)}),
    "coded cache": ("dense", {**DENSE, "kv_format": "int8", "weight_format": "int4"}),
    "feather": ("feather", {"rows_2": 128, "rows_3": 128}),
    "experts": ("experts", {"n_experts": 4}),
    "memory": ("memory", {}),
    "scan": ("scan", {}),
    "recurrent": ("recurrent", {}),
}
FAST = ("dense", "narrow embedding", "memory")


def text(n: int = 9000) -> np.ndarray:
    """Every token but some follows the one before by three; 0 ends a text."""
    return (np.cumsum(np.where(rng(0).random(n) < 0.8, 3, rng(1).integers(0, 61, n))) % 61).astype(np.uint16)


TRAIN, VAL = text()[:8000], text()[8000:]


def model_of(case: str) -> Any:
    name, fields = CASES[case]
    room = trained(name)
    known = {f.name for f in dataclasses.fields(room.Config)}
    return room.Model(room.Config(**{k: v for k, v in {**TINY, **fields}.items() if k in known}))


def run(case: str, folder: Path, **fields: Any) -> TrainResult:
    return train(model_of(case), TRAIN, VAL, dataclasses.replace(SMALL, **fields), folder)


def nats(result: TrainResult) -> np.ndarray:
    return np.array([line["train_loss"] for line in result.curve])


@pytest.mark.parametrize("case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_products_in_bf16_learn_the_same(case: str, tmp_path: Path) -> None:
    plain = run(case, tmp_path / "plain", qat_start=0.5)
    half = run(case, tmp_path / "half", qat_start=0.5, autocast="bf16")
    within = 5e-2 if case == "experts" else 1e-2  # another choice of expert is another function
    np.testing.assert_allclose(nats(half), nats(plain), rtol=0, atol=within)
    assert not np.array_equal(nats(half), nats(plain)) and half.observed["autocast"]["ok"], half.observed
    assert "autocast" not in plain.observed and nats(half)[-1] < nats(half)[0]
    assert all(w.dtype == torch.float32 for w in half.params.values())


def test_all_batches_have_one_layout() -> None:
    """torch.compile makes another graph for another stride, in the middle of a training."""
    rows = np.arange(4 * 34).reshape(4, 34)
    for tokens in (rows[:, :-1], rows[:, 1:].copy(), rows[:, 1:].astype(np.uint16)):
        assert as_tensor(tokens, "cpu").stride() == (33, 1)


def test_validation_is_float32_whatever_training_is(tmp_path: Path) -> None:
    result = run("dense", tmp_path, autocast="bf16")
    inputs = result.params | {name: constant_tensor(value, "cpu") for name, value in result.constants.items()}
    assert result.curve[-1]["val_loss"] == Validation(VAL, 33, 4, 500).loss(model_of("dense"), inputs)


def test_what_nothing_was_asked_of_is_the_model_itself() -> None:
    model, p = model_of("dense"), initial_parameters(model_of("dense").tensors(), 0)
    x, y = torch.arange(66).view(2, 33) % 61, torch.arange(1, 67).view(2, 33) % 61
    passes = Passes(model, SMALL)
    assert torch.equal(passes.losses(p, x, y), model.losses(p, x, y)) and passes.told() == {}


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_part_of_the_head_that_is_compiled(softcap: float | None, dtype: torch.dtype) -> None:
    """Against what runs uncompiled; the last rounding, to the dtype of the logits, may fall otherwise."""
    logits = (20 * torch.randn(7, 61, generator=torch.Generator().manual_seed(0))).to(dtype)
    targets = torch.arange(7) * 5
    for mine, theirs in zip(
        slopes_to_compile(logits, targets, softcap), softmax_slopes(logits, targets, softcap), strict=True
    ):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=1e-5 if mine.dtype == torch.float32 else 2**-7, atol=1e-6)


def test_a_head_under_autocast_is_near_float64() -> None:
    draw = torch.Generator().manual_seed(1)
    h, w = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((9, 16), (61, 16)))
    targets = torch.tensor([3, -1, 0, 60, 7, 7, 12, -1, 30])
    exact = h.clone().requires_grad_(), w.clone().requires_grad_()
    L.fused_cross_entropy(*exact, targets).sum().backward()
    mine = h.float().requires_grad_(), w.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = L.fused_cross_entropy(*mine, targets)
    assert found.dtype == torch.float32
    found.sum().backward()
    for z, true in zip(mine, exact, strict=True):
        assert z.grad is not None and true.grad is not None and z.grad.dtype == torch.float32
        largest = float(true.grad.abs().max())
        torch.testing.assert_close(z.grad.double(), true.grad, rtol=0, atol=4 * 2**-8 * largest)
        assert not torch.allclose(z.grad.double(), true.grad, rtol=0, atol=1e-6 * largest)


def test_what_cannot_be_compiled_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: Any) -> None:
    config = dataclasses.replace(SMALL, compile=True)
    with pytest.raises(ConfigError, match="ToyModel is none"):
        train(ToyModel(), TRAIN, VAL, config, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        run("dense", tmp_path, compile=True)
    assert not (tmp_path / "metrics.jsonl").exists() and not (tmp_path / "checkpoint").exists()
    with pytest.raises(ConfigError, match="'bf16'"):
        dataclasses.replace(SMALL, autocast="bf32")


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch: Any) -> None:
    def fails(*given: Any, **more: Any) -> Any:
        raise RuntimeError("no such instruction\nand a page of C++")

    with warnings.catch_warnings():  # PyTorch's own, of a part of itself
        warnings.simplefilter("ignore")
        from torch._inductor import compile_fx

    monkeypatch.setattr(compile_fx, "compile_fx", fails)
    passes = Passes(model_of("dense"), dataclasses.replace(SMALL, compile=True))
    p, x = initial_parameters(model_of("dense").tensors(), 0), torch.zeros(2, 33, dtype=torch.int64)
    with pytest.raises(ConfigError, match="no such instruction") as error:
        passes.losses(p, x, x, record=Record())
    assert "\n" not in str(error.value)


class Documents:
    """Where texts end, for a document mask."""

    end_of_text = 0


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_compiled_is_the_same_training(case: str, tmp_path: Path) -> None:
    """With everything that changes on the way: rounding that sets in, clips that are learned, averages."""
    changing: dict[str, Any] = {"qat_start": 0.4, "qat_warmup": 0.2, "average": "ema", "ema_decay": 0.9}
    changing["average_start"] = 0.2
    changing["qat_clip"] = "tensor" if case == "coded cache" else "rule"
    plain = run(case, tmp_path / "plain", **changing)
    made = run(case, tmp_path / "made", compile=True, **changing)
    within = 2e-2 if case in ("experts", "coded cache") else 2e-3 if case == "feather" else 4e-4
    np.testing.assert_allclose(nats(made), nats(plain), rtol=0, atol=within)
    assert all(check["ok"] for check in made.observed.values()), made.observed
    told = made.observed["quantisation-aware training"]["detail"]
    assert told == plain.observed["quantisation-aware training"]["detail"] and "active from step 5" in told


@pytest.mark.slow
def test_compiled_layers_see_documents_exits_and_the_rounding_of_caches() -> None:
    """Each switch: the compiled nats are those of the uncompiled model, and not those without the switch."""
    x, y = (
        torch.from_numpy(text()[:132].astype(np.int64)).view(4, 33),
        torch.from_numpy(text()[1:133].astype(np.int64)).view(4, 33),
    )
    documents = (x == 0).cumsum(1)
    config = dataclasses.replace(SMALL, compile=True)
    for kv_format in ("f32", "bf16", "int4"):
        room = trained("dense")
        model = room.Model(room.Config(**{**TINY, **DENSE, "kv_format": kv_format, "exit_after": (1,)}))
        p: dict[str, torch.Tensor] = dict(initial_parameters(model.tensors(), 0))
        constants = {k: constant_tensor(v, "cpu") for k, v in model.prepare(TRAIN, 0).items()}
        plain = room.Model(room.Config(**{**TINY, **DENSE, "kv_format": "f32", "exit_after": (1,)}))
        passes = Passes(model, config)
        for more in ((), (documents,)):
            records = Record(), Record()
            mine = passes.losses(p | constants, x, y, *more, record=records[0])
            wanted = model.losses(p | constants, x, y, *more, record=records[1])
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-5 * float(wanted.detach().max()))
            assert len(records[0].auxiliary) == len(records[1].auxiliary) == 1
            torch.testing.assert_close(records[0].auxiliary, records[1].auxiliary, rtol=1e-5, atol=1e-5)
            if kv_format != "f32":
                without = plain.losses(p | constants, x, y, *more, record=Record())
                assert float((mine - without).detach().abs().max()) > 20 * float((mine - wanted).detach().abs().max())
        apart, across = (passes.losses(p | constants, x, y, *more, record=Record()) for more in ((documents,), ()))
        assert float((apart - across).detach().abs().max()) > 1e-3
    assert passes.n_compiled == passes.n_passes == 4 and passes.n_graphs >= 2  # one with documents, one without


@pytest.mark.slow
def test_a_compiled_run_resumes_with_the_same_bits(tmp_path: Path, monkeypatch: Any) -> None:
    from weightless.train import loop

    whole = run("dense", tmp_path / "whole", compile=True, autocast="bf16")

    def stopped(*rest: Any, true: Any = loop.train_step, **more: Any) -> Any:
        if more["step"] == 7:
            raise KeyboardInterrupt
        return true(*rest, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "train_step", stopped)
        run("dense", tmp_path / "parts", compile=True, autocast="bf16", checkpoint_every=0)
    parts = run("dense", tmp_path / "parts", compile=True, autocast="bf16")
    assert all(torch.equal(whole.params[name], parts.params[name]) for name in whole.params)
