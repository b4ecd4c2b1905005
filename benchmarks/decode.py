"""Tokens per second of the compiled engine beside the same model's cached PyTorch step, in interleaved rounds.

    python benchmarks/decode.py [--vocab-sizes 4096,50257] [--rounds 5] [--tokens 511] [--peers eager,compiled]

Every contender continues one token greedily, on one thread, from an empty context to `--tokens` positions; a round runs
all of them once (A B C … A B C …) and starts one contender further, so that no one always follows the same.
Figures are medians over rounds of processor time, which a busy machine disturbs less than wall time; ratios are medians
of the rounds' ratios.  The model is dense: d_model 256, 6 layers, context 512, tied, random weights; storage formats
f32 (cache f32), bf16 (cache bf16), int8 and int4 (cache int8).  The engine without an audit: its ordinary `feed` and
`distribution`, softmax included; PyTorch takes the largest logit.

Nothing is timed before it is right, and float64 says what is right (exactness.py): in f32 the engine's tokens must be
the most probable ones to within a tie, and in every format its nats those of its operators in float64 within the
tolerance of an audit.  The errors of all sides are printed.

Read bandwidth is measured in the same rounds: the sum of a float32 array as large as the model, in numba.  Bytes read
per token are the stored weights and the mean of the cache.  Gates: fp32 >= 2.5 x PyTorch eager; int8 >= 5 x the best
PyTorch; int4 >= int8; >= 80 % of read bandwidth where the model is LARGER times the last-level cache or more (of one
that is hardly larger, a part stays in the cache, and another part of the array that is summed).  So the engine alone
also runs a model of 134 M parameters: d_model 1,024, 8 layers, vocabulary 32,768.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from exactness import exact_engine, gap_of, nats_from, told
from numba import njit

from weightless.audit.counters.agreement import TOLERANCE_NATS
from weightless.base.cores import cores
from weightless.decode.batch_runner import BatchRunner
from weightless.models import dense, feather
from weightless.program.cost import touched_by_formula
from weightless.program.engine import AuditEngine, Engine
from weightless.program.program import Program
from weightless.quant.formats import encode_rows

FORMATS = {"f32": "f32", "bf16": "bf16", "int8": "int8", "int4": "int8"}  # weights: cache
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "NVPL_BLAS_DEBUG_CPU_TYPE",
)
LARGER = 3
CHECKED = 8  # positions compared with the readable engine
Rounds = dict[str, list[float]]


def main() -> None:
    arguments = parse()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(
        json.dumps(
            {
                "machine": processor(),
                "cores": cores(),
                "load_average": os.getloadavg(),
                "last_level_cache_mb": last_level_cache() / 1e6,
                "python": platform.python_version(),
                "threads": 1,
                "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
            }
        )
    )
    gates: list[tuple[str, bool]] = []
    for vocab_size in (int(size) for size in arguments.vocab_sizes.split(",")):
        shape = {"d_model": 256, "n_layers": 6, "context": 512}
        gates += compare(f"vocabulary {vocab_size:,}", {"vocab_size": vocab_size, **shape}, arguments)
    if not arguments.skip_large:
        shape = {"vocab_size": 32768, "d_model": 1024, "n_layers": 8, "context": 512}
        few = argparse.Namespace(rounds=arguments.rounds, tokens=min(arguments.tokens, 48), peers="none")
        gates += compare("larger than the cache", shape, few)
    if not arguments.skip_demo:
        shape = {"vocab_size": 4096, "d_model": 128, "n_layers": 4, "tied": False}
        compare("the demo's dense model", shape, arguments)
        demo_feather(arguments)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")
    for line, passed in gates:
        print(f"{'PASS' if passed else 'FAIL'}  {line}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab-sizes", default="4096,50257")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=511)
    parser.add_argument("--peers", default="eager,compiled", help="eager, compiled (minutes of compilation), or none")
    parser.add_argument("--skip-large", action="store_true", help="leave out the model of 134 M parameters")
    parser.add_argument("--skip-demo", action="store_true")
    return parser.parse_args()


def processor() -> str:
    """The name that the system gives the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def last_level_cache() -> int:
    """Bytes of the largest cache that the system tells of; 32 MiB if it tells of none."""
    units = {"K": 2**10, "M": 2**20}
    found = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size[:-1]) * units[size[-1]] for size in found if size[-1] in units), default=32 * 2**20)


