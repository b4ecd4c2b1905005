"""A published speed counts no compilation.  Oracle: engines whose first call of all takes half a second."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from weightless.evals.bits_per_byte import evaluate
from weightless.lab import making
from weightless.program.interpreter import N_TRAFFIC

COMPILING = 0.5


@pytest.mark.parametrize("n_tokens", [2, 500])
def test_what_the_first_call_compiles_is_in_no_rate(n_tokens):
    calls = []

    class Engine:
        def reset(self):
            pass

        def score_stream_with_traffic(self, tokens, targets):
            time.sleep(COMPILING if not calls else 0)
            calls.append(len(tokens))
            self.paths = np.zeros(len(tokens), np.int64)
            return np.ones(len(tokens)), np.zeros((len(tokens), N_TRAFFIC), np.int64)

    packed = SimpleNamespace(program=SimpleNamespace(context=64), engine=Engine)
    result = evaluate(packed, np.zeros(n_tokens, np.int64), None, n_threads=1)
    assert result.n_tokens == n_tokens - 1 and calls[0] == min(16, n_tokens - 1) and len(calls) > 1
    assert result.n_tokens / result.tokens_per_second < COMPILING / 2
    assert result.nats == n_tokens - 1


def test_counting_is_timed_without_its_compilation():
    calls = []

    def count(config, tokens, show_progress=False, saved=None, beside=None):
        time.sleep(COMPILING if not calls else 0)
        calls.append(len(tokens))
        return config, {}

    room = SimpleNamespace(count=count, decode_program=lambda config: SimpleNamespace(stored=list), is_saved=False)
    made = making.counted(room, None, np.zeros(1000, np.uint16), now=time.perf_counter)
    assert made.record["train_seconds"] < COMPILING / 2 and calls[-1] == made.record["tokens_seen"] == 1000
