"""Continue a prompt, one token at a time, from an artifact.

Two ways to draw, with different costs (docs/bytes.md):

    mode S   the model's own distribution through its `sample` head: touches what scoring touches.  It is used when
             temperature = 1 and top_p = 1.
    mode F   all V probabilities, then temperature and nucleus (Holtzman et al. 2020) exactly:
             p_T(w) ~ p(w)^(1/temperature), cut to the fewest words whose mass reaches top_p.
             temperature = 0 takes the most probable word.

When the context is full, the second half of it is fed again and generation goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for
from weightless.export.packed import Packed
from weightless.program.cost import touched_by_formula
from weightless.program.engine import N_UNIFORMS, Engine


@dataclass(frozen=True)
class Sampling:
    """How to draw the next token."""

    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 120
    stop_at_end: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < 100:
            raise ConfigError(f"temperature {self.temperature} should be 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p} is not in (0, 1]")
        if self.max_tokens < 0:
            raise ConfigError(f"max_tokens {self.max_tokens} should not be negative")

    @property
    def mode(self) -> str:
        """ "sample" (mode S) or "full" (mode F): the head that is run."""
        return "sample" if self.temperature == 1 and self.top_p == 1 else "full"


def adjusted(p_V: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The distribution after temperature and nucleus, float64, summing to one."""
    if temperature == 0:
        return np.eye(1, len(p_V), int(np.argmax(p_V)))[0]
    with np.errstate(divide="ignore"):
        scaled = np.log(p_V.astype(np.float64)) / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    if top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p]] = 0.0
        p /= p.sum()
    return p


def next_token(engine: Engine, sampling: Sampling, rng: np.random.Generator) -> int:
    """Draw one token after what was fed."""
    if sampling.mode == "sample":
        return engine.sample(rng.random(N_UNIFORMS))
    p = adjusted(engine.distribution(), sampling.temperature, sampling.top_p)
    return min(int(np.searchsorted(np.cumsum(p), rng.random(), side="right")), len(p) - 1)


def token_stream(packed: Packed, prompt: list[int], sampling: Sampling) -> Iterator[int]:
    """The tokens that follow `prompt`; ends after max_tokens, or before <|endoftext|>."""
    tokenizer, context = packed.tokenizer, packed.program.context
    engine, rng = packed.engine(), rng_for(sampling.seed, "generate")
    history = [tokenizer.end_of_text, *prompt]
    fed = history if len(history) <= context else history[-max(1, context // 2) :]
    for token in fed:
        engine.feed(token)
    for _ in range(sampling.max_tokens):
        token = next_token(engine, sampling, rng)
        if sampling.stop_at_end and token == tokenizer.end_of_text:
            return
        yield token
        history.append(token)
        if engine.position == context:
            engine.reset()
            for earlier in history[-(context // 2 + 1) : -1]:
                engine.feed(earlier)
        engine.feed(token)


def generate(packed: Packed, prompt: str, sampling: Sampling) -> dict[str, Any]:
    """{"prompt", "text", …}: the continuation as text, with how it was drawn and what a token cost."""
    tokens = list(token_stream(packed, list(packed.tokenizer.encode(prompt)), sampling))
    cost = touched_by_formula(packed.program, sampling.mode).T.mean
    return {
        "prompt": prompt,
        "text": packed.tokenizer.decode(tokens),
        "n_tokens": len(tokens),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "mode": "S" if sampling.mode == "sample" else "F",
        "bytes_per_token": cost,
    }
