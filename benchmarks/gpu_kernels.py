"""Triton and CUDA kernels beside PyTorch on a GPU: first right, then fast.

    python benchmarks/gpu_kernels.py [--only softmax_topk,…] [--rounds 20] [--json figures.json]

Per case, every contender computes once and is held to the reference in float64 (NumPy or PyTorch), and its error is
printed; a case in which one of ours is off prints no time, and the exit code is 1.  Then contenders take turns (A B C,
B C A …), each round timed with CUDA events over as many calls as take about 2 ms, after warm-up calls that also
compile.  Figures are medians over rounds in microseconds; ratios are medians of the rounds' ratios to PyTorch (above 1:
faster than PyTorch).

    softmax_topk        triton, cuda       torch.softmax + torch.topk, and that through torch.compile
    layer_norm          triton (cuda back) torch.layer_norm forward; autograd backward; both through torch.compile
    flash_attention     triton             scaled_dot_product_attention, forward; forward and backward (bf16, causal)
    ternary_matvec      triton             a float16 matrix times the vector (what the codes stand for)

Gates, to be judged on a machine with a GPU: nothing slower than PyTorch eager at softmax_topk, layer-norm backward and
ternary_matvec.  Without a GPU: one line, exit code 2.  CUDA kernels take part when `python -m weightless.kernels.cuda`
has built them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from exactness import error_of, told, verdict

from weightless.kernels.dispatch import available, dispatch
from weightless.ops import ternary as ternary_truth

Work = Callable[[], Any]


class Case(NamedTuple):
    """What is compared: contenders by name, the wanted results as float64 tensors, and the tolerance of each result."""

    name: str
    contenders: dict[str, Work]
    wanted: list[torch.Tensor]
    tolerance: float
    bytes_moved: int = 0


def main() -> int:
    arguments = parse()
    if not torch.cuda.is_available():
        print("gpu_kernels: PyTorch finds no CUDA device, so there is nothing to measure here", file=sys.stderr)
        return 2
    about = machine()
    print(json.dumps(about))
    torch.manual_seed(0)
    figures, red = [], 0
    for name in arguments.only.split(","):
        for case in CASES[name]():
            errors = {who: error(work, case) for who, work in case.contenders.items()}
            print(f"\n{case.name}: error against float64, of the largest entry: {told(errors)}")
            wrong = verdict(errors, [who for who in errors if not who.startswith("torch")], case.tolerance)
            if wrong:
                print(f"RED  {case.name}: {wrong}")
                red += 1
            else:
                figures.append(measured(case, arguments.rounds))
                show(figures[-1])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": about, "figures": figures}, indent=1) + "\n")
    return 1 if red else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.only.split(",") if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; known: {', '.join(CASES)}")
    return arguments


def machine() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    import triton

    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    gpu = torch.cuda.get_device_properties(0)
    return {
        "gpu": gpu.name,
        "multiprocessors": gpu.multi_processor_count,
        "memory_gb": round(gpu.total_memory / 1e9, 1),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": said,
    }


def error(work: Work, case: Case) -> float:
    """How far the results of a contender are from the wanted ones."""
    found = work()
    found = found if isinstance(found, (tuple, list)) else [found]
    return error_of([got.detach().double().cpu() for got in found], [wanted.cpu() for wanted in case.wanted])


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """Median microseconds of each contender, and the median of its rounds' speed relative to the first one."""
    names = list(case.contenders)
    calls = {name: max(1, int(2000 / timed(case.contenders[name], 3))) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for at in range(len(names)):
            name = names[(at + turn) % len(names)]
            times[name].append(timed(case.contenders[name], calls[name]))
    ratios = {name: statistics.median(a / b for a, b in zip(times[names[0]], times[name])) for name in names}
    medians = {name: statistics.median(times[name]) for name in names}
    return {"case": case.name, "microseconds": medians, "times_the_first": ratios, "bytes": case.bytes_moved}


def timed(work: Work, calls: int) -> float:
    """Microseconds per call between two events, after one call that is not counted."""
    work()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        work()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) * 1000 / calls


def show(figure: dict[str, Any]) -> None:
    for name, us in figure["microseconds"].items():
        rate = f"{figure['bytes'] / us / 1e3:8.0f} GB/s" if figure["bytes"] else ""
        print(f"  {name:24} {us:10.1f} us  {figure['times_the_first'][name]:6.2f} x {rate}")


