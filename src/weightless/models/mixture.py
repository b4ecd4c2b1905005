"""Mixture: a trained model and a counted one, mixed as probabilities: p = w p_neural + (1 - w) p_counted.

At small scale a count table predicts better than a neural model of the same cost, and each knows what the other does
not.  The weight w is looked up by how well the table knows the context (its longest context that occurs, and how many
words have followed it), so it is fixed before the next word is seen and the mixture is normalised exactly.  The weights
are fitted by expectation maximisation on text that neither part has seen (`fit`), after that the table is counted again
from all of the training text.

The parts are families by name; nothing here knows which.  Scoring and sampling both run both parts
(`program/operators/mixing/promise.py` says why).

A counted part that has mixers of its own (`Counted.mixes`: countmix) takes the trained one as one more input of theirs,
at every node of its tree, instead of a mixture of whole distributions; that needs a head of classes
(`program/compose_inside.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError
from weightless.models.catalog import Composed, Counted, Family, Trained, family
from weightless.program.cached import WindowCache
from weightless.program.compose import COUNTED, NEURAL, WEIGHTS, mixture, n_classes, prefixed
from weightless.program.compose_inside import arrays_inside, inside
from weightless.program.program import Program

HELD_OUT = 32_768
PASSES = 30
PRIOR_STRENGTH = 4.0  # positions that speak for the overall weight in every class
LEAST = 1e-3


@dataclass(frozen=True)
class Config(WindowCache):
    """Families and configurations of the two parts; `vocab_size` and `context` are those of both."""

    vocab_size: int = 4096
    """Tokens that both parts know."""
    context: int = 512
    """Longest context of both parts, in tokens."""
    neural: str = "feather"
    """Family of the trained part."""
    neural_config: dict[str, Any] = field(default_factory=dict)
    """Its configuration; vocab_size and context are the mixture's."""
    counted: str = "ngram"
    """Family of the counted part."""
    counted_config: dict[str, Any] = field(default_factory=dict)
    """Its configuration; vocab_size and context are the mixture's."""
    held_out: int = HELD_OUT
    """Training tokens at the end that the weights are fitted on (a tenth of all, at most); mixers are tuned on as many
    as `counted_config` says."""

    def __post_init__(self) -> None:
        if self.held_out < 1:
            raise ConfigError(
                "held_out should be at least 1: the weights are fitted on tokens that neither part has seen"
            )
        for name, kind in ((self.neural, Trained), (self.counted, Counted)):
            if not isinstance(family(name), kind):
                raise ConfigError(
                    f"family {name!r} is not {kind.__name__.lower()}: a mixture takes a trained and a counted one"
                )
        self.check_cache(self.context)
        if self.mixes:
            self._check_mixers()
        decode_program(self)

    @property
    def mixes(self) -> bool:
        """Whether the counted part mixes, node by node."""
        found = family(self.counted)
        return isinstance(found, Counted) and found.mixes is not None

    def _check_mixers(self) -> None:
        counted = self.part(COUNTED)[1]
        if self.held_out != HELD_OUT:
            raise ConfigError(
                f"held_out = {self.held_out}: the mixers of {self.counted} are tuned on as many tokens as "
                "counted_config.held_out says: set that"
            )
        if self.window_cache:
            raise ConfigError(
                f"window_cache = {self.window_cache}: {self.counted} counts its window itself: leave it out"
            )
        if counted.held_out < 2:
            raise ConfigError(
                f"counted_config.held_out = {counted.held_out} should be at least 2: the mixers learn what to make of "
                "the trained part from text that neither has seen"
            )

    def part(self, name: str) -> tuple[Family, Any]:
        """(family, its Config) of the part called "neural" or "counted"."""
        room, values = (self.neural, self.neural_config) if name == NEURAL else (self.counted, self.counted_config)
        own = {"vocab_size": self.vocab_size, "context": self.context}
        if values.get("window_cache"):
            told = f"{name}_config.window_cache = {values['window_cache']!r:.20}"
            raise ConfigError(f"{told}: a mixture counts its window once, for both parts: set window_cache beside them")
        for key in own.keys() & values.keys():
            if values[key] != own[key]:
                raise ConfigError(f"{name}_config.{key} = {values[key]!r}: both parts have {own[key]}; leave it out")
        return family(room), from_dict(family(room).Config, {**values, **own}, f"{name}_config")

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: that of the neural part, beside a 5-gram."""
        return Config(vocab_size=vocab_size, neural_config=to_dict(family("feather").Config.at(size, vocab_size)))


def compose(
    config: Config,
    neural: dict[str, np.ndarray],
    counted_config: Any,
    counted: dict[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> tuple[Config, dict[str, np.ndarray]]:
    """(the configuration with the sizes of what was counted, the arrays of the mixture); w = 1/2 without `weights`."""
    config = dataclasses.replace(config, counted_config=to_dict(counted_config))
    if config.mixes:
        room, neural_config = config.part(NEURAL)
        return config, arrays_inside(room.decode_program(neural_config), neural, counted)
    rows = n_classes(family(config.counted).decode_program(counted_config))
    column = np.full((rows, 1), 0.5, np.float32) if weights is None else weights.reshape(rows, 1).astype(np.float32)
    arrays = {prefixed(NEURAL, name): array for name, array in neural.items()}
    return config, arrays | {prefixed(COUNTED, name): array for name, array in counted.items()} | {WEIGHTS: column}


def fit(neural_nats: np.ndarray, counted_nats: np.ndarray, gates: np.ndarray, n_rows: int) -> np.ndarray:
    """The weight of the neural part in every class, float32 [n_rows, 1], from the nats of each part per target [n].

    Expectation maximisation: w = mean over the class of w p_1 / (w p_1 + (1 - w) p_2).  A class is also given
    PRIOR_STRENGTH positions of the weight that suits all targets together, so that rare ones do not follow noise.
    """
    odds = np.exp(np.clip(counted_nats - neural_nats, -60, 60))
    overall = 0.5
    for _ in range(PASSES):
        overall = float(np.mean(overall * odds / (overall * odds + 1 - overall)))
    weights, n = np.full(n_rows, overall), np.bincount(gates, minlength=n_rows)
    for _ in range(PASSES):
        w = weights[gates]
        taken = np.bincount(gates, w * odds / (w * odds + 1 - w), n_rows)
        weights = (taken + PRIOR_STRENGTH * overall) / (n + PRIOR_STRENGTH)
    return weights.clip(LEAST, 1 - LEAST).astype(np.float32)[:, None]


def decode_program(config: Config) -> Program:
    """Both parts, a gate, and the mixing operator in every head; or a walk that asks both."""
    (neural, neural_config), (counted, counted_config) = (config.part(name) for name in (NEURAL, COUNTED))
    join = inside if config.mixes else mixture
    return join(neural.decode_program(neural_config), counted.decode_program(counted_config))


FAMILY = Composed(Config, compose, fit, decode_program)
