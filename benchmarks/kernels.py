"""The fast CPU twins beside PyTorch and beside their readable forms, in interleaved rounds (A B C A B C ...).

    python benchmarks/kernels.py [--rounds 9] [--threads 2] [--only attention softmax norm speculation]
                                 [--artifact model.wl]

Every side is first held to float64 (exactness.py) and its error printed; no time is printed where ours is off.  A turn
is TURN_SECONDS of calls, three at least.  Its figure is the median of its calls, so that what the contender before left
behind (worker threads that spin, caches full of other things) does not decide; a turn's first call is printed, too.
Medians over rounds of wall time, and the ratio of medians; both sides get the same number of threads.  Kernels are
compiled before a clock starts; what that costs cold is printed.  Gates (goals of the project, printed as PASS or FAIL):

    attention     forward + backward, (1, 8, 2048, 64), causal, float32   >= 0.9 x SDPA with autograd, >= 1.8 x naive
    softmax       top-k of (64, 50257), k = 10 (k = 1 and 50 beside it)   >= 3 x torch.softmax + torch.topk
    norm          layer-norm backward of (32, 512, 768)                   >= 1.5 x autograd
    speculation   text with repetition, suffix drafter                    faster than plain decoding, never other text
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from exactness import RED, gap_of, held

from weightless.base.cores import cores

Work = Callable[[], Any]
TURN_SECONDS, FEWEST_CALLS = 0.05, 3
TIE_NATS = 1e-4  # what float32 sums may confuse


def main() -> int:
    options = parse()
    import torch

    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(
        f"{cpu()}, {cores()} cores, {options.threads} threads, load average {load:.1f}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}, BLAS {blas()}"
    )
    results = [PARTS[name](options) for name in options.only]
    print(f"load average at the end {os.getloadavg()[0]:.1f}")
    return 0 if all(results) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, cores()))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--artifact", type=Path, help="a packed model for the speculation part; without it a random one"
    )
    return parser.parse_args()


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas() -> str:
    from threadpoolctl import threadpool_info

    found = [
        f"{lib['internal_api']} {lib.get('architecture', '')}".strip()
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    ]
    forced = os.environ.get("OPENBLAS_CORETYPE")
    return ", ".join(found) + (f" (OPENBLAS_CORETYPE={forced})" if forced else "")


class Figures(NamedTuple):
    """Seconds: of a call, and of the first call after another contender's turn."""

    steady: float
    first: float