def aligned(n_bytes: int) -> np.ndarray:
    """Zeros whose first byte lies on a 64-byte boundary, as in a mapped artifact."""
    room = np.zeros(n_bytes + 64, np.uint8)
    return room[-room.ctypes.data % 64 :][:n_bytes]


def packed(program: Program, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The weights as an artifact lays them out."""
    weights = aligned(program.layout.weight_bytes)
    for tensor in program.stored():
        place = program.layout.places[tensor.name]
        rows = encode_rows(arrays[tensor.name].reshape(tensor.shape), tensor.format)
        stored = weights[place.offset : place.offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
        stored[:, : tensor.row_bytes] = rows
    return weights


def random_arrays(module: Any, config: Any) -> dict[str, np.ndarray]:
    """Initial weights; integer tables (which token is in which class) in order."""
    from weightless.train.initialise import initial_parameters

    made = initial_parameters(module.FAMILY.Model(config).tensors(), seed=0)
    return {name: tensor.detach().numpy().reshape(-1, tensor.shape[-1]) for name, tensor in made.items()}


class Greedy:
    """The engine's side of a race: feed(token) -> the most probable next token."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.reset = engine, engine.reset

    def feed(self, token: int) -> int:
        self.engine.feed(token)
        return int(self.engine.distribution().argmax())


def continued(contender: Any, n_tokens: int) -> list[int]:
    """`n_tokens` greedy tokens after token 1."""
    contender.reset()
    tokens = [1]
    for _ in range(n_tokens):
        tokens.append(contender.feed(tokens[-1]))
    return tokens[1:]


def compare(title: str, shape: dict[str, Any], arguments: argparse.Namespace) -> list[tuple[str, bool]]:
    """Race all contenders over one shape; the gates with their verdicts."""
    configs = {fmt: dense.Config(**shape, weight_format=fmt, kv_format=kv) for fmt, kv in FORMATS.items()}
    programs = {fmt: dense.FAMILY.decode_program(config) for fmt, config in configs.items()}
    arrays = random_arrays(dense, configs["f32"])
    weights = {fmt: packed(program, arrays) for fmt, program in programs.items()}
    contenders: dict[str, Any] = {fmt: Greedy(Engine(programs[fmt], weights[fmt])) for fmt in FORMATS}
    for fmt, program in programs.items():
        check_twin(fmt, contenders[fmt].engine, AuditEngine(program, weights[fmt]), exact_engine(program, weights[fmt]))
    contenders |= peers(configs["f32"], arrays, arguments.peers.split(","))
    check_tokens(contenders, arguments.tokens, programs["f32"], weights["f32"])
    sums = {fmt: reader(len(weights[fmt])) for fmt in FORMATS}
    rounds = race(contenders, sums, arguments)
    read = {fmt: bytes_read(programs[fmt], arguments.tokens) for fmt in FORMATS}
    print(
        f"\n{title}: greedy tokens per second, medians of {arguments.rounds} interleaved rounds of "
        f"{arguments.tokens} tokens, processor time (wall time)"
    )
    for name in contenders:
        report(name, rounds, read.get(name), len(weights.get(name, ())))
    return verdicts(title, rounds, read, {fmt: len(weights[fmt]) for fmt in FORMATS})


def peers(config: dense.Config, arrays: dict[str, np.ndarray], wanted: list[str]) -> dict[str, Any]:
    """PyTorch's contenders by name; one that cannot be built says why and stays away."""
    if wanted == ["none"]:
        return {}
    import torch
    from decode_torch import CachedStep

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    if "eager" in wanted:
        found["torch eager f32"] = CachedStep(config, arrays, torch.float32)
        found["torch eager bf16"] = CachedStep(config, arrays, torch.bfloat16)
    if "compiled" in wanted:
        began, step = time.perf_counter(), CachedStep(config, arrays, torch.bfloat16, "sums", compiled=True)
        try:
            continued(step, 4)
        except Exception as error:  # Inductor needs a C++ compiler, and says so in many ways
            print(f"torch compiled bf16 is left out: {type(error).__name__}: {str(error).splitlines()[0]:.200}")
        else:
            print(f"torch.compile took {time.perf_counter() - began:.0f} s (not timed below)")
            found["torch compiled bf16"] = step
    return found


def check_tokens(contenders: dict[str, Any], n_tokens: int, program: Program, weights: np.ndarray) -> None:
    """In f32 every token must be the most probable one in float64, to within a tie; nothing is timed otherwise."""

    def log_probs(tokens: list[int]) -> np.ndarray:
        runner = BatchRunner(program, weights, np.float64)
        return runner.forward([(runner.begin(), tokens)])[0]

    names = [name for name in ("f32", "torch eager f32") if name in contenders]
    texts = {name: continued(contenders[name], n_tokens) for name in names}
    gaps = {name: gap_of([1], text, log_probs) for name, text in texts.items()}
    print(
        f"f32: {n_tokens} greedy tokens, {len(set(texts['f32']))} different ones; nats below the most probable in "
        f"float64, at most: {told(gaps)}"
    )
    assert gaps["f32"] <= TOLERANCE_NATS, "the engine does not take the most probable token"


def check_twin(fmt: str, engine: Engine, readable: AuditEngine, exact: AuditEngine) -> None:
    """Nats of the first positions in float64, each from the state that the compiled engine has."""
    tokens = np.random.default_rng(2).integers(0, engine.program.vocab_size, CHECKED + 1)
    errors = {"engine": 0.0, "readable engine": 0.0}
    for i in range(CHECKED):
        step = tokens[i : i + 1], tokens[i + 1 : i + 2]
        truth = nats_from(exact, engine.S, engine.position, *map(int, tokens[i : i + 2]))
        readable.arena.state[:], readable.arena.registers.t = engine.S, engine.position
        for name, each in (("engine", engine), ("readable engine", readable)):
            gap = abs(float(each.score_stream(*step)[0]) - truth) / max(1.0, truth)
            errors[name] = max(errors[name], gap)
    print(f"{fmt}: error of the nats against float64: {told(errors)}")
    assert errors["engine"] <= TOLERANCE_NATS, f"{fmt}: the engine's nats are off by {errors['engine']:.2g}"


@njit(fastmath={"reassoc", "contract", "nsz"}, cache=True)
def sum_of(array: np.ndarray) -> float:
    """Reads an array once."""
    total = np.float32(0)
    for i in range(len(array)):
        total += array[i]
    return total


def reader(n_bytes: int) -> Callable[[], float]:
    array = aligned(n_bytes // 4 * 4).view(np.float32)
    array[:] = 1
    sum_of(array)
    return lambda: sum_of(array)


def bytes_read(program: Program, n_tokens: int) -> float:
    """Mean bytes of weights and cache that a step reads from memory; logits and activations stay near the core."""
    per_part = touched_by_formula(program, "full", n_tokens).components
    return sum(T for name, (T, _, _) in per_part.items() if name not in ("activations", "logits"))


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """(processor seconds, wall seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def race(contenders: dict[str, Any], sums: dict[str, Callable[[], float]], arguments: argparse.Namespace) -> Rounds:
    """Tokens per second by contender (and under "wall NAME"), GB/s by model size under "read NAME", per round."""
    rounds: Rounds = {}
    names = list(contenders)
    for i in range(arguments.rounds):
        for name in [*names[i % len(names) :], *names[: i % len(names)]]:
            cpu, wall = timed(lambda name=name: continued(contenders[name], arguments.tokens))
            rounds.setdefault(name, []).append(arguments.tokens / cpu)
            rounds.setdefault(f"wall {name}", []).append(arguments.tokens / wall)
            if name in sums:
                seconds = min(timed(sums[name])[0] for _ in range(5))
                rounds.setdefault(f"read {name}", []).append(1 / seconds)
    return rounds


def report(name: str, rounds: Rounds, read: float | None, n_bytes: int) -> None:
    line = f"  {name:20} {statistics.median(rounds[name]):8.0f} ({statistics.median(rounds['wall ' + name]):6.0f})"
    if read is not None:
        speed = statistics.median(rounds[name]) * read / 1e9
        limit = statistics.median(rounds[f"read {name}"]) * n_bytes / 1e9
        line += f"   {read / 1e6:6.2f} MB read per token, {speed:5.1f} GB/s"
        line += f"; a sum over {n_bytes / 1e6:.1f} MB reads {limit:.1f}"
    print(line)


def ratio(rounds: Rounds, a: str, b: str) -> float:
    return statistics.median(x / y for x, y in zip(rounds[a], rounds[b], strict=True))


def verdicts(title: str, rounds: Rounds, read: dict[str, float], sizes: dict[str, int]) -> list[tuple[str, bool]]:
    """The gates that this race can decide."""
    found, torches = [], [name for name in rounds if name.startswith("torch")]
    if "torch eager f32" in torches:
        faster = ratio(rounds, "f32", "torch eager f32")
        most = statistics.median(
            r * sizes["f32"] / read["f32"] / t
            for r, t in zip(rounds["read f32"], rounds["torch eager f32"], strict=True)
        )
        found.append(
            (
                f"{title}: f32 {faster:.2f} x PyTorch eager (gate 2.5; at the read bandwidth of the sum: {most:.2f} x)",
                faster >= 2.5,
            )
        )
    if torches:
        best = max(torches, key=lambda name: statistics.median(rounds[name]))
        faster = ratio(rounds, "int8", best)
        found.append((f"{title}: int8 {faster:.2f} x the best PyTorch, {best} (gate 5)", faster >= 5))
    faster = ratio(rounds, "int4", "int8")
    found.append((f"{title}: int4 {faster:.2f} x int8 (gate 1)", faster >= 1))
    for fmt, size in sizes.items():
        if size >= LARGER * last_level_cache():
            share = statistics.median(
                s * read[fmt] / (r * size) for s, r in zip(rounds[fmt], rounds[f"read {fmt}"], strict=True)
            )
            found.append((f"{title}: {fmt} at {share:.0%} of read bandwidth (gate 80 %)", share >= 0.8))
    return found


def demo_feather(arguments: argparse.Namespace) -> None:
    """The demo's thin model, which has no such step in PyTorch: the engine alone."""
    config = feather.Config(4096, 120, 2, 2, d_head=32, d_ff=112, rows_2=65536, rows_3=65536)
    program = feather.FAMILY.decode_program(config)
    arrays = random_arrays(feather, config) | feather.FAMILY.Model(config).prepare(np.arange(4096), 0)
    contender = {"feather": Greedy(Engine(program, packed(program, arrays)))}
    rounds = race(contender, {}, arguments)
    engine, n = contender["feather"].engine, min(arguments.tokens, config.context)
    tokens = np.random.default_rng(3).integers(0, 4096, n)
    engine.reset()
    engine.score_stream(tokens, tokens)  # compiles, or loads what was compiled before
    engine.reset()
    seconds = timed(lambda: engine.score_stream(tokens, tokens))[0]
    print("\nthe demo's feather model")
    report("feather", rounds, None, 0)
    print(f"  scoring a text (one path of the class head): {n / seconds:,.0f} tokens per second")


if __name__ == "__main__":
    main()
