"""The verifier of ternary models: bytes, fractions, held-out perplexity beside a twin and beside counts, samples.

What can fail is what the bytes say (`audit/counters/ternary.py`); how good the model is, is told and not judged.  All
perplexities are of the same targets: windows of the model's context spread evenly over the held-out text,

    perplexity = exp(mean nats per token)

of the model and its twin in the engine, and of Kneser-Ney counts of the training text with no and one token of context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.audit.counters.ternary import TernaryTensor, other_matrices, ternary_tensors
from weightless.audit.predictors.findings import FAILED, Finding, judged, skipped
from weightless.base.errors import ConfigError
from weightless.data.shards.corpus import Corpus
from weightless.decode.generate import generate
from weightless.decode.sampling import Sampling
from weightless.evals.bits_per_byte import chosen_windows, evaluate
from weightless.export.packed import Packed
from weightless.ngram.kneser_ney import build
from weightless.ngram.score import log_probs

BASELINES = {"unigram": 1, "bigram": 2}
"""Counted on the training text, by order."""
N_SAMPLES, PROMPT_TOKENS, SAMPLE_TOKENS = 3, 12, 48


def findings(tensors: Sequence[TernaryTensor]) -> list[Finding]:
    """What the bytes say of the named tensors, as checks."""
    n = len(tensors)

    def check(name: str, wrong: Sequence[TernaryTensor], detail: str) -> Finding:
        if not detail:
            return skipped(name, "no named tensor is ternary")
        faults = "; ".join(f"{t.name}: {t.fault}" for t in wrong[:3]) + ("; …" if len(wrong) > 3 else "")
        return judged(name, faults, detail)

    formats = ", ".join(sorted({t.format for t in tensors}))
    ternary = [t for t in tensors if t.groups]
    groups, empty = sum(t.groups for t in ternary), sum(t.empty_groups for t in ternary)
    weights = sum(t.weights for t in ternary)
    told = {
        "weights": f"{weights:,} weights of {groups:,} groups",
        "scales": f"{groups:,}, of which {empty:,} are 0",
        "engine": "digit times scale, to the bit",
    }
    told = told if ternary else dict.fromkeys(told, "")
    return [
        check("stored as ternary", [t for t in tensors if not t.groups], f"{n} tensors in {formats}"),
        check("weights are -1, 0, +1", [t for t in ternary if t.others], told["weights"]),
        check("scales are scales", [t for t in ternary if t.wrong_scales], told["scales"]),
        check("the engine reads the same", [t for t in ternary if t.read_otherwise], told["engine"]),
    ]


def report(name: str, packed: Packed, patterns: Sequence[str]) -> dict[str, Any]:
    """{"name", "ok", "findings", "tensors", "others", "fractions", "bits_per_weight"}: what the bytes say."""
    tensors = ternary_tensors(packed, patterns)
    found, weights = findings(tensors), max(1, sum(t.weights for t in tensors))
    return {
        "name": name,
        "ok": all(finding.verdict != FAILED for finding in found),
        "findings": [finding.to_plain() for finding in found],
        "tensors": [tensor.to_plain() for tensor in tensors],
        "others": other_matrices(packed, patterns),
        "fractions": {key: sum(getattr(t, key) for t in tensors) / weights for key in ("minus", "zero", "plus")},
        "bits_per_weight": 8 * sum(t.stored_bytes for t in tensors) / weights,
    }


def perplexities(packed: Packed, data: Corpus, twin: Packed | None, n_targets: int) -> dict[str, Any]:
    """{"targets", "nats_per_token": {"model", "twin", "unigram", "bigram"}, "perplexity": …, "above_twin": share}."""
    tokens, context = np.asarray(data.tokens("val")[:], np.int64), packed.program.context
    models = {"model": packed} | ({} if twin is None else {"twin": twin})
    nats = {
        name: evaluate(each, tokens, None, limit=n_targets, stretch=context, label=name).nats_per_token
        for name, each in models.items()
    }
    chosen = chosen_windows(len(tokens), context, context, n_targets, context)
    at, train = np.concatenate([np.arange(scored, end) for _, scored, end in chosen]), data.tokens("train")
    for name, order in BASELINES.items():
        counted = build(np.asarray(train[:]), data.vocab_size, order)
        nats[name] = float(-log_probs(counted, tokens, order)[at].mean())
    above = {} if twin is None else {"above_twin": nats["model"] / nats["twin"] - 1}
    return {
        "targets": len(at),
        "nats_per_token": nats,
        "perplexity": {name: math.exp(value) for name, value in nats.items()},
        **above,
    }


def check_twin(packed: Packed, twin: Packed, data: Corpus) -> None:
    """ConfigError unless the twin reads the same tokens, and as many of them at a time."""
    for who, each in (("the model", packed), ("its twin", twin)):
        if each.tokenizer_sha256 != data.manifest["tokenizer_sha256"]:
            raise ConfigError(f"{who} has another tokenizer than {data.folder}: name the data that it was trained on")
    if packed.program.context != twin.program.context:
        raise ConfigError(
            f"the twin has a context of {twin.program.context} and the model of {packed.program.context}: losses of "
            "different windows are no comparison"
        )


def samples(packed: Packed, data: Corpus, seed: int) -> list[dict[str, Any]]:
    """Continuations of the beginnings of held-out windows that are spread over the text."""
    if not packed.has_tokenizer:
        return []
    tokens, n = data.tokens("val"), data.n_tokens("val")
    found = []
    for i in range(N_SAMPLES):
        first = i * max(0, n - PROMPT_TOKENS) // N_SAMPLES
        ids = [int(t) for t in tokens[first : first + PROMPT_TOKENS] if int(t) != packed.tokenizer.end_of_text]
        prompt = packed.tokenizer.decode(ids)
        found.append(generate(packed, prompt, Sampling(0.8, 0.95, seed + i, SAMPLE_TOKENS, stop_at_end=False)))
    return found
