"""Tokens per second of an imported GPT-2 (124 M parameters, random) beside `transformers`, in interleaved rounds.

    python benchmarks/imported.py [--rounds 3] [--tokens 48] [--layers 12]

`transformers` makes the model and saves it in bf16; the folder is imported in the formats below.  Every contender then
continues one token greedily, on one thread, from an empty context: ours with the compiled engine, theirs with their own
cache, in float32 and in bf16, without gradients.  A round runs all of them once and starts one contender further.
Figures are medians over rounds of processor time; ratios are medians of the rounds' ratios to the faster of theirs.

Nothing is timed before it is right: log-probabilities of f32 and bf16 (cache in f32) against theirs in float64.
Needs the extra interop.  Gates: bf16 at least as fast as the better of theirs; int8 at least 1.5 times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exactness import held

from weightless.base.cores import cores
from weightless.export.from_folder import import_folder
from weightless.export.packed import open_packed

FORMATS = {"f32": "f32", "bf16": "bf16", "int8": "int8", "int4": "int8"}  # weights: cache
CHECKED = 8
ALLOWED = 1e-5
GATES = {"bf16": 1.0, "int8": 1.5}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs = made(folder / "gpt2", options.layers)
        check(folder, theirs)
        contenders: dict[str, Callable[[int], Any]] = {}
        for fmt, cache in FORMATS.items():
            began = time.process_time()
            import_folder(folder / "gpt2", folder / f"{fmt}.wl", fmt, cache, tokenizer="none")
            print(f"imported in {fmt}: {time.process_time() - began:.1f} s of processor time")
            engine = open_packed(folder / f"{fmt}.wl", verify=False).engine()
            contenders[fmt] = lambda n, engine=engine: ours_greedy(engine, n)
        for kind in ("float32", "bfloat16"):
            model = type(theirs).from_pretrained(folder / "gpt2", dtype=getattr(torch, kind)).eval()
            contenders[f"transformers {kind}"] = lambda n, model=model: theirs_greedy(model, n)
        report(rounds(contenders, options.rounds, options.tokens), options.tokens)


def made(folder: Path, n_layers: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=n_layers)).to(torch.bfloat16)
    model.save_pretrained(folder)
    return model.eval()


def check(folder: Path, model: Any) -> None:
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, CHECKED)
    with torch.no_grad():
        exact = type(model).from_pretrained(folder / "gpt2", dtype=torch.float64)
        right = exact.eval()(torch.tensor(ids)[None]).logits[0].log_softmax(-1).numpy()
    found = {}
    for fmt in ("f32", "bf16"):
        import_folder(folder / "gpt2", folder / "check.wl", fmt, "f32", tokenizer="none")
        engine, log_p = open_packed(folder / "check.wl").engine(), []
        for i in ids:
            engine.feed(int(i))
            log_p.append(np.log(engine.distribution()))
        found[fmt] = [np.array(log_p)]
    held("log-probabilities", [right], found, {}, ALLOWED)


def ours_greedy(engine: Any, n: int) -> None:
    engine.reset()
    token = 0
    for _ in range(n):
        engine.feed(token)
        token = int(engine.distribution().argmax())


def theirs_greedy(model: Any, n: int) -> None:
    token, past = torch.zeros(1, 1, dtype=torch.int64), None
    with torch.inference_mode():
        for _ in range(n):
            out = model(token, past_key_values=past, use_cache=True)
            token, past = out.logits[:, -1:].argmax(-1), out.past_key_values


def rounds(contenders: dict[str, Callable[[int], Any]], n_rounds: int, n_tokens: int) -> dict[str, list[float]]:
    """Seconds of processor time per round."""
    names, took = list(contenders), {name: [] for name in contenders}
    for run in contenders.values():
        run(3)
    for i in range(n_rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            began = time.process_time()
            contenders[name](n_tokens)
            took[name].append(time.process_time() - began)
    return took


def report(took: dict[str, list[float]], n_tokens: int) -> None:
    best = [min(pair) for pair in zip(*(took[name] for name in took if name.startswith("transformers")), strict=True)]
    print(f"{cores()} cores, one thread each; tokens per second of processor time, and times the faster of theirs")
    for name, seconds in took.items():
        ratio = statistics.median(b / s for b, s in zip(best, seconds, strict=True))
        gate = f"  gate {GATES[name]}: {'kept' if ratio >= GATES[name] else 'MISSED'}" if name in GATES else ""
        print(f"{name:22} {n_tokens / statistics.median(seconds):8.1f}  {ratio:5.2f}{gate}")


if __name__ == "__main__":
    main()
