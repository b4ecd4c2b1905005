"""Packed models as predictors.  Oracles: a fresh engine fed from the first token; the verdict on each family."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from contract.cases import CASES

from weightless.audit.predictors.audit import audit
from weightless.audit.predictors.predictor import EnginePredictor, ObjectPredictor
from weightless.base.errors import WeightlessError
from weightless.base.random import rng_for

FAMILIES = [(name, next(iter(cases))) for name, cases in CASES.items()]


@pytest.mark.parametrize(("family", "case"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_every_family_is_a_predictor(family, case):
    model = subject(family, case)
    tokens = rng_for(1, "audited").integers(0, model.program.vocab_size, 200)
    report = audit(EnginePredictor(model), tokens, positions=60)
    assert report.ok and report.positions >= 60, report.findings
    assert [f.verdict for f in report.findings[:4]] == ["ok"] * 4


def test_any_order_of_prefixes_is_a_fresh_engine():
    model = subject("dense", "tied_mha_swiglu_f32")
    predictor, rng = EnginePredictor(model), np.random.default_rng(0)
    for _ in range(30):
        prefix = model.tokens[: rng.integers(1, len(model.tokens) + 1)].copy()
        prefix[-1] = rng.integers(0, model.program.vocab_size)
        engine = model.engine(poison=True)
        for token in prefix:
            engine.feed(int(token))
        assert np.array_equal(np.exp(predictor.log_probs(prefix)).astype(np.float32), engine.distribution())


def test_an_engine_that_keeps_its_cache_is_caught():
    """The bug that a reused state would be: the engine is not reset when another prefix begins."""

    class Forgetful(EnginePredictor):
        def log_probs(self, prefix):
            self._fed = prefix.tolist()[: max(0, len(prefix) - 1)]
            if self._engine.position >= self.context:
                self._engine.reset()
            return super().log_probs(prefix)

    model = subject("dense", "tied_mha_swiglu_f32")
    tokens = rng_for(1, "audited").integers(0, model.program.vocab_size, 200)
    assert {"causality", "single pass"} <= set(audit(Forgetful(model), tokens, positions=60).failed)


def test_a_prefix_that_differs_early_is_fed_anew():
    model = subject("ngram", "order_3")
    predictor = EnginePredictor(model)
    a, b = np.array([1, 2, 3]), np.array([4, 5, 3])
    first = predictor.log_probs(a)
    predictor.log_probs(b)
    assert np.array_equal(predictor.log_probs(a), first)


def test_answers_of_another_length_are_told():
    class Short:
        vocab_size = 7

        def log_probs(self, prefix):
            return np.zeros(6)

    with pytest.raises(WeightlessError, match=r"log_probs should give 7 numbers.*\(6,\)"):
        ObjectPredictor(Short).log_probs(np.array([1]))


def test_text_in_other_tokens_is_told():
    model = subject("ngram", "order_3")
    tokens = np.arange(40) + model.program.vocab_size
    with pytest.raises(WeightlessError):
        audit(EnginePredictor(model), tokens, positions=20)


def test_too_short_a_text_is_told():
    with pytest.raises(WeightlessError, match="longer text"):
        audit(EnginePredictor(subject("ngram", "order_3")), np.array([1]))
