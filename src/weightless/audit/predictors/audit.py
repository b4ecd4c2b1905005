"""The auditor: every check that applies to a predictor and to what is claimed for it, as one table.

    audit(predictor, tokens, Evidence(...), positions=1000) -> Report      .ok .failed .findings .to_plain()

The predictor is read three times over about `positions` positions of real text.  A check for which something is missing
(no tokenizer, no training text, no claim) says so; it is never passed in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.audit.predictors import byte_counts, claims, probes
from weightless.audit.predictors.byte_counts import Claim, TokenBytes
from weightless.audit.predictors.data_overlap import overlap
from weightless.audit.predictors.findings import FAILED, Finding, skipped
from weightless.audit.predictors.predictor import Predictor, prefix_of
from weightless.base.random import rng_for

POSITIONS = 1000
AT_MOST_DECODED = 1 << 22


def unseen(amount: float, note: str) -> None:
    """Nobody watches the progress."""


@dataclass(frozen=True)
class Evidence:
    """What is known beside the predictor.  Without a field, the checks that need it are not applicable.

    table        bytes of every token                    source      the text behind `tokens`, documents joined
    claim        what an evaluation says of itself       pads        ids that are padding
    train, validation                                    documents on which it was trained, and is judged
    expected     published constants of the validation text (claims.EXPECTABLE), n_documents how many documents it has
    refused      why bits per byte of these tokens would not be those of their text (what preparing them found)
    """

    table: TokenBytes | None = None
    source: bytes | None = None
    claim: Claim | None = None
    pads: frozenset[int] = frozenset()
    train: Iterable[bytes] | None = None
    validation: Iterable[bytes] | None = None
    refused: str = ""
    expected: dict[str, int] = field(default_factory=dict)
    n_documents: int | None = None


@dataclass(frozen=True)
class Report:
    """All findings on one predictor, with the nats per token of the audited positions."""

    name: str
    findings: tuple[Finding, ...]
    positions: int
    nats_per_token: float
    seed: int

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [finding.name for finding in self.findings if finding.verdict == FAILED]

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_plain(self) -> dict[str, Any]:
        nats = self.nats_per_token if np.isfinite(self.nats_per_token) else None
        return {
            "name": self.name,
            "ok": self.ok,
            "positions": self.positions,
            "nats_per_token": nats,
            "seed": self.seed,
            "findings": [finding.to_plain() for finding in self.findings],
        }


def audit(
    predictor: Predictor,
    tokens: np.ndarray,
    evidence: Evidence | None = None,
    name: str = "predictor",
    positions: int = POSITIONS,
    seed: int = 0,
    tolerance: float = 0.0,
    tick: Callable[[float, str], object] = unseen,
) -> Report:
    """Run every check; `tick(positions read, what begins)`.  A failed check is a finding, not an error."""
    evidence = evidence or Evidence()
    texts = probes.stretches(tokens, predictor.context, positions)
    rng = rng_for(seed, "audit", "probes")
    tick(0, "normalisation")
    predictor.fresh()
    first = probes.read(predictor, texts, lambda n: tick(n, ""))
    findings = [probes.normalisation(first)]
    tick(0, "causality")
    findings.append(probes.causality(predictor, texts, first, rng, tolerance))
    tick(0, "score before update")
    findings.append(probes.score_before_update(predictor, texts, first, rng, tolerance))
    tick(0, "single pass")
    findings.append(probes.single_pass(predictor, texts, first, tolerance, lambda n: tick(n, "")))
    tick(0, "bytes and data")
    findings += _coverage(predictor, tokens, evidence)
    findings += _bytes(predictor, texts, tokens, evidence)
    findings += _claims(predictor, texts, tokens, evidence, first.target)
    findings += _training(evidence)
    return Report(name, tuple(findings), len(first.sums), first.nats_per_token, seed)


def _coverage(predictor: Predictor, tokens: np.ndarray, evidence: Evidence) -> list[Finding]:
    """Which targets its evaluation scores: by its own word, else by the claim's."""
    if "scored_ranges" in predictor.offers:
        ranges = [tuple(pair) for pair in predictor.scored_ranges(len(tokens)).tolist()]
    elif evidence.claim and evidence.claim.ranges is not None:
        ranges = list(evidence.claim.ranges)
    else:
        why = "it does not say which targets it scores"
        return [skipped("every target once", why), skipped("pads unscored", why)]
    is_pad = np.isin(np.asarray(tokens[:]), list(evidence.pads))
    whole = [*ranges, *_gaps(is_pad)] if is_pad.any() else ranges  # a pad that is left out is no missing target
    pads = byte_counts.no_pad_scored(ranges, is_pad)
    sampled = bool(evidence.claim and evidence.claim.sampled)
    once = byte_counts.scored_once(whole if pads.verdict != FAILED else ranges, len(tokens), sampled)
    return [once, pads]


