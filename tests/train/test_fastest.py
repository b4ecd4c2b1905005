"""Oracle: the passes as they are written, and what `compile` and `autocast` do when they are asked for by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.layers.layer import Record
from weightless.models.catalog import trained
from weightless.train import fastest
from weightless.train.config import TrainConfig
from weightless.train.fastest import COMPUTED, LONG, Fastest, passes_for
from weightless.train.initialise import initial_parameters
from weightless.train.loop import train
from weightless.train.optimizers.muon import orthogonal
from weightless.train.passes import Passes
from weightless.train.shares import Share

TOKENS = np.random.default_rng(0).integers(0, 61, 9000).astype(np.uint16)
LONG_RUN = TrainConfig(4, 33, seconds=LONG, eval_tokens=500, checkpoint_every=1e9, threads=1)
HALF = dataclasses.replace(LONG_RUN, autocast="bf16")
ONE = Share.of(LONG_RUN, 0, 1)


def dense() -> Any:
    room = trained("dense")
    return room.Model(room.Config(vocab_size=61, context=33, d_model=32, n_layers=2, n_heads=2, d_ff=40))


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has all of it; nothing is compiled before a pass."""
    monkeypatch.setattr(fastest, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(fastest, "check_compilable", lambda model, device: None)


def kind(config: TrainConfig, is_taught: bool = False, share: Share = ONE, saved: Any = None) -> tuple[str, bool, str]:
    found = passes_for(dense(), config, is_taught, share, saved)
    return type(found).__name__, found.config.compile, found.config.autocast


def test_a_long_budget_of_seconds_is_computed_in_the_fastest_way() -> None:
    assert kind(LONG_RUN) == ("Fastest", True, "bf16")


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": LONG - 1},
        {"seconds": None, "num_steps": 10**9},
        {"fastest": "never"},
        {"device": "cuda"},
    ],
)
def test_everything_else_is_computed_as_written(changes: dict[str, Any]) -> None:
    assert kind(dataclasses.replace(LONG_RUN, **changes)) == ("Passes", False, "none")


def test_teachers_several_processes_and_poor_machines_are_computed_as_written(monkeypatch: Any) -> None:
    assert kind(LONG_RUN, is_taught=True) == ("Passes", False, "none")
    assert kind(LONG_RUN, share=Share.of(LONG_RUN, 0, 2)) == ("Passes", False, "none")

    def refuses(model: Any, device: str) -> None:
        raise ConfigError("no compiler")

    with monkeypatch.context() as patch:
        patch.setattr(fastest, "check_compilable", refuses)
        assert kind(LONG_RUN) == ("Passes", False, "none")
    monkeypatch.setattr(fastest, "has_bf16_instructions", lambda: False)
    assert kind(LONG_RUN) == ("Passes", False, "none")


def test_what_is_asked_for_by_name_is_done() -> None:
    assert kind(HALF) == ("Passes", False, "bf16")
    with pytest.raises(ConfigError, match="fastest does nothing beside compile"):
        dataclasses.replace(HALF, fastest="never").check_used(["fastest", "autocast"])


def test_a_checkpoint_decides_how_it_goes_on() -> None:
    """Also on a machine that would decide otherwise; one of an older version was computed as written."""
    assert kind(LONG_RUN, saved={}) == ("Passes", False, "none")
    plain = {COMPUTED: {"compile": False, "autocast": "none", "detail": "given up"}}
    assert kind(LONG_RUN, saved=plain) == ("Fastest", False, "none")
    half = {COMPUTED: {"compile": False, "autocast": "bf16", "detail": "held"}}
    assert kind(dataclasses.replace(LONG_RUN, seconds=5.0), saved=half) == ("Fastest", False, "bf16")
    for nonsense in (7, {"autocast": "int3"}, {}):
        with pytest.raises(CorruptFileError, match="how it was computed"):
            kind(LONG_RUN, saved={COMPUTED: nonsense})


