"""A server of two small models under the load of benchmarks/serving.py.

Oracle: the gates of that file (texts are those of generate, refusals have their status, memory stays, SIGTERM gives 0).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/serving.py"


@pytest.mark.slow
def test_many_readers(shelf):
    pytest.importorskip("psutil")
    pytest.importorskip("uvicorn", reason="the extra serve is not installed: ./do setup dev")
    spec = importlib.util.spec_from_file_location("serving", BENCHMARK)
    serving = sys.modules["serving"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serving)
    found = serving.load([str(path) for path in shelf.values()], streams=64, seconds=20, n_tokens=30)
    assert found["wrong"] == []
    assert found["texts"] >= 64 and found["cut"] > 0 and set(found["nonsense"].values()) != {0}
    assert found["first_token_s"]["p99"] < 5, "no reader is forgotten: a round of 64 small texts takes far less"
