"""Every width of weights, activations in float32 and in eight bits, beside llama.cpp: tokens per second, one thread.

    python benchmarks/decode_bits.py [--shapes cache,beyond] [--rounds 5] [--without-llama]

One shape of llama whose 16 M weights fit the caches, and one of 134 M whose do not.  A round asks every contender in
turn for greedy tokens behind token 1; the order shifts from round to round.  The figure of a round is the median of the
times of its tokens, so that a moment in which the machine did something else does not count; what is compared is the
median of rounds, and ratios are taken within a round.  llama.cpp (package xllamacpp, extra interop) runs in this
process on one thread, with the same weights in its own types and a cache of float32; its times are those at which its
server hands tokens over.

Nothing is timed before every engine agrees with the readable one (`decode.check_twin`), products of whole numbers with
their twin, and llama.cpp's f32 model draws the same greedy tokens as ours.

Gates: beyond the caches int8 at 85 % of the read bandwidth of a sum over as many bytes, int4 at 70 %; each type of
llama.cpp (F32, F16, Q8_0, Q4_0, TQ2_0) beaten by 1.2; fewer bits never slower than more (to 3 %).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from decode import ENVIRONMENT, aligned, bytes_read, check_twin, last_level_cache, processor, reader, timed
from exactness import exact_engine
from llama_cpp import STANDARD_DEVIATION, LlamaCpp

from weightless.base.cores import cores
from weightless.base.format_names import parse_format
from weightless.export.lower import pack
from weightless.export.packed import Packed, open_packed
from weightless.export.to_gguf import export_gguf
from weightless.kernels.numba.integer_matvec import INTEGER_MATVEC
from weightless.kernels.numba.rows import views
from weightless.models import llama
from weightless.ops.integer_activations import rounded_activations
from weightless.program.engine import AuditEngine, Engine
from weightless.quant.formats import decode_rows

ALIKE = {"d_head": 64, "context": 256, "tied": True}
SHAPES: dict[str, dict[str, Any]] = {
    "cache": {"vocab_size": 8192, "d_model": 512, "n_layers": 4, "n_heads": 8, "n_kv_heads": 8, "d_ff": 1536, **ALIKE},
    "beyond": {
        "vocab_size": 32768,
        "d_model": 1024,
        "n_layers": 8,
        "n_heads": 16,
        "n_kv_heads": 16,
        "d_ff": 2816,
        **ALIKE,
    },
}
FLOATS = ("f32", "bf16", "int8", "int6", "int5", "int4", "int3", "int2", "t2", "t5", "binary")
WHOLE = ("int8", "int4", "int2", "t2", "binary")
PEERS = {
    "llama.cpp f32": "f32",
    "llama.cpp f16": "bf16",
    "llama.cpp q8_0": "int8",
    "llama.cpp q4_0": "int4",
    "llama.cpp tq2_0": "t2",
}
"""Types of llama.cpp, and the format of ours that each is raced with."""
NEARLY = 0.97


class Ours:
    """The compiled engine, greedy."""

    def __init__(self, packed: Packed) -> None:
        self.engine = Engine(packed.program, aligned_copy(packed))

    def greedy(self, n: int) -> tuple[list[int], list[float]]:
        self.engine.reset()
        tokens, times = [1], []
        for _ in range(n):
            began = time.perf_counter()
            self.engine.feed(tokens[-1])
            tokens.append(int(self.engine.distribution().argmax()))
            times.append(time.perf_counter() - began)
        return tokens[1:], times


class Made(NamedTuple):
    """One packed model by its name in the race."""

    packed: Packed
    ours: Ours


def aligned_copy(packed: Packed) -> np.ndarray:
    weights = aligned(packed.program.layout.weight_bytes)
    weights[:] = packed.weights[: len(weights)]
    return weights


def random_arrays(config: llama.Config, is_ternary: bool = False) -> dict[str, np.ndarray]:
    """Normal numbers, or -s, 0 and s; norms of ones."""
    rng, arrays = np.random.default_rng(0), {}
    for spec in llama.FAMILY.laid(config).parameters():
        drawn = rng.standard_normal(spec.shape, np.float32) * np.float32(STANDARD_DEVIATION)
        if is_ternary and spec.group != "vector":
            drawn = (np.sign(drawn) * (np.abs(drawn) > STANDARD_DEVIATION / 2)).astype(np.float32) / 16
        arrays[spec.name] = np.ones_like(drawn) if spec.group == "vector" else drawn
    return arrays


def made(folder: Path, shape: dict[str, Any], name: str, arrays: dict[str, np.ndarray]) -> Made:
    """A packed model: a name that ends in * has activations of eight bits."""
    activations = "int8" if name.endswith("*") else "f32"
    formats = {"weight_format": name.rstrip("*"), "kv_format": "f32", "activation_format": activations}
    path = folder / f"{name.rstrip('*')}-{activations}.wl"
    config = llama.Config(**shape, **formats)
    pack(path, "llama", config, arrays)
    packed = open_packed(path, verify=False)
    ours = Ours(packed)
    if activations == "f32":
        weights, program = aligned_copy(packed), packed.program
        check_twin(name, ours.engine, AuditEngine(program, weights), exact_engine(program, weights))
    else:
        check_products(name, packed)
    return Made(packed, ours)


def check_products(name: str, packed: Packed) -> None:
    """Every matrix times random numbers, against its numbers times the rounded ones in float64.

    Nats of whole steps would not tell: an activation on the other side of a half is no fault, and in a step of tens of
    thousands of them one is common."""
    rng, worst = np.random.default_rng(2), 0.0
    for tensor in packed.program.stored():
        if tensor.shape[0] == 1:
            continue
        rows, cols = min(256, tensor.shape[0]), tensor.shape[1]
        x, out = rng.standard_normal(cols).astype(np.float32), np.empty(rows, np.float32)
        stored = aligned(-(-rows * tensor.row_stride // 64) * 64)
        stored[: rows * tensor.row_stride] = packed.artifact.view(tensor.name)[:rows].reshape(-1)
        product = INTEGER_MATVEC[parse_format(tensor.format).storage]
        product(views(stored), 0, tensor.row_stride, rows, cols, x, out)
        numbers = stored[: rows * tensor.row_stride].reshape(rows, -1)[:, : tensor.row_bytes]
        W_RC, met = decode_rows(numbers, tensor.format, cols).astype(np.float64), rounded_activations(x)
        worst = max(worst, float((np.abs(out - W_RC @ met) / (np.abs(W_RC) @ np.abs(met))).max()))
    print(f"{name}: error of products, relative to the sum of their sizes: {worst:.1e}")
    assert worst < 1e-6, f"{name}: the products are off"


def race(contenders: dict[str, Any], n_tokens: int, sums: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Tokens per second by contender, round by round; under "read NAME" GB/s of a sum over as many bytes."""
    found: dict[str, list[float]] = {}
    names = list(contenders)
    for i in range(rounds):
        for name in [*names[i % len(names) :], *names[: i % len(names)]]:
            _, times = contenders[name].greedy(n_tokens)
            found.setdefault(name, []).append(1 / statistics.median(times[1:]))
            if name in sums:
                found.setdefault(f"read {name}", []).append(1 / min(timed(sums[name])[1] for _ in range(5)))
    return found


