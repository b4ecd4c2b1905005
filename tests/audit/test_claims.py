"""What is claimed of an evaluation is held to what the predictor measures.  Oracles: ln V, sums by a plain loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from audit import planted
from audit.test_cheats import TEXT

from weightless.audit.predictors.audit import Evidence, Report, audit
from weightless.audit.predictors.byte_counts import Claim, TokenBytes
from weightless.audit.predictors.claims import read_expected
from weightless.audit.predictors.predictor import ObjectPredictor
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.evals.bits_per_byte import Score
from weightless.tokenizer.bpe import Tokenizer

BYTES = TokenBytes(Tokenizer({i: bytes([i]) for i in range(256)}, []))
N = len(TEXT) - 1


def claim(nats: float, n: int = N, n_bytes: int = N, **more) -> Claim:
    """Four numbers that agree with each other."""
    return Claim(
        nats=nats * n,
        nats_per_token=nats,
        eval_tokens=n,
        eval_bytes=n_bytes,
        bits_per_byte=nats * n / (math.log(2) * n_bytes),
        **more,
    )


def report(kind, made: Claim | None, positions: int = 150, tokens=TEXT, **evidence) -> Report:
    return audit(ObjectPredictor(kind), tokens, Evidence(table=BYTES, claim=made, **evidence), positions=positions)


def told(found: Report, name: str) -> str:
    return {finding.name: finding.detail for finding in found.findings}[name]


def measured(kind, step: int | None, context: int | None) -> float:
    """Mean nats of every target, by a loop over windows that begin every `step` tokens."""
    predictor, nats = kind(), []
    for t in range(1, N + 1):
        first = 0
        if context is not None and t > context:
            end = min(N + 1, 1 + context + math.ceil((t - context) / step) * step)
            first = max(0, end - 1 - context)
        nats.append(-predictor.log_probs(TEXT[first:t])[TEXT[t]])
    return float(np.mean(nats))


CLAIMS = {
    "a loss that nobody measured": (claim(1.0), {"claimed loss"}),
    "two per cent less": (claim(0.98 * math.log(256)), {"claimed loss"}),
    "a sum of another loss": (Claim(nats=1.0 * N, nats_per_token=math.log(256), eval_tokens=N), {"claimed loss"}),
    "a longer text": (claim(math.log(256), 62_021_845, 62_021_845), {"claimed targets", "claimed bytes"}),
    "a part without a word": (claim(math.log(256), N // 2, N // 2), {"claimed targets"}),
    "bits per byte without a loss": (Claim(bits_per_byte=1.0), {"claimed loss"}),
    "bits per byte of all bytes": (Claim(bits_per_byte=1.0, eval_tokens=N, eval_bytes=N), {"claimed loss"}),
    "bits per byte of a part unnamed": (Claim(bits_per_byte=8.0, eval_tokens=N // 2, sampled=True), {"claimed loss"}),
    "no bits at all": (Claim(nats_per_token=math.log(256), bits_per_byte=0.0, eval_tokens=N), {"bytes per token"}),
    "negative bits": (Claim(nats_per_token=math.log(256), bits_per_byte=-8.0), {"bytes per token"}),
    "a ratio that the text has not": (Claim(nats_per_token=math.log(256), bytes_per_token=4.0), {"bytes per token"}),
    "more bytes": (claim(math.log(256), N, 7 * N // 6), {"claimed bytes", "bytes per token"}),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_planted_claim_is_caught(name):
    made, failed = CLAIMS[name]
    assert set(report(planted.Guessing, made).failed) == failed


def test_what_is_told():
    found = report(planted.Guessing, claim(1.0))
    assert told(found, "claimed loss").startswith("1.0000 nats per token are claimed, 5.5452 measured on ")
    found = report(planted.Guessing, claim(math.log(256), 62_021_845, 62_021_845))
    assert "62,021,845 targets are claimed, the text has 1,499: it is another one, or cut short" in told(
        found, "claimed targets"
    )


def test_an_honest_claim_passes():
    assert report(planted.Guessing, claim(math.log(256))).ok
    found = report(planted.Guessing, Claim(bits_per_byte=8.0))  # log2 256, over one byte a token
    assert found.ok and told(found, "claimed loss").startswith("8.0000 bits per byte are claimed, 8.0000 measured on ")
    cut = N - N % planted.Guessing.context
    assert report(planted.Guessing, claim(math.log(256), cut, cut)).ok, "a stream may be cut to whole windows"
    half = tuple((i, i + 10) for i in range(1, N, 100))
    part = sum(end - first for first, end in half)
    assert report(planted.Guessing, claim(math.log(256), part, part, ranges=half, sampled=True)).ok
    assert report(planted.Guessing, None).ok and "nothing is claimed" in told(
        report(planted.Guessing, None), "claimed loss"
    )


@pytest.mark.parametrize("positions", [150, N])
def test_windows_side_by_side_and_sliding(positions):
    """The true loss passes; a claim of sliding windows without saying so fails where every target is read."""
    beside, sliding = measured(planted.InWindows, 50, 50), measured(planted.InWindows, 10, 50)
    assert sliding < beside - 0.1
    assert report(planted.InWindows, claim(beside), positions).ok
    assert report(planted.InWindows, claim(sliding, stride=10), positions).ok
    assert report(planted.InWindows, claim(0.5 * beside), positions).failed == ["claimed loss"]
    if positions == N:
        assert report(planted.InWindows, claim(sliding), positions).failed == ["claimed loss"]
        assert report(planted.InWindows, claim(0.97 * beside), positions).failed == ["claimed loss"]


def test_one_that_remembers_everything_is_read_behind_everything():
    """Its loss over the text is far below that of its first tokens, and that is no cheat."""
    whole = measured(planted.Adaptive, None, None)
    assert report(planted.Adaptive, claim(whole)).ok
    assert report(planted.Adaptive, claim(0.6 * whole)).failed == ["claimed loss"]


def test_constants_of_a_validation_set():
    wanted = read_expected(["bytes=1,500", "targets=1499", "tokens=1_500", "documents=3"])
    assert wanted == {"bytes": 1500, "targets": 1499, "tokens": 1500, "documents": 3}
    assert report(planted.Guessing, None, expected=wanted, n_documents=3).ok
    cut = report(planted.Guessing, None, tokens=TEXT[:-100], expected=wanted, n_documents=3)
    assert cut.failed == ["validation text"] and "bytes are 1,400, expected 1,500" in told(cut, "validation text")
    unknown = report(planted.Guessing, None, expected={"documents": 3})
    assert "nobody knows them here" in told(unknown, "validation text") and not unknown.ok
    for wrong, message in (("byte=3", "did you mean 'bytes'"), ("bytes=x", "one whole number"), ("bytes", "one whole")):
        with pytest.raises(ConfigError, match=message):
            read_expected([wrong])
    with pytest.raises(ConfigError, match="one whole number"):
        read_expected(["bytes=1", "bytes=2"])


def test_all_that_an_evaluation_says_of_itself_can_be_claimed(tmp_path):
    """Whatever `Score` writes is read: a key that is new there is new here."""
    said = Score(12.5, 10, 20, 3.5, *[np.zeros(10)] * 2, stride=4, sampled=True, path="blocked", decoded_per_second=2.0)
    (tmp_path / "eval.json").write_text(json.dumps(said.to_plain()))
    found = Claim.read(tmp_path / "eval.json")
    assert (found.nats, found.eval_tokens, found.scored_by, found.decode_tokens_per_second) == (
        12.5,
        10,
        "blocked",
        2.0,
    )
    (tmp_path / "eval.json").write_text(json.dumps({**said.to_plain(), "scored_by": 3}))
    with pytest.raises(CorruptFileError, match="scored_by"):
        Claim.read(tmp_path / "eval.json")


@pytest.mark.parametrize(
    "values",
    [
        '{"eval_tokens": Infinity}',
        '{"nats_per_token": Infinity}',
        '{"nats_per_token": true}',
        '{"sampled": "no"}',
        '{"bits_per_byte": NaN}',
        '{"eval_tokens": -1}',
    ],
)
def test_what_is_no_number_is_no_claim(tmp_path, values):
    path = tmp_path / "claim.json"
    path.write_text(values)
    with pytest.raises(CorruptFileError, match="should be"):
        Claim.read(path)