def softmax_topk_cases() -> list[Case]:
    def plain(z: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        p, index = torch.topk(torch.softmax(z, -1), k)
        return index, p

    cases = []
    for n_rows, vocab_size, k in ((1, 50_257, 8), (64, 50_257, 8), (1024, 50_257, 8), (64, 151_936, 50)):
        # every logit another float, so that the order is the same for all
        z = torch.stack([torch.randperm(vocab_size, device="cuda") for _ in range(n_rows)]).float() * (20 / vocab_size)
        index, p = plain(z.double(), k)
        contenders: dict[str, Work] = {
            "torch": partial(plain, z, k),
            "torch.compile": partial(torch.compile(plain), z, k),
        }
        for backend in ("triton", "cuda"):
            if not available("softmax_topk")[backend]:
                contenders[backend] = partial(dispatch("softmax_topk", backend), z, k)
        name = f"softmax_topk float32 rows {n_rows} V {vocab_size:,} k {k}"
        cases.append(Case(name, contenders, [index.double(), p], 1e-5, z.numel() * 4))
    return cases


def norm(x: torch.Tensor, shape: Any, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, shape, gamma, beta)


def layer_norm_cases() -> list[Case]:
    cases = []
    for shape in ((32, 512, 768), (8, 1024, 4096)):
        x, dy = (torch.randn(shape, device="cuda") for _ in range(2))
        gamma, beta = (torch.randn(shape[-1:], device="cuda") for _ in range(2))
        leaves = [tensor.requires_grad_() for tensor in (x.clone(), gamma.clone(), beta.clone())]
        exact = [tensor.detach().double().requires_grad_() for tensor in leaves]
        y64 = norm(exact[0], shape[-1:], exact[1], exact[2])
        grads64 = torch.autograd.grad(y64, exact, dy.double())
        ahead = dispatch("layer_norm_forward", "triton")
        _, cache = ahead(x, gamma, beta)
        forward: dict[str, Work] = {
            "torch": partial(norm, x, shape[-1:], gamma, beta),
            "torch.compile": partial(torch.compile(norm), x, shape[-1:], gamma, beta),
            "triton (and the cache)": lambda a=(x, gamma, beta), f=ahead: f(*a)[0],
        }
        cases.append(Case(f"layer_norm forward float32 {shape}", forward, [y64.detach()], 3e-5, x.numel() * 8))
        backward: dict[str, Work] = {}
        for who, function in (("torch", norm), ("torch.compile", torch.compile(norm))):
            y = function(leaves[0], shape[-1:], leaves[1], leaves[2])
            backward[who] = lambda y=y, a=leaves, dy=dy: torch.autograd.grad(y, a, dy, retain_graph=True)
        for backend in ("triton", "cuda"):
            if not available("layer_norm_backward")[backend]:
                backward[backend] = partial(dispatch("layer_norm_backward", backend), dy, cache)
        cases.append(Case(f"layer_norm backward float32 {shape}", backward, list(grads64), 3e-5, x.numel() * 12))
    return cases


def exact_attention(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """O, dQ, dK, dV in float64, one head at a time, because (N, N) of all heads would fill the memory."""
    results: list[list[torch.Tensor]] = []
    for q, k, v, do in zip(*(tensor.flatten(0, 1).unbind() for tensor in tensors)):
        leaves = [tensor.double().requires_grad_() for tensor in (q, k, v)]
        s = leaves[0] @ leaves[1].T / q.shape[1] ** 0.5
        hidden = torch.ones_like(s, dtype=torch.bool).triu(1)
        O = torch.softmax(s.masked_fill(hidden, -torch.inf), -1) @ leaves[2]
        results.append([O.detach(), *torch.autograd.grad(O, leaves, do.double())])
    return [torch.stack(parts).view(tensors[0].shape) for parts in zip(*results)]


def flash_attention_cases() -> list[Case]:
    attend = torch.nn.functional.scaled_dot_product_attention
    ahead, back = (dispatch(f"flash_attention_{name}", "triton") for name in ("fwd", "bwd"))
    cases = []
    for shape in ((4, 16, 2048, 64), (2, 16, 4096, 128)):
        Q, K, V = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        dO = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        plain = [tensor.detach() for tensor in (Q, K, V)]
        O64, *grads64 = exact_attention(*plain, dO)

        def torch_both(a=(Q, K, V), dO=dO):
            O = attend(*a, is_causal=True)
            return O.detach(), *torch.autograd.grad(O, a, dO)

        def triton_both(a=plain, dO=dO):
            O, cache = ahead(*a, return_cache=True)
            return O, *back(dO, cache)

        forward: dict[str, Work] = {
            "torch SDPA": partial(attend, *plain, is_causal=True),
            "triton": partial(ahead, *plain),
        }
        name = f"flash_attention bfloat16 causal {shape}"
        cases.append(Case(f"{name} forward", forward, [O64], 3e-2))
        both: dict[str, Work] = {"torch SDPA": torch_both, "triton": triton_both}
        cases.append(Case(f"{name} forward and backward", both, [O64, *grads64], 3e-2))
    return cases


def ternary_matvec_cases() -> list[Case]:
    cases = []
    for n_rows, width in ((4096, 4096), (14_336, 4096), (32_768, 8192)):
        W = np.random.default_rng(0).standard_normal((n_rows, width), np.float32)
        codes, scales = ternary_truth.ternary_project(W)
        what = torch.from_numpy(ternary_truth.ternary_expand(codes, scales)).cuda()
        x = torch.randn(width, device="cuda", dtype=torch.float16)
        packed, scale = torch.from_numpy(ternary_truth.ternary_pack(codes)).cuda(), torch.from_numpy(scales).cuda()
        contenders: dict[str, Work] = {
            "torch float16 matmul": partial(torch.mv, what.half(), x),
            "triton 2 bits": partial(dispatch("ternary_matvec", "triton"), x, packed, scale),
        }
        wanted = [what.double() @ x.double()]
        cases.append(Case(f"ternary_matvec {n_rows:,} x {width:,}", contenders, wanted, 2e-3))
    return cases


CASES: dict[str, Callable[[], list[Case]]] = {
    "softmax_topk": softmax_topk_cases,
    "layer_norm": layer_norm_cases,
    "flash_attention": flash_attention_cases,
    "ternary_matvec": ternary_matvec_cases,
}

if __name__ == "__main__":
    sys.exit(main())
