"""The weights of a window cache: fitted behind training, on training text that nothing was learned from.

Oracles: nats of the compiled engine over the packed model without its cache; the checkpoint.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.cases import packed_bytes

from weightless.base.errors import ConfigError
from weightless.models import dense
from weightless.ops.window_weights import fit_on, initial_weights
from weightless.program.cached import CACHE_WEIGHTS
from weightless.program.engine import Engine
from weightless.train.checkpoint import load_checkpoint
from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.settling import CACHE_SETTLED, SETTLED, divided

CONFIG = dense.Config(
    61, 24, 2, n_heads=2, d_ff=30, context=33, kv_format="f32", exit_after=(1,), exit_loss=0.05, window_cache=3
)
LOOP = TrainConfig(num_steps=15, context=33, batch_size=4, eval_tokens=170, max_lr=1e-2, threads=1)


def text(n: int = 6000) -> np.ndarray:
    """Noise in which every second stretch of eight is the one before once more."""
    tokens = np.random.default_rng(5).integers(0, 61, n).astype(np.uint16)
    for start in range(8, n - 8, 16):
        tokens[start : start + 8] = tokens[start - 8 : start]
    return tokens


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("cache"), dense.FAMILY.Model(CONFIG)
    learned, settling = divided(model, text())
    return folder, settling, train(model, learned, text(400), LOOP, folder, settling=settling)


def test_the_weights_are_those_of_the_packed_models_nats(trained):
    """Fitted anew on what the compiled engine scores, exits taken: float32 sums in another order, in 600 targets."""
    folder, settling, result = trained
    program = dense.FAMILY.uncached(CONFIG)
    arrays = {name: p.numpy() for name, p in result.params.items()} | dict(result.constants)
    engine, nats = Engine(program, packed_bytes(program, arrays)), []
    for row in settling.rows_NT:
        engine.reset()
        nats.append(engine.score_stream(row[:-1], row[1:]))
    windows = [(row[:-1], row[1:]) for row in settling.rows_NT.tolist()]
    wanted, told = fit_on(np.concatenate(nats), windows, 3)
    np.testing.assert_allclose(result.constants[CACHE_WEIGHTS], wanted, atol=2e-3)
    saved = load_checkpoint(folder / "checkpoint")
    assert saved is not None and np.array_equal(saved.constants[CACHE_WEIGHTS].numpy(), result.constants[CACHE_WEIGHTS])
    assert not np.array_equal(result.constants[CACHE_WEIGHTS], initial_weights(3))
    detail = result.observed[CACHE_SETTLED]["detail"]
    assert detail.startswith(f"150 weights, fitted on {settling.rows_NT[:, 1:].size} held-out training tokens: ")
    alone, with_cache = (float(detail.split(mark)[0].split()[-1]) for mark in (" nats per token", " with it"))
    assert with_cache < alone - 0.3 and SETTLED in result.observed, "half of the text stands in its window"


def test_a_finished_training_gives_the_same_weights_again(trained):
    folder, settling, result = trained
    model = dense.FAMILY.Model(CONFIG)
    again = train(model, divided(model, text())[0], text(400), LOOP, folder, settling=settling)
    assert np.array_equal(again.constants[CACHE_WEIGHTS], result.constants[CACHE_WEIGHTS])
    assert again.observed[CACHE_SETTLED] == result.observed[CACHE_SETTLED]


def test_the_last_tokens_are_held_out_and_too_few_are_refused():
    config = dataclasses.replace(CONFIG, exit_after=(), exit_loss=0.01)
    tokens, model = text(1750), dense.FAMILY.Model(config)
    learned, settling = divided(model, tokens)
    assert settling is not None and settling.allowed is None and settling.orders == 3
    assert settling.rows_NT.shape == (5, 34) and len(learned) + 5 * 33 + 1 == 1750
    tokens[1500] = 60
    learned, settling = divided(model, np.where(tokens == 60, 60, tokens % 60).astype(np.uint16)[:1750], 60)
    assert settling is not None and len(learned) in range(1531, 1585), "the first document of the last eighth"
    assert settling.rows_NT[0, 0] == 60 and settling.rows_NT.shape == (5, 34)
    with pytest.raises(ConfigError, match="no two windows of 33 to fit a window cache on: give a longer text, or"):
        divided(model, text(659))