def interleaved(works: dict[str, Work], rounds: int) -> dict[str, Figures]:
    """Medians over rounds in which each has its turn, one after another."""
    turns: dict[str, list[Figures]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            calls: list[float] = []
            while len(calls) < FEWEST_CALLS or sum(calls) < TURN_SECONDS:
                began = time.perf_counter()
                work()
                calls.append(time.perf_counter() - began)
            turns[name].append(Figures(statistics.median(calls), calls[0]))
    return {name: Figures(*map(statistics.median, zip(*figures))) for name, figures in turns.items()}


def report(title: str, figures: dict[str, Figures], gates: dict[str, float]) -> bool:
    """One line per peer: how many times faster the first is; True when every gate is met."""
    ours, *peers = figures
    print(f"\n{title}\n  {described(ours, figures[ours])}")
    good = True
    for peer in peers:
        ratio = figures[peer].steady / figures[ours].steady
        verdict = ""
        if peer in gates:
            passed = ratio >= gates[peer]
            good &= passed
            verdict = f"   gate {gates[peer]:g} x: {'PASS' if passed else 'FAIL'}"
        print(f"  {described(peer, figures[peer])}   {ratio:5.2f} x{verdict}")
    return good


def described(name: str, figures: Figures) -> str:
    return f"{name:<28} {1e3 * figures.steady:9.2f} ms (first of a turn {1e3 * figures.first:8.2f})"


def exact_attention(*arrays: np.ndarray) -> list[np.ndarray]:
    """O, dQ, dK, dV in float64, head by head: the scores of all heads at once would fill the memory."""
    from weightless.ops.naive_attention import naive_attention_bwd, naive_attention_fwd

    heads = []
    for h in range(arrays[0].shape[1]):
        Q, K, V, dO = (array[:, h : h + 1].astype(np.float64) for array in arrays)
        heads.append([naive_attention_fwd(Q, K, V)[0], *naive_attention_bwd(dO, Q, K, V)])
    return [np.concatenate(parts, axis=1) for parts in zip(*heads)]


def attention(options: argparse.Namespace) -> bool:
    import torch

    from weightless.kernels import fast_ops
    from weightless.ops.naive_attention import naive_attention_bwd, naive_attention_fwd

    rng = np.random.default_rng(0)
    Q, K, V, dO = (rng.standard_normal((1, 8, 2048, 64), dtype=np.float32) for _ in range(4))
    tensors = [torch.from_numpy(array).requires_grad_() for array in (Q, K, V)]

    def ours() -> Any:
        O, cache = fast_ops.flash_attention_fwd(Q, K, V, 256, return_cache=True, n_threads=options.threads)
        return O, *fast_ops.flash_attention_bwd(dO, cache, 256, n_threads=options.threads)

    def sdpa() -> Any:
        O = torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True)
        return O.detach(), *torch.autograd.grad(O, tensors, torch.from_numpy(dO))

    def naive() -> Any:
        return naive_attention_fwd(Q, K, V)[0], *naive_attention_bwd(dO, Q, K, V)

    began = time.perf_counter()
    ours()
    print(f"\nfirst call of tiled attention {time.perf_counter() - began:.1f} s (compiles where the cache is cold)")
    held(
        "attention",
        exact_attention(Q, K, V, dO),
        {"tiled, BLAS + numba": ours(), "naive NumPy": naive()},
        {"torch SDPA + autograd": sdpa()},
        1e-5,
    )
    works = {"tiled, BLAS + numba": ours, "torch SDPA + autograd": sdpa, "naive NumPy": naive}
    figures = interleaved(works, options.rounds)
    gates = {"torch SDPA + autograd": 0.9, "naive NumPy": 1.8}
    return report("attention forward + backward, (1, 8, 2048, 64) causal float32", figures, gates)


def softmax(options: argparse.Namespace) -> bool:
    import torch

    from weightless.kernels import fast_ops
    from weightless.ops.softmax_topk import softmax_topk_naive

    logits = np.random.default_rng(0).standard_normal((64, 50257), dtype=np.float32) * 3
    tensor = torch.from_numpy(logits)
    good = True
    for k in (1, 10, 50):

        def ours(k: int = k) -> Any:
            return fast_ops.softmax_topk(logits, k, n_threads=options.threads)

        def theirs(k: int = k) -> Any:
            return torch.topk(torch.softmax(tensor, -1), k)

        index, p = softmax_topk_naive(logits.astype(np.float64), k)
        title = f"softmax + top-{k}"
        if not np.array_equal(ours()[0], index):
            sys.exit(f"{title}: other tokens than in float64; {RED}")
        held(title, (p,), {"numba, one pass": ours()[1:]}, {"torch softmax + topk": (theirs().values,)}, 1e-6)
        figures = interleaved({"numba, one pass": ours, "torch softmax + topk": theirs}, options.rounds)
        gates = {"torch softmax + topk": 3.0} if k == 10 else {}
        good &= report(f"softmax + top-{k} of (64, 50257) float32", figures, gates)
    return good


def norm(options: argparse.Namespace) -> bool:
    import torch

    from weightless.kernels import fast_ops
    from weightless.ops.layer_norm import layer_norm_backward, layer_norm_forward

    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((32, 512, 768), dtype=np.float32) for _ in range(2))
    gamma, beta = (rng.standard_normal(768, dtype=np.float32) for _ in range(2))
    _, cache = fast_ops.layer_norm_forward(x, gamma, beta)
    tensors = [torch.from_numpy(array).requires_grad_() for array in (x, gamma, beta)]
    y = torch.nn.functional.layer_norm(tensors[0], (768,), *tensors[1:])

    def ours() -> Any:
        return fast_ops.layer_norm_backward(dy, cache, n_threads=options.threads)

    def theirs() -> Any:
        return torch.autograd.grad(y, tensors, torch.from_numpy(dy), retain_graph=True)

    _, exact = layer_norm_forward(*(array.astype(np.float64) for array in (x, gamma, beta)))
    held(
        "layer norm",
        layer_norm_backward(dy.astype(np.float64), exact),
        {"numba": ours()},
        {"torch autograd": theirs()},
        1e-5,
    )
    figures = interleaved({"numba": ours, "torch autograd": theirs}, options.rounds)
    return report("layer-norm backward of (32, 512, 768) float32", figures, {"torch autograd": 1.5})


