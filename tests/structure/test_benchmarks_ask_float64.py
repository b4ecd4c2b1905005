"""A benchmark's check is held to float64: a less exact peer does not stop it, a wrong result of ours does.

Oracles: results made wrong on purpose; for a program in float64 the batched runner in float64.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from contract.cases import bench

from weightless.decode.batch_runner import BatchRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def exactness():
    spec = importlib.util.spec_from_file_location("exactness", BENCHMARKS / "exactness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXACT = [np.array([1.0, -4.0]), np.array([0.25])]


def off(by: float) -> list[np.ndarray]:
    return [EXACT[0] + [0, 4 * by], EXACT[1]]


def test_a_less_exact_peer_does_not_stop_us_and_both_errors_are_shown(exactness, capsys):
    exactness.held("softmax", EXACT, {"ours": off(1e-7)}, {"peer": off(3e-6)}, 1e-6)
    assert (
        capsys.readouterr().out == "softmax: error against float64, of the largest entry: ours 1.0e-07, peer 3.0e-06\n"
    )


@pytest.mark.parametrize("ours", [off(3e-6), off(np.nan), [EXACT[0][:1], EXACT[1]]])
def test_an_error_of_ours_stops_whatever_the_peer_says(exactness, ours):
    with pytest.raises(SystemExit, match="ours is off by .* no time"):
        exactness.held("softmax", EXACT, {"ours": ours}, {"peer": ours}, 1e-6)


def test_a_peer_that_does_other_work_stops_the_race(exactness):
    with pytest.raises(SystemExit, match="peer is off by 0.5"):
        exactness.held("softmax", EXACT, {"ours": off(0)}, {"peer": off(0.5)}, 1e-6)


@pytest.mark.parametrize("family, case", [("dense", "tied_mha_swiglu_f32"), ("feather", "all_f32")])
def test_operators_in_float64_are_those_of_the_batched_runner(exactness, family, case):
    """1e-6: only the cache is float32 in both; the compiled engine, in float32, is further away at most places."""
    b = bench(family, case)
    runner = BatchRunner(b.program, b.weights, np.float64)
    (log_p,) = runner.forward([(runner.begin(), b.tokens.tolist())])
    wanted = -log_p[np.arange(len(b.targets)), b.targets]
    exact, engine, found = exactness.exact_engine(b.program, b.weights), b.engine(poison=False), []
    for token, target in zip(b.tokens, b.targets):
        found.append(exactness.nats_from(exact, engine.S, engine.position, int(token), int(target)))
        engine.feed(int(token))
    np.testing.assert_allclose(found, wanted, rtol=2e-6)


def test_every_benchmark_with_peers_asks_here():
    """Whatever times itself beside PyTorch imports the verdict; a comparison of its own would be with the peer."""
    assert str(BENCHMARKS) not in sys.path
    for path in sorted(BENCHMARKS.glob("*.py")):
        text = path.read_text()
        if path.name in ("exactness.py", "decode_torch.py", "training_torch.py") or "import torch" not in text:
            continue
        trains = "weightless.train" in text
        assert trains or "from exactness import" in text, f"{path.name} times a peer and does not ask float64"
        assert "assert_close" not in text and "torch.allclose" not in text