def compare(kind: str, options: argparse.Namespace) -> list[tuple[str, bool]]:
    shape, gates = SHAPES[kind], []
    n_tokens = 200 if kind == "cache" else 24
    with tempfile.TemporaryDirectory() as name:
        folder, plain = Path(name), llama.Config(**SHAPES[kind], weight_format="f32", kv_format="f32")
        arrays = random_arrays(plain)
        models = {fmt: made(folder, shape, fmt, arrays) for fmt in (*FLOATS, *(f"{fmt}*" for fmt in WHOLE))}
        contenders: dict[str, Any] = {fmt: model.ours for fmt, model in models.items()}
        contenders |= {} if options.without_llama else peers(folder, shape, arrays, models)
        for contender in contenders.values():
            contender.greedy(4)
        read = {fmt: bytes_read(model.packed.program, n_tokens) for fmt, model in models.items()}
        sums = {fmt: reader(int(read[fmt])) for fmt in models}
        rounds = race(contenders, n_tokens, sums, options.rounds)
    print(f"\n{kind}: {json.dumps(shape)}; tokens per second, medians of {options.rounds} rounds of {n_tokens} tokens")
    for name, speeds in rounds.items():
        if not name.startswith("read "):
            print(line(name, speeds, rounds.get(f"read {name}"), read.get(name)))
    gates += [verdict(kind, rounds, peer, fmt) for peer, fmt in PEERS.items() if peer in rounds]
    gates += widths(kind, rounds)
    if max(read.values()) > 3 * last_level_cache():
        gates += [bandwidth(kind, rounds, fmt, share) for fmt, share in (("int8", 0.85), ("int4", 0.7))]
    return gates