def speculation(options: argparse.Namespace) -> bool:
    """The same target, plain and with the suffix drafter; greedy, so the text must be equal."""
    from threadpoolctl import threadpool_limits

    from weightless.decode.drafters import SuffixDrafter
    from weightless.decode.engine_runner import runner_for
    from weightless.decode.sampling import Sampling
    from weightless.decode.speculate import Speculation, speculative_tokens

    program, weights, prompt = target_of(options.artifact)
    sampling = Sampling(temperature=0, top_p=1, max_tokens=120, stop_at_end=False)
    record = Speculation()

    def decode(drafter: Any, kept: Speculation | None = None) -> list[int]:
        runner = runner_for(program, weights)
        return list(speculative_tokens(runner, prompt, sampling, drafter, record=kept))

    with threadpool_limits(options.threads, "blas"):
        check_greedy(program, weights, prompt, {"drafted": decode(SuffixDrafter(2, 8), record), "plain": decode(None)})
        works = {"suffix drafter, tree 2x8": lambda: decode(SuffixDrafter(2, 8)), "plain": lambda: decode(None)}
        figures = interleaved(works, options.rounds)
    good = report("120 tokens of greedy decoding after text with repetition", figures, {"plain": 1.0})
    print(f"  {record.tokens_per_cycle:.2f} tokens per pass, {100 * record.acceptance:.0f} % of drafts accepted")
    return good


def check_greedy(program: Any, weights: np.ndarray, prompt: list[int], texts: dict[str, list[int]]) -> None:
    """Every token is the most probable one in float64, to within a tie; without such a twin the texts are equal."""
    from weightless.decode.batch_runner import BatchRunner, unsupported

    if unsupported(program):
        if len({tuple(text) for text in texts.values()}) > 1:
            sys.exit(f"speculation: other text than plain decoding; {RED}")
        return

    def log_probs(tokens: list[int]) -> np.ndarray:
        runner = BatchRunner(program, weights, np.float64)
        return runner.forward([(runner.begin(), tokens)])[0]

    gaps = {name: gap_of(prompt, text, log_probs) for name, text in texts.items()}
    print(
        "speculation: nats below the most probable token in float64, at most: "
        + ", ".join(f"{name} {gap:.1e}" for name, gap in gaps.items())
    )
    if max(gaps.values()) > TIE_NATS:
        sys.exit(f"speculation: a token is not the most probable one; {RED}")


def target_of(artifact: Path | None) -> tuple[Any, np.ndarray, list[int]]:
    """(program, weights, prompt): a packed model and a repeating sentence, or a random model and a repeating run."""
    if artifact:
        from weightless.export.packed import open_packed

        packed = open_packed(artifact)
        text = "The king said that he would come, and the queen said that he would come, and the king said"
        return packed.program, packed.weights, [packed.tokenizer.end_of_text, *packed.tokenizer.encode(text)]
    from weightless.models.dense import Config, decode_program
    from weightless.quant.formats import encode_rows

    config = Config(vocab_size=4096, d_model=256, n_layers=6, context=512, weight_format="f32", kv_format="f32")
    program = decode_program(config)
    rng = np.random.default_rng(0)
    weights = np.zeros(program.layout.weight_bytes, np.uint8)
    for tensor in program.stored():
        values = rng.standard_normal(tensor.shape, dtype=np.float32) * tensor.shape[1] ** -0.5
        rows = encode_rows(np.ones_like(values) if "norm" in tensor.name else values, tensor.format)
        start = program.layout.places[tensor.name].offset
        weights[start : start + rows.size] = rows.reshape(-1)
    return program, weights, [7, 100, 2000, 31, 5, 9] * 6


PARTS = {"attention": attention, "softmax": softmax, "norm": norm, "speculation": speculation}

if __name__ == "__main__":
    sys.exit(main())