def _gaps(is_pad: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of the pads, the first token left out."""
    return [(int(i), int(i) + 1) for i in np.flatnonzero(is_pad) if i > 0]


def _bytes(predictor: Predictor, texts: list[np.ndarray], tokens: np.ndarray, evidence: Evidence) -> list[Finding]:
    """The text's bytes, the predictor's count of them, and the claim's."""
    table = evidence.table
    if table is None:
        why = "the tokenizer is unknown"
        found = [skipped("tokens hold the text", why), skipped("byte counts", why)]
    else:
        few = prefix_of(tokens[:AT_MOST_DECODED])
        whole = evidence.source if len(few) == len(tokens) else None
        found = [byte_counts.bytes_of_the_text(table, few, whole, evidence.refused)]
        if "byte_counts" in predictor.offers:
            claimed = [predictor.byte_counts(text) for text in texts]
            found.append(_worst([byte_counts.claimed_bytes(table, t, c) for t, c in zip(texts, claimed, strict=True)]))
        else:
            found.append(skipped("byte counts", "it states no byte counts of its own"))
    return found


def _claims(
    predictor: Predictor, texts: list[np.ndarray], tokens: np.ndarray, evidence: Evidence, target: np.ndarray
) -> list[Finding]:
    """Everything that is said of the evaluation: what the text should be, targets, bytes, loss, and their ratio."""
    claim, table = evidence.claim, evidence.table
    counts = claims.bytes_of_targets(table, tokens) if table is not None else None
    first = table.table.total(np.asarray(tokens[:1])) if table is not None else 0
    there = {
        "tokens": len(tokens),
        "targets": len(tokens) - 1,
        "documents": evidence.n_documents,
        "bytes": None if counts is None else first + int(counts.sum()),
    }
    found = [claims.expected(evidence.expected, there)]
    if claim is None:
        names = ("claimed targets", "claimed bytes", "claimed loss")
        return [
            *found,
            *(skipped(name, "nothing is claimed (--claim)") for name in names),
            skipped("bytes per token", "no loss and bits per byte are claimed"),
        ]
    is_silent = claim.loss is None and claim.bits_per_byte is None
    measured = None if is_silent else claims.measure(predictor, tokens, claim, texts, target)
    per_token = None if counts is None else claims.bytes_per_token(counts, claim)
    return [
        *found,
        claims.counts(claim, len(tokens), predictor.context),
        claims.claimed_bytes(claim, counts),
        claims.loss(claim, measured, counts),
        byte_counts.identity(claim, per_token),
    ]


def _worst(findings: list[Finding]) -> Finding:
    """The first that failed, else the first."""
    return next((finding for finding in findings if finding.verdict == FAILED), findings[0])


def _training(evidence: Evidence) -> list[Finding]:
    if evidence.train is None or evidence.validation is None:
        why = "no training text was named (--train); weightless data verify compares the splits of a corpus"
        return [skipped("no copies", why), skipped("no near copies", why)]
    return overlap(evidence.train, evidence.validation).findings()
