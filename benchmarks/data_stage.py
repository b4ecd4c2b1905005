"""Seconds of the data stage of a run: collect a text, split it, train a tokenizer, write shards.

    python benchmarks/data_stage.py [SOURCE] [--vocab-size 4096]

SOURCE is docs (default), fables or a path.  A commit is compared with another by running this file with PYTHONPATH set
to that commit's `src`; the hash of all tokens must be the same, or the two did different work.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="docs")
    parser.add_argument("--vocab-size", type=int, default=4096)
    options = parser.parse_args()
    from weightless.lab.corpora import prepared
    from weightless.lab.recipe import DataRecipe

    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), sum(os.times()[:4])
        found = prepared(DataRecipe(options.source, vocab_size=options.vocab_size), Path(folder) / "data")
        wall, processor = time.perf_counter() - wall, sum(os.times()[:4]) - processor
        digest = hashlib.sha256(b"".join(np.asarray(found.tokens(role)).tobytes() for role in ("train", "val")))
    print(
        f"{options.source}: {wall:.1f} s wall, {processor:.1f} s processor, load average {os.getloadavg()[0]:.1f}, "
        f"{found.n_bytes('train'):,} bytes, tokens {digest.hexdigest()[:16]}"
    )


if __name__ == "__main__":
    main()
