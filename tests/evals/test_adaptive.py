"""A model that goes on counting, from its artifact: what evaluation says, what the auditor says, who is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from weightless.audit.predictors.adaptive import AdaptivePredictor
from weightless.audit.predictors.audit import audit
from weightless.base.errors import ConfigError, WeightlessError
from weightless.cli.main import main
from weightless.evals.adaptive import check_no_stride, evaluate_adaptive
from weightless.evals.bits_per_byte import evaluate
from weightless.export.adapting import refuse_other_families
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models import countmix
from weightless.tokenizer.bpe import Tokenizer

V, CONTEXT = 257, 32


def text(n: int, seed: int) -> np.ndarray:
    """Letters, of which each is followed by one of three; which, hangs on the seed."""
    rng = np.random.default_rng(seed)
    followers, letters = rng.integers(0, 60, (60, 3)), np.zeros(n, np.int64)
    for i in range(1, n):
        letters[i] = followers[letters[i - 1], rng.integers(3)]
    return letters + 33


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("adaptive") / "model.wl"
    tokenizer = Tokenizer({i: bytes([i]) for i in range(V - 1)}, [], ["<|endoftext|>"])
    config = countmix.Config(V, CONTEXT, ("o1", "o2"), ("o3",), ("o1",), ("depth", "input"), stored_mb=1.0)
    config, arrays = countmix.FAMILY.count(config, text(3000, 0))
    pack(path, "countmix", config, arrays, tokenizer.to_json())
    return open_packed(path)


def test_it_learns_and_leaves_the_frozen_model_as_it_is(packed):
    tokens, file = text(1500, 1), packed.artifact.path.read_bytes()
    pieces = packed.tokenizer.token_bytes
    before = evaluate(packed, tokens, pieces, n_threads=1)
    adapted = evaluate_adaptive(packed, tokens, pieces)
    after = evaluate(packed, tokens, pieces, n_threads=1)
    assert adapted.nats_per_token < before.nats_per_token - 0.3
    assert (after.nats, after.n_bytes) == (before.nats, before.n_bytes)
    assert (adapted.n_tokens, adapted.n_bytes) == (1499, 1499)
    assert packed.artifact.path.read_bytes() == file
    assert min(adapted.spent) > 100 and adapted.state_bytes > 0


def test_a_part_of_a_text_is_its_beginning(packed):
    tokens = text(400, 1)
    part = evaluate_adaptive(packed, tokens, None, limit=99)
    assert (part.n_tokens, part.bits_per_byte) == (99, None)
    assert part.nats == evaluate_adaptive(packed, tokens[:100], None).nats


def test_the_first_target_is_the_engine_s(packed):
    """The engine's nats are float32: half a unit in the last place of numbers below 16 is below 1e-6."""
    tokens = text(2, 1)
    frozen = evaluate(packed, tokens, None, n_threads=1).nats
    assert abs(evaluate_adaptive(packed, tokens, None).nats - frozen) < 1e-6


def test_the_auditor_finds_it_legal(packed):
    report = audit(AdaptivePredictor(packed, 80), text(81, 1), positions=80)
    assert report.ok, report.failed
    verdicts = {finding.name: finding.verdict for finding in report.findings}
    for name in ("normalisation", "causality", "score before update", "single pass"):
        assert verdicts[name] == "ok"


class LearnsFirst(AdaptivePredictor):
    """Mutant: scores a token that it has learned already."""

    def _feed(self, token: int) -> float:
        was = len(self._fed)
        super()._feed(token)
        if was == 0 or was % self._window == 0:
            return 0.0
        return float(self._adapter.extend(np.array([token]))[0][0])


class SeesTheFuture(AdaptivePredictor):
    """Mutant: weights that it learned from other futures stay."""

    def fresh(self) -> None:
        kept = getattr(self, "_adapter", None)
        super().fresh()
        if kept is not None:
            self._adapter.learned.weights[:] = kept.learned.weights


class Rescores(AdaptivePredictor):
    """Mutant: begins a second reading with what the first has taught."""

    def fresh(self) -> None:
        if not hasattr(self, "_adapter"):
            super().fresh()
        self._fed = []


@pytest.mark.parametrize(
    ("mutant", "found"),
    [(LearnsFirst, "score before update"), (SeesTheFuture, "causality"), (Rescores, "single pass")],
)
def test_the_auditor_finds_mutants(packed, mutant, found):
    assert found in audit(mutant(packed, 80), text(81, 1), positions=80).failed


def test_on_the_command_line(packed, tmp_path, capsys):
    model, source = str(packed.artifact.path), tmp_path / "text.txt"
    source.write_bytes(bytes(text(600, 1).astype(np.uint8)))
    assert main(["eval", model, "--text", str(source), "--adaptive", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["adaptive"]["nats_per_token"] < said["nats_per_token"]
    assert said["adaptive"]["eval_tokens"] == said["eval_tokens"] == 600
    assert main(["eval", model, "--text", str(source), "--adaptive"]) == 0
    assert "adaptive (scored, then learned):" in capsys.readouterr().out
    assert main(["audit", model, "--text", str(source), "--adaptive", "--positions", "40"]) == 0
    assert "no check failed" in capsys.readouterr().out
    assert main(["eval", model, "--text", str(source), "--adaptive", "--stride", "8"]) == 2
    assert "in windows side by side" in capsys.readouterr().err


def test_who_cannot_go_on_counting_is_refused_by_name():
    with pytest.raises(ConfigError, match="is of family feather, and only countmix"):
        refuse_other_families(SimpleNamespace(family="feather", artifact=SimpleNamespace(path="a.wl", meta={})))
    cached = SimpleNamespace(path="a.wl", meta={"config": {"window_cache": 3}})
    with pytest.raises(ConfigError, match="has a window cache around it"):
        refuse_other_families(SimpleNamespace(family="countmix", artifact=cached))
    assert main(["audit", "module:attribute", "--adaptive", "--text", "docs"]) == 2


def test_odd_streams_are_refused_in_one_line(packed):
    with pytest.raises(WeightlessError, match="1 tokens have no target"):
        evaluate_adaptive(packed, [3], None)
    with pytest.raises(WeightlessError, match="the text has token 999"):
        evaluate_adaptive(packed, [3, 999], None)
    with pytest.raises(ConfigError, match="--stride 8"):
        check_no_stride(8, CONTEXT)
    check_no_stride(CONTEXT, CONTEXT)
