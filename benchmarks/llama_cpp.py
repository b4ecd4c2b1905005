"""llama.cpp as a contender in a race of decoders: in this process (package xllamacpp), on one thread.

    python benchmarks/llama_cpp.py [--family dense] [--set d_model=256 n_layers=6 vocab_size=4096] [--types f32 q8_0]

    random_gguf(folder, "dense", config, "q8_0")     a packed model of random weights, and the GGUF file of the same
    LlamaCpp(path, context).greedy(n)                ids of n greedy tokens, and the seconds that each of them took

Times are those at which its server hands the tokens over, so that its sampling and half a tenth of a millisecond of
handing over are in them.  Alone, the script prints the median of tokens per second by type, so that a race can be seen
to be fair: the same figures come of llama.cpp's own timings, which are printed beside them.  Needs the extra interop.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.config import from_dict
from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed
from weightless.export.to_gguf import KINDS, export_gguf
from weightless.models.catalog import trained

STANDARD_DEVIATION = 0.05


def random_packed(path: Path, family: str, config: Any, seed: int = 0) -> Packed:
    """A packed model whose matrices are normal numbers and whose norms are ones; no PyTorch, a second for 134 M."""
    rng, arrays = np.random.default_rng(seed), {}
    for p in trained(family).laid(config).parameters():
        drawn = rng.standard_normal(p.shape, np.float32) * np.float32(STANDARD_DEVIATION)
        arrays[p.name] = drawn + np.float32("norm" in p.name and not p.name.endswith("bias"))
    pack(path, family, config, arrays)
    return open_packed(path, verify=False)


def random_gguf(folder: Path, family: str, config: Any, kind: str = "auto", seed: int = 0) -> tuple[Packed, Path]:
    """(the packed model, the GGUF file of the same weights); `kind` as in `weightless export --type`."""
    packed, path = random_packed(folder / "model.wl", family, config, seed), folder / f"{kind}.gguf"
    export_gguf(packed, path, kind)
    return packed, path


class LlamaCpp:
    """A model in llama.cpp."""

    def __init__(self, path: Path, context: int, cache: str = "F32") -> None:
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers = str(path), context, 1, 0
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
        p.cache_type_k = p.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{cache}")
        if cache == "F32":
            p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        p.fit_params, p.verbosity = False, 0
        self.server: Any = xllamacpp.Server(p)
        self.timings: dict[str, float] = {}

    def greedy(self, n: int, first: int = 1) -> tuple[list[int], list[float]]:
        """(ids, seconds of each) of n tokens behind `first`; ids as models without a tokenizer spell them."""
        pieces, times = [], [time.perf_counter()]

        def take(part: dict[str, Any]) -> None:
            times.append(time.perf_counter())
            pieces.append(part["choices"][0]["text"])
            self.timings = part.get("timings", self.timings)

        asked = {"prompt": [first], "n_predict": n, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        self.server.handle_completions({**asked, "stream": True}, take)
        spelt = "".join(pieces).replace("<|", "").split("|>")[:-1]
        return [int(i) for i in spelt], np.diff(times)[:n].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="dense")
    parser.add_argument("--set", nargs="*", default=["d_model=256", "n_layers=6", "vocab_size=4096", "d_ff=768"])
    parser.add_argument("--types", nargs="*", default=["f32", "f16", "q8_0", "q4_0"], choices=KINDS)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    fields = {name: int(value) for name, _, value in (one.partition("=") for one in options.set)}
    more = {"weight_format": "f32", "kv_format": "f32", "context": options.tokens + 1}
    config = from_dict(trained(options.family).Config, {**fields, **more})
    with tempfile.TemporaryDirectory() as folder:
        packed = random_packed(Path(folder) / "model.wl", options.family, config)
        for kind in options.types:
            path = Path(folder) / f"{kind}.gguf"
            began = time.perf_counter()
            export_gguf(packed, path, kind)
            took, peer = time.perf_counter() - began, LlamaCpp(path, config.context)
            peer.greedy(8)
            _, seconds = peer.greedy(options.tokens)
            own = peer.timings.get("predicted_per_second", float("nan"))
            told = f"{1 / statistics.median(seconds[1:]):8.1f} tokens/s (its own count {own:.1f})"
            print(f"{kind:6} {told}; {path.stat().st_size / 1e6:.1f} MB, exported in {took:.1f} s")


if __name__ == "__main__":
    main()