def peers(
    folder: Path, shape: dict[str, Any], arrays: dict[str, np.ndarray], models: dict[str, Made]
) -> dict[str, Any]:
    """llama.cpp with every type, after a look at whether it draws what we draw."""
    found = {}
    for name in PEERS:
        kind, packed = name.split()[1], models["f32"].packed
        if kind == "tq2_0":
            ternary = llama.Config(**shape, weight_format="t2_row", kv_format="f32")
            pack(folder / "ternary.wl", "llama", ternary, random_arrays(ternary, is_ternary=True))
            packed = open_packed(folder / "ternary.wl", verify=False)
        export_gguf(packed, folder / f"{kind}.gguf", kind)
        found[name] = LlamaCpp(folder / f"{kind}.gguf", shape["context"])
    theirs, ours = found["llama.cpp f32"].greedy(12)[0], models["f32"].ours.greedy(12)[0]
    print(f"llama.cpp's f32 model draws {theirs}, ours {ours}")
    assert theirs == ours, "llama.cpp and the engine do not run the same model"
    return found


def line(name: str, speeds: list[float], reads: list[float] | None, n_bytes: float | None) -> str:
    told = f"  {name:18} {statistics.median(speeds):8.1f}"
    if reads is None or n_bytes is None:
        return told
    share = statistics.median(speed / limit for speed, limit in zip(speeds, reads, strict=True))
    rate = statistics.median(speeds) * n_bytes / 1e9
    return f"{told}   {n_bytes / 1e6:7.2f} MB per token, {rate:5.1f} GB/s, {share:.0%} of a sum's"


def ratio(rounds: dict[str, list[float]], a: str, b: str) -> float:
    return statistics.median(x / y for x, y in zip(rounds[a], rounds[b], strict=True))


def verdict(kind: str, rounds: dict[str, list[float]], peer: str, fmt: str) -> tuple[str, bool]:
    """The better of float and rounded activations, both told; llama.cpp rounds them for its codes."""
    told = {name: ratio(rounds, name, peer) for name in (fmt, f"{fmt}*") if name in rounds}
    words = ", ".join(f"{name} {value:.2f} x" for name, value in told.items())
    return f"{kind}: {words} {peer} (gate 1.2)", max(told.values()) >= 1.2


def widths(kind: str, rounds: dict[str, list[float]]) -> list[tuple[str, bool]]:
    """Fewer bits against the format before them, to a few percent."""
    gates = []
    for names in (FLOATS, tuple(f"{fmt}*" for fmt in WHOLE if fmt != "int2"), ("int4*", "int2*")):
        for more, fewer in zip(names, names[1:]):
            value = ratio(rounds, fewer, more)
            gates.append((f"{kind}: {fewer} {value:.2f} x {more} (gate 1, to 3 %)", value >= NEARLY))
    return gates


def bandwidth(kind: str, rounds: dict[str, list[float]], fmt: str, wanted: float) -> tuple[str, bool]:
    shares = {
        name: statistics.median(s / r for s, r in zip(rounds[name], rounds[f"read {name}"], strict=True))
        for name in (fmt, f"{fmt}*")
    }
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"{kind}: {words} of read bandwidth (gate {wanted:.0%})", max(shares.values()) >= wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="cache,beyond")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-llama", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    about = {"machine": processor(), "cores": cores(), "load_average": os.getloadavg(), "threads": 1}
    print(json.dumps({**about, "environment": {name: os.environ.get(name) for name in ENVIRONMENT}}))
    gates = [gate for kind in options.shapes.split(",") for gate in compare(kind, options)]
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")
    for told, passed in gates:
        print(f"{'PASS' if passed else 'FAIL'}  {told}")


if __name__ == "__main__":
    main()
