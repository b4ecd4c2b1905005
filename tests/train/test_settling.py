"""The threshold of an exit: fitted behind training, on training text that nothing was learned from.

Oracles: the search, by trying; nats of the compiled engine over the packed model; the checkpoint.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from contract.cases import packed_bytes

from weightless.base.errors import ConfigError
from weightless.layers.exits import NEVER, THRESHOLD
from weightless.models import dense
from weightless.program.engine import Engine
from weightless.train.checkpoint import load_checkpoint
from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.metrics import AUXILIARY
from weightless.train.settling import SETTLED, THRESHOLDS, divided, searched

CONFIG = dense.Config(61, 24, 3, n_heads=2, d_ff=30, context=17, kv_format="f32", exit_after=(1, 2), exit_loss=0.05)
LOOP = TrainConfig(num_steps=30, context=17, batch_size=8, eval_tokens=170, max_lr=1e-2, threads=1)


def text(n: int = 6000) -> np.ndarray:
    """Every token but some follows the one before by three."""
    rng = np.random.default_rng(0)
    return (np.cumsum(np.where(rng.random(n) < 0.8, 3, rng.integers(0, 61, n))) % 61).astype(np.uint16)


def rises_at(least: float):
    """A rise that is cheap at thresholds from `least` on, in every window alike."""
    return lambda threshold: np.full(5, 0.0 if threshold >= least else 1.0)


@pytest.mark.parametrize("least", [0.99, 0.5, 0.47, 0.11, 0.0])
def test_the_search_stops_at_the_first_that_fails(least):
    tried = []

    def rises(threshold):
        tried.append(threshold)
        return rises_at(least)(threshold)

    found, rise = searched(rises, 0.5)
    coarse = [t for t in THRESHOLDS if t >= least]
    assert found >= least and rise == 0.0
    assert found <= (coarse[-1] if coarse else NEVER) and tried[: len(coarse)] == coarse
    if least == 0.0:
        assert found == THRESHOLDS[-1] and tried == list(THRESHOLDS)
    else:
        gap = min(coarse[-1] if coarse else 1.0, 1.0) - max(t for t in (*THRESHOLDS, 0.0) if t < least)
        assert len(tried) == len(coarse) + 4 and (found == NEVER or found - least <= gap / 8 + 1e-9)


def test_the_rise_has_to_be_sure():
    """A mean below the allowed rise is not enough where windows differ: mean + 1.645 s / sqrt(n)."""
    uneven = np.array([0.0, 0.02, 0.0, 0.02])
    margin = 1.645 * uneven.std(ddof=1) / 2
    assert searched(lambda t: uneven, 0.01 + margin + 1e-9)[0] == THRESHOLDS[-1]
    assert searched(lambda t: uneven, 0.01 + margin - 1e-9) == (NEVER, 0.0)


def test_the_last_tokens_are_held_out_and_no_others():
    tokens, model = text(1750), dense.FAMILY.Model(CONFIG)
    learned, settling = divided(model, tokens)
    assert settling is not None and settling.allowed == 0.05
    rows = settling.rows_NT
    assert rows.shape == (10, 18) and len(learned) + 10 * 17 + 1 == len(tokens)
    assert np.array_equal(np.concatenate([rows[:, :-1].ravel(), rows[-1, -1:]]), tokens[len(learned) :])
    given = dense.FAMILY.Model(dataclasses.replace(CONFIG, exit_threshold=0.5, exit_loss=0.01))
    for other in (given, dense.FAMILY.Model(dense.Config(61, 24, 3, n_heads=2))):
        whole, nothing = divided(other, tokens)
        assert whole is tokens and nothing is None


def test_too_short_a_text_is_refused_in_a_line():
    with pytest.raises(ConfigError, match="339 training tokens leave no two windows of 17") as caught:
        divided(dense.FAMILY.Model(CONFIG), text(339))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("exits"), dense.FAMILY.Model(CONFIG)
    learned, settling = divided(model, text())
    return folder, settling, train(model, learned, text(400), LOOP, folder, settling=settling)


def test_the_threshold_is_kept_and_told(trained):
    folder, settling, result = trained
    threshold = result.constants[THRESHOLD].item()
    saved = load_checkpoint(folder / "checkpoint")
    assert saved is not None and saved.constants[THRESHOLD].item() == threshold
    told = result.observed[SETTLED]["detail"]
    assert told.startswith(f"{threshold:.4f}" if threshold < NEVER else "none") and "0.0500 allowed" in told
    assert f"{settling.rows_NT[:, 1:].size} held-out training tokens" in told
    assert result.curve[-1][AUXILIARY] > 0


def test_the_rise_is_that_of_the_engine(trained):
    """Oracle: the compiled engine over the packed weights, with the threshold and with one that nothing reaches."""
    _, settling, result = trained
    program = dense.FAMILY.decode_program(CONFIG)
    arrays = {name: p.numpy() for name, p in result.params.items()} | dict(result.constants)
    nats = []
    for threshold in (NEVER, arrays[THRESHOLD]):
        engine = Engine(program, packed_bytes(program, arrays | {THRESHOLD: np.full((1, 1), threshold, np.float32)}))
        rows = []
        for row in settling.rows_NT:
            engine.reset()
            rows.append(engine.score_stream(row[:-1], row[1:]).mean())
        nats.append(np.mean(rows))
    told = result.observed[SETTLED]["detail"].split()
    assert float(told[told.index("nats") - 1]) == pytest.approx(nats[0], abs=2e-4)
    assert float(told[told.index("depth,") + 1]) == pytest.approx(nats[1] - nats[0], abs=4e-4)
    assert nats[1] - nats[0] <= 0.05


def test_a_finished_training_gives_the_same_threshold_again(trained):
    folder, settling, result = trained
    model = dense.FAMILY.Model(CONFIG)
    again = train(model, divided(model, text())[0], text(400), LOOP, folder, settling=settling)
    assert torch.equal(torch.as_tensor(again.constants[THRESHOLD]), torch.as_tensor(result.constants[THRESHOLD]))
    assert again.observed[SETTLED] == result.observed[SETTLED]
