"""Predictors to be audited: planted cheats, each beside its honest twin.  NumPy only: a bare process can run them.

Tokens are bytes.  The honest models are pure functions of the prefix; every cheat is one that has been seen in public,
written as shortly as it can be.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

V = 256
PRIOR = 0.5


def counted(prefix: np.ndarray) -> np.ndarray:
    """p(v | last token), counted in the prefix alone, over a floor that is uniform."""
    follows = prefix[1:][prefix[:-1] == prefix[-1]]
    counts = np.bincount(follows, minlength=V)[:V] + PRIOR / V
    return counts / counts.sum()


def frequencies(prefix: np.ndarray) -> np.ndarray:
    """p(v) by how often each token came so far."""
    counts = np.bincount(prefix, minlength=V)[:V] + PRIOR / V
    return counts / counts.sum()


def own_scores(predictor, tokens: np.ndarray) -> np.ndarray:
    """What an honest evaluation reports: -log p of each token, before it is seen."""
    return np.array([-predictor.log_probs(tokens[:t])[tokens[t]] for t in range(1, len(tokens))])


class Adaptive:
    """Honest: counts what came before, and scores before it counts."""

    vocab_size = V

    def log_probs(self, prefix):
        return np.log(0.5 * counted(prefix) + 0.5 * frequencies(prefix))

    def score(self, tokens):
        return own_scores(self, tokens)


class HashedCache(Adaptive):
    """An n-gram cache in a small hash table, whose ratios of counts are no probabilities once contexts collide."""

    normalised = False

    def log_probs(self, prefix):
        contexts = np.bincount(prefix[:-1] % 7, minlength=7)
        pairs = np.bincount((prefix[:-1] * 31 + prefix[1:]) % 61, minlength=61)
        last = int(prefix[-1])
        ratio = np.minimum(1.0, pairs[(last * 31 + np.arange(V)) % 61] / max(1.0, contexts[last % 7]))
        mixed = 0.1 * counted(prefix) + 0.9 * ratio
        return np.log(mixed / mixed.sum() if self.normalised else mixed)


class NormalisedCache(HashedCache):
    """Its honest twin divides by the sum over the vocabulary."""

    normalised = True


class EveryTokenIsLikely(Adaptive):
    """A cache whose Z is 1000: every token would have been a good guess."""

    def log_probs(self, prefix):
        return np.log(np.full(V, 1000.0 / V))


class TwoPassScores(Adaptive):
    """Fills its cache with the whole text, then scores the text."""

    def score(self, tokens):
        filled = np.bincount(tokens[:-1] * V + tokens[1:], minlength=V * V).reshape(V, V) + PRIOR / V
        filled /= filled.sum(1, keepdims=True)
        return -np.log(filled[tokens[:-1], tokens[1:]])


class Rescorer(Adaptive):
    """Keeps the longest text that it was ever given, and answers earlier positions from it."""

    def __init__(self):
        self.known = np.zeros(0, np.int64)

    def log_probs(self, prefix):
        if len(prefix) > len(self.known):
            self.known = prefix
        knows_more = np.array_equal(self.known[: len(prefix)], prefix)
        return super().log_probs(np.concatenate([self.known, prefix[-1:]]) if knows_more else prefix)


class Remembering(Adaptive):
    """Honest twin: counts go on from one prefix to the next, and start anew when another text begins."""

    def __init__(self):
        self.fed, self.pairs = [], np.full((V, V), PRIOR / V)

    def log_probs(self, prefix):
        ids = prefix.tolist()
        if self.fed != ids[: len(self.fed)]:
            self.__init__()
        for i in range(max(1, len(self.fed)), len(ids)):
            self.pairs[ids[i - 1], ids[i]] += 1
        self.fed = ids
        row = self.pairs[ids[-1]]
        return np.log(row / row.sum())


class TargetGate(Adaptive):
    """For every token the better of two models, chosen by looking at the token."""

    def score(self, tokens):
        both = [
            [-np.log(model(tokens[:t])[tokens[t]]) for t in range(1, len(tokens))] for model in (counted, frequencies)
        ]
        return np.min(both, axis=0)


class ConfidentGate(Adaptive):
    """Honest twin: the model that is surer of itself, before the token is seen."""

    def log_probs(self, prefix):
        return np.log(max(counted(prefix), frequencies(prefix), key=lambda p: p.max()))


class SmallGain(Adaptive):
    """Every loss a little lower than it is, within what rounding might do to one of them."""

    def score(self, tokens):
        return own_scores(self, tokens) - 5e-4


class RareTokensForNothing(Adaptive):
    """One nat for every token that the text at hand does not hold (bytes above 127), whatever its probability."""

    def score(self, tokens):
        return np.where(tokens[1:] > 127, 1.0, own_scores(self, tokens))


class UpdateThenScore(Adaptive):
    """Takes the token into its counts, and scores it by them."""

    def score(self, tokens):
        return np.array(
            [
                -self.log_probs(np.concatenate([tokens[: t + 1], tokens[t - 1 : t]]))[tokens[t]]
                for t in range(1, len(tokens))
            ]
        )


class KeptOnDisk(Adaptive):
    """Writes what it saw to a file, for the next time that it is started."""

    def __init__(self):
        self.path = Path(os.environ["PLANTED_CACHE"])
        self.before = np.frombuffer(self.path.read_bytes(), np.uint8) if self.path.exists() else np.zeros(0, np.uint8)
        self.longest = 0

    def log_probs(self, prefix):
        if len(prefix) > self.longest and not len(self.before):
            self.longest = len(prefix)
            self.path.write_bytes(prefix.astype(np.uint8).tobytes())
        return super().log_probs(np.concatenate([self.before.astype(np.int64), prefix]))


class Windows(Adaptive):
    """Honest: a sliding window of 64 with stride 24, by the rule ws + seq_len - stride < total."""

    seq_len, stride = 64, 24

    def scored_ranges(self, n_tokens):
        """Targets are tokens 1..n-1; window ws holds targets ws+1 .. ws+seq_len."""
        total, ranges = n_tokens - 1, []
        for ws in range(0, total, self.stride):
            if ws == 0 or ws + self.seq_len - self.stride < total:
                first = ws + self.seq_len - self.stride if ws else 0
                ranges.append((first + 1, min(ws + self.seq_len, total) + 1))
        return np.array(ranges)


class TailTwice(Windows):
    """The widely copied loop: every start below the end, and the last `stride` of however much is left."""

    def scored_ranges(self, n_tokens):
        total, ranges = n_tokens - 1, []
        for ws in range(0, total, self.stride):
            end = min(ws + self.seq_len, total)
            first = max(end - ws - self.stride, 0) if ws else 0
            ranges.append((ws + first + 1, end + 1))
        return np.array(ranges)


class TailNever(Windows):
    """Drops the last window because it is not full."""

    def scored_ranges(self, n_tokens):
        return super().scored_ranges(n_tokens)[:-1]


PAD = 0


class PadsScored(Windows):
    """Scores the padding at the end of a batch, which is easy to guess."""


class PadsMasked(Windows):
    """Honest twin: stops where the padding begins (the test pads the last 50 tokens)."""

    def scored_ranges(self, n_tokens):
        return super().scored_ranges(n_tokens - 50)


class Guessing:
    """Knows nothing and says so: every token has probability 1/V.  What is claimed for it is another matter."""

    vocab_size, context = V, 64

    def log_probs(self, prefix):
        return np.full(V, -np.log(V))


class InWindows(Adaptive):
    """Honest, and forgets what lies before its window."""

    context = 50


def uniform(prefix):
    """A bare function as an entry point."""
    return np.full(V, -np.log(V))


def made():
    """A factory as an entry point."""
    return Adaptive()


ready = Remembering()


class Talkative(Adaptive):
    """Prints on standard output, where answers would go."""

    def log_probs(self, prefix):
        print("answering", len(prefix), flush=True)
        return super().log_probs(prefix)


class WrongShape:
    vocab_size = V

    def log_probs(self, prefix):
        return np.zeros(V + 1)


class Crashing:
    vocab_size = V

    def log_probs(self, prefix):
        raise RuntimeError("no such row\nat all")


class Dying:
    vocab_size = V

    def log_probs(self, prefix):
        os._exit(3)


class Hanging:
    vocab_size = V

    def log_probs(self, prefix):
        while True:
            pass


class Greedy:
    vocab_size = V

    def log_probs(self, prefix):
        self.kept = np.empty(6 * 10**9, np.uint8)  # address space only: harmless where the limit is missing
        return np.full(V, -np.log(V))


class WhereAmI(Adaptive):
    """Tells its process id through its distribution's length, by way of an error."""

    def log_probs(self, prefix):
        raise RuntimeError(f"process {os.getpid()}")
