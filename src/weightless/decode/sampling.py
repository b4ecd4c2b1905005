"""How the next token is drawn from a distribution: penalty, temperature, then three ways to cut the tail.

In this order, each on what the one before left, renormalised at the end (the order and rules of transformers'
processors):
    repetition_penalty r   log p(w) <- r log p(w) for every w seen so far (Keskar et al. 2019; log p <= 0, so r > 1
    lowers) temperature T          p(w) ~ p(w)^(1/T);  0: the most probable token, ties to the lowest id top_k k
    the k most probable tokens; 0: all top_p                  the fewest tokens whose mass reaches top_p (Holtzman et
    al. 2020); 1: exactly all min_p                  tokens with at least min_p times the probability of the best
    (Nguyen et al. 2024); 0: all
With temperature 1 and nothing cut or penalised the distribution is the model's own, bit for bit, and a model can draw
from it without materialising it (mode S).  Ties at an edge go to the lower id.

`stop` ends a text before any of these strings, however tokens divide them: what might yet become one is held back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How to draw the next token, and when to end."""

    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    max_tokens: int = 120
    stop_at_end: bool = True
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < 100:
            raise ConfigError(f"temperature {self.temperature} should be 0 (greedy) or a positive number below 100")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p} is not in (0, 1]")
        if self.max_tokens < 0:
            raise ConfigError(f"max_tokens {self.max_tokens} should not be negative")
        if self.top_k < 0:
            raise ConfigError(f"top_k {self.top_k} should be 0 (all) or a number of tokens")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p {self.min_p} is not in [0, 1]")
        if not 0 < self.repetition_penalty < math.inf:
            raise ConfigError(f"repetition_penalty {self.repetition_penalty} should be a positive number; 1 is none")
        if "" in self.stop:
            raise ConfigError("an empty stop string would end every text at once")

    @property
    def is_plain(self) -> bool:
        """Whether the model's own distribution is drawn from."""
        cut = (self.temperature, self.top_p, self.top_k, self.min_p, self.repetition_penalty)
        return cut == (1, 1, 0, 0, 1)

    @property
    def mode(self) -> str:
        """ "sample" (mode S) or "full" (mode F): the head that is run."""
        return "sample" if self.is_plain else "full"

    def distribution(self, p_V: np.ndarray, seen: Sequence[int] = ()) -> np.ndarray:
        """What the next token is drawn from, float64, summing to one; `seen` are prompt and text so far."""
        log_p = None
        if self.repetition_penalty != 1 and len(seen):
            log_p = _log(p_V)
            log_p[np.unique(seen)] = _penalised(log_p[np.unique(seen)], self.repetition_penalty)
        return adjusted(p_V, self.temperature, self.top_p, self.top_k, self.min_p, log_p)


def adjusted(
    p_V: np.ndarray,
    temperature: float,
    top_p: float,
    top_k: int = 0,
    min_p: float = 0.0,
    log_p: np.ndarray | None = None,
) -> np.ndarray:
    """The distribution after temperature and cuts, float64, summing to one; `log_p` replaces log p_V when given."""
    if temperature == 0:
        return np.eye(1, len(p_V), int(np.argmax(p_V if log_p is None else log_p)))[0]
    p = tempered(_log(p_V) if log_p is None else log_p, temperature)
    if not (0 < top_k < len(p)) and top_p == 1 and min_p == 0:
        return p
    order = np.argsort(-p, kind="stable")
    kept = p[order]
    if 0 < top_k < len(p):
        kept[top_k:] = 0.0
        kept /= kept.sum()
    if top_p < 1:
        before = np.cumsum(kept) - kept
        kept[before >= top_p] = 0.0
    if min_p > 0:
        kept[kept < min_p * kept[0]] = 0.0
    p[order] = kept / kept.sum()
    return p


def tempered(log_p_V: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log_p / temperature), for any temperature above 0 that float64 holds, and at least one finite log_p.

    The best is taken off before dividing: its quotient is 0 and no other is above it, so the smallest temperature
    (5e-324) overflows towards probability 0 and never towards NaN.
    """
    with np.errstate(over="ignore"):
        p = np.exp((log_p_V - log_p_V.max()) / temperature)
    return p / p.sum()


def _penalised(log_p: np.ndarray, penalty: float) -> np.ndarray:
    """log p times the penalty, finite where log p is: a token that is possible stays so, however large the penalty."""
    with np.errstate(over="ignore"):
        return np.where(log_p == -np.inf, log_p, np.maximum(log_p * penalty, -np.finfo(np.float64).max))


def draw(p_V: np.ndarray, u: float) -> int:
    """The token at which the running sum passes u, a number in [0, 1)."""
    return min(int(np.searchsorted(np.cumsum(p_V), u, side="right")), int(np.flatnonzero(p_V)[-1]))


def _log(p_V: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(p_V.astype(np.float64))


class StopStrings:
    """Text passes through; what could be the beginning of a stop string waits until that is settled."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that is certain now; nothing more after a stop string was found."""
        if self.stopped:
            return ""
        self._held += text
        at = min((i for i in (self._held.find(stop) for stop in self._stops) if i >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            out, self._held = self._held[:at], ""
            return out
        waiting = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - waiting
        out, self._held = self._held[:cut], self._held[cut:]
        return out

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        out, self._held = self._held, ""
        return out


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
