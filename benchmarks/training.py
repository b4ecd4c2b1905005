"""How long training steps take: dense and feather at context 256, one thread, on made tokens.

    python benchmarks/training.py [--steps 40]

Seconds of the clock that training counts, and processor seconds of the whole call.  To compare two versions run it in
their checkouts by turns, and take medians; only ratios of such rounds mean anything.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

from weightless.base.random import rng_for
from weightless.models.catalog import trained
from weightless.train.config import TrainConfig
from weightless.train.loop import train

CONFIGS = {
    "dense": {"d_model": 128, "n_layers": 4, "context": 256},
    "feather": {"context": 256, "rows_2": 4096, "rows_3": 4096},
}
N_TOKENS, N_VALIDATION = 200_000, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    n_steps = parser.parse_args().steps
    tokens = ((rng_for(0, "benchmark", "tokens").zipf(1.3, N_TOKENS) - 1) % 4096).astype(np.uint16)
    loop = TrainConfig(256, 4, n_steps, eval_every=10**6, eval_tokens=512, log_every=n_steps, threads=1)
    for name, shape in CONFIGS.items():
        family = trained(name)
        model, began = family.Model(family.Config(**shape)), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = train(model, tokens[:-N_VALIDATION], tokens[-N_VALIDATION:], loop, folder)
        print(f"{name}: {found.seconds:.2f} s for {n_steps} steps, {time.process_time() - began:.2f} s of processor")


if __name__ == "__main__":
    main()
