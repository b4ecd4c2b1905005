"""Synthetic summaries of realistic size for the report's tests: same shape as the lab writes, invented numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

_SHARES = {
    "dense": {
        "head": 0.62,
        "feed-forward": 0.21,
        "attention": 0.11,
        "kv cache": 0.035,
        "activations": 0.015,
        "embedding": 0.01,
    },
    "feather": {
        "head": 0.34,
        "attention": 0.24,
        "feed-forward": 0.2,
        "lookup rows": 0.12,
        "kv cache": 0.07,
        "activations": 0.03,
    },
    "ngram": {"probes": 0.71, "contexts": 0.22, "head": 0.07},
}
_SPLIT = {"core": 0.6, "head": 0.3, "activations": 0.1}

# name, family, bits per byte, bytes touched, stored, decode tokens per second
DEMO = (
    ("dense", "dense", 2.013, 3_282_944.0, 5_213_440, 812.0),
    ("feather", "feather", 1.931, 118_317.5, 3_102_208, 8342.0),
    ("ngram", "ngram", 2.214, 512.25, 91_204_608, 61_230.0),
)
ZOO = (
    ("dense-small", "dense", 2.21, 3.3e6, 5_000_000, 900.0),
    ("dense", "dense", 2.05, 6.4e6, 9_800_000, 500.0),
    ("dense-large", "dense", 1.98, 12.9e6, 19_000_000, 250.0),
    ("feather-100k", "feather", 2.02, 101e3, 3_000_000, 9000.0),
    ("feather-120k", "feather", 1.99, 118e3, 3_200_000, 8500.0),
    ("feather-130k", "feather", 1.985, 131e3, 3_300_000, 8200.0),
    ("feather-500k", "feather", 1.91, 498e3, 4_800_000, 3000.0),
    ("mixture", "mixture", 1.9, 505e3, 95_000_000, 2800.0),
    ("recurrent-depth", "recurrent_depth", 2.0, 1.2e6, 1_900_000, 1300.0),
    ("ssm", "ssm", 2.03, 410e3, 2_800_000, 3100.0),
    ("moe", "moe", 1.97, 640e3, 22_000_000, 2100.0),
    ("ngram", "ngram", 2.28, 655.0, 91_000_000, 60_000.0),
)


def example(models: Sequence[tuple] = DEMO, seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """A summary of `models` trained with each of `seeds` (the n-gram model is counted once)."""
    entries = [_model(*row, seed=seed) for row in models for seed in (seeds if row[1] != "ngram" else seeds[:1])]
    return {
        "name": "demo",
        "created": "2026-11-21T03:20:00+00:00",
        "command": "weightless demo --seeds " + " ".join(map(str, seeds)),
        "commit": "87b95d7c0ffee",
        "wall_seconds": 412.5,
        "machine": {
            "cpu": "Example CPU",
            "cores": 2,
            "memory_bytes": 8_589_934_592,
            "python": "3.11.7",
            "torch": "2.13.0",
            "numba": "0.62",
            "load_average": [1.2, 1.1, 0.9],
        },
        "corpus": {
            "name": "fables",
            "sha256": "ab" * 32,
            "train_bytes": 41_234_567,
            "val_bytes": 1_234_567,
            "train_tokens": 10_900_123,
            "val_tokens": 326_001,
            "vocab_size": 8192,
            "bytes_per_token": 3.787,
        },
        "models": entries,
    }


def _model(name: str, family: str, bpb: float, touched: float, stored: int, speed: float, seed: int) -> dict[str, Any]:
    draw = random.Random(f"{name} {seed}")
    bpb = round(bpb + (draw.gauss(0, 0.008) if seed else 0.0), 5)
    trained = family != "ngram"
    tokens = 12_582_912 if trained else 10_900_123
    seconds = draw.uniform(95, 140) if trained else 9.4
    return {
        "name": name,
        "family": family,
        "seed": seed,
        "description": f"An example of the {family} family.",
        "train_seconds": seconds,
        "tokens_seen": tokens,
        "n_parameters": int(stored / 1.1),
        "nats_per_token": bpb * math.log(2) * 3.787,
        "bits_per_byte": bpb,
        "eval_tokens": 65_536,
        "eval_bytes": 248_185,
        "touched": {
            "T": _spread(touched, 1.31),
            "U": _spread(touched * 0.93, 1.29),
            "T64": _spread(touched * 1.08, 1.3),
        },
        "components": [
            {"name": n, "T": touched * s, "U": touched * s * 0.93, "T64": touched * s * 1.08}
            for n, s in _SHARES.get(family, _SPLIT).items()
        ],
        "stored": {
            "file": stored,
            "weights": stored - 120_000,
            "tokenizer": 101_231,
            "components": [{"name": "head", "bytes": stored // 2}],
        },
        "optimizer_bytes": 2 * stored if trained else None,
        "flops_per_token": touched * 1.7,
        "training_flops": touched * 5.1 * tokens if trained else None,
        "decode_tokens_per_second": speed,
        "curve": _curve(bpb, tokens, seconds, draw) if trained else [],
        "sample": {
            "prompt": "Once upon a time",
            "temperature": 0.8,
            "top_p": 0.95,
            "seed": 0,
            "bytes_per_token": touched,
            "text": " there was a fox who had nothing to carry.\nSo he went far, and was not tired, and in the "
            "evening he told the heavy bear of all the hills that he had seen.",
        },
        "artifact": {"file": f"models/{name}/model.wl", "sha256": "cd" * 32},
        "checks": [
            {"name": "formula = engine log", "ok": True, "detail": f"{touched:,.0f} bytes at 512 positions"},
            {"name": "probabilities sum to one", "ok": True, "detail": "largest error 3e-7 at 1,000 positions"},
        ],
        "commands": {
            "train": f"weightless train --recipe demo --model {name} --seed {seed}",
            "eval": f"weightless eval runs/demo/models/{name}",
            "count": f"weightless count runs/demo/models/{name}",
            "generate": f"weightless generate runs/demo/models/{name} --prompt 'Once upon a time'",
        },
    }


def _spread(mean: float, stretch: float) -> dict[str, float]:
    return {"mean": mean, "p50": mean, "p99": mean * (stretch - 0.01), "max": mean * stretch}


def _curve(bpb: float, tokens: int, seconds: float, draw: random.Random) -> list[dict[str, Any]]:
    """A power law from the uniform loss down to `bpb`, with a little noise; every third line lacks a val_loss."""
    lines = []
    for k in range(1, 61):
        share = k / 60
        loss = bpb + 1.5 * (share**-0.35 - 1) * 0.32 + draw.gauss(0, 0.004)
        nats = min(loss, 3.43) * math.log(2) * 3.787
        lines.append(
            {
                "step": 32 * k,
                "tokens": round(tokens * share),
                "seconds": seconds * share,
                "train_loss": nats,
                "val_loss": nats if k % 3 else None,
                "lr": 1e-3,
                "tokens_per_second": tokens / seconds,
            }
        )
    return lines
