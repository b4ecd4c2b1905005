"""Seeds: one integer per run, from which every part derives its own stream by name."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named use, independent of every other name (SHA-256 of both)."""
    text = json.dumps([int(seed), *(name if isinstance(name, str) else int(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def rng_for(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator (PCG64) for one named use."""
    return np.random.Generator(np.random.PCG64(seed_for(seed, *names)))