def first_batch() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(TOKENS[:132].astype(np.int64)).view(4, 33)
    return dict(initial_parameters(dense().tensors(), 0)), x, x.roll(-1, 1)


def test_passes_that_agree_are_kept_and_told() -> None:
    p, x, y = first_batch()
    passes, asked = Fastest(dense(), HALF, ONE), Passes(dense(), HALF)
    assert torch.equal(passes.losses(p, x, y, record=Record()), asked.losses(p, x, y, record=Record()))
    assert passes.to_plain()[COMPUTED]["autocast"] == "bf16"
    assert passes.told()[COMPUTED]["detail"].startswith("compiled and in bf16") and passes.told()["autocast"]["ok"]


def test_passes_that_give_another_loss_are_given_up(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(fastest, "ROOM", 0.0)
    p, x, y = first_batch()
    passes = Fastest(dense(), HALF, ONE)
    assert torch.equal(passes.losses(p, x, y, record=Record()), dense().losses(p, x, y, record=Record()))
    assert passes.to_plain()[COMPUTED] == {"compile": False, "autocast": "none", "detail": passes.detail}
    assert "as written, in float32" in capsys.readouterr().err and set(passes.told()) == {COMPUTED}


def test_what_does_not_compile_is_given_up(monkeypatch: Any) -> None:
    from torch._dynamo.exc import Unsupported

    p, x, y = first_batch()
    passes = Fastest(dense(), HALF, ONE)

    def fails(*given: Any, **more: Any) -> Any:
        raise Unsupported("no such instruction")

    monkeypatch.setattr(passes, "computed", type("Model", (), {"losses": fails})())
    passes.config = dataclasses.replace(HALF, compile=True)  # or it is no error of compiling
    monkeypatch.setattr("weightless.train.passes.slopes_by", lambda made: torch.no_grad())
    assert torch.equal(passes.losses(p, x, y, record=Record()), dense().losses(p, x, y, record=Record()))
    assert "no such instruction" in passes.detail


def test_a_step_of_muon_in_bf16_is_near_that_in_float32() -> None:
    """Against the iteration in float64; 5 iterations in bf16 keep 2 digits, and the result has the dtype of x."""
    x = torch.randn(3, 24, 17, generator=torch.Generator().manual_seed(0))
    exact, half = orthogonal(x.double()), orthogonal(x, half=True)
    assert half.dtype == torch.float32
    torch.testing.assert_close(orthogonal(x).double(), exact, rtol=0, atol=1e-5)
    assert 1e-4 < float((half - exact).abs().max()) < 5e-2


def test_the_loop_computes_and_remembers_it(tmp_path: Path, monkeypatch: Any) -> None:
    """Uncompiled here: what the loop is handed decides, and a run that goes on is handed the same."""
    monkeypatch.setattr(fastest, "LONG", 0.1)
    monkeypatch.setattr(
        fastest, "Fastest", lambda m, c, s, d="": Fastest(m, dataclasses.replace(c, compile=False), s, d)
    )
    config = dataclasses.replace(LONG_RUN, seconds=0.3, clock="cpu")
    first = train(dense(), TOKENS[:8000], TOKENS[8000:], config, tmp_path)
    assert first.observed["autocast"]["ok"] and first.observed[COMPUTED]["detail"].startswith("compiled and in bf16")
    monkeypatch.setattr(fastest, "has_bf16_instructions", lambda: False)
    again = train(dense(), TOKENS[:8000], TOKENS[8000:], config, tmp_path)
    assert again.observed[COMPUTED] == first.observed[COMPUTED] and again.steps == first.steps


@pytest.mark.slow
def test_a_long_run_is_compiled(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(fastest, "LONG", 0.1)
    config = dataclasses.replace(LONG_RUN, seconds=2.0, clock="cpu")
    made = train(dense(), TOKENS[:8000], TOKENS[8000:], config, tmp_path)
    if not fastest.has_bf16_instructions():
        pytest.skip("this processor has no instructions for bf16")
    assert all(made.observed[name]["ok"] for name in ("compiled", "autocast", COMPUTED)), made.observed
