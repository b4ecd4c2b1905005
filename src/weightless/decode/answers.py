"""Text in, text out, by each way of decoding: speculation, beams, many prompts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.random import rng_for
from weightless.decode.beam_search import batched_beam_search
from weightless.decode.continuous import ContinuousBatch
from weightless.decode.drafters import Drafter, RunnerDrafter, SuffixDrafter, parse_tree
from weightless.decode.engine_runner import Runner, runner_for
from weightless.decode.generate import end_ids, prompt_ids, text_stream
from weightless.decode.sampling import Sampling, StopStrings
from weightless.decode.speculate import Speculation, speculative_tokens
from weightless.export.packed import Packed, open_packed

LOOKUPS = ("ngram", "suffix")


def drafter_named(name: str, tree: str, packed: Packed) -> Drafter:
    """`ngram` (or `suffix`) looks the text so far up; anything else is the path of an artifact that drafts."""
    branches, length = parse_tree(tree)
    if name in LOOKUPS:
        return SuffixDrafter(branches, length)
    if not name.startswith("hf://") and not Path(name).exists():
        raise WeightlessError(f"no drafter {name!r}: give ngram, or the path of an artifact with the same tokenizer")
    other = open_packed(name)
    if other.tokenizer.sha256 != packed.tokenizer.sha256:
        raise WeightlessError(f"{name} has another tokenizer than {packed.artifact.path}: its drafts would be nonsense")
    return RunnerDrafter(runner_for(other.program, other.weights), branches, length)


def speculated(
    packed: Packed, prompt: str, sampling: Sampling, drafter: Drafter | None, record: Speculation
) -> Iterator[tuple[int, str]]:
    """(token, text that became certain), verified by the batched twin of the engine."""
    target, ends = runner_for(packed.program, packed.weights), end_ids(packed)
    rng = rng_for(sampling.seed, "speculate")
    tokens = speculative_tokens(target, _ids(packed, prompt), sampling, drafter, ends, record, rng)
    return text_stream(packed, tokens, sampling)


def beams(
    packed: Packed, prompt: str, beam_width: int, max_new_tokens: int, alpha: float, stop: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The best continuations, best first: {"text", "score", "n_tokens"}.

    A beam whose text holds a string of `stop` is finished as if it had taken the end token; its text ends before the
    string, its score and n_tokens are those of the tokens that made it.
    """
    tokenizer = packed.tokenizer
    ids = _ids(packed, prompt)
    if len(ids) + max_new_tokens > packed.program.context:
        found = f"{len(ids)} tokens of prompt and {max_new_tokens} new ones exceed the context of"
        raise ConfigError(f"{found} {packed.program.context}: beams cannot slide, ask for fewer")
    ends = end_ids(packed)

    def text_of(tokens: Sequence[int]) -> tuple[str, bool]:
        """The text, up to a stop string, and whether there is one."""
        stops = StopStrings(stop)
        text = stops.push(tokenizer.decode([t for t in tokens if t not in ends]))
        return text + stops.finish(), stops.stopped

    log_probs = prefix_model(runner_for(packed.program, packed.weights))
    (best,) = batched_beam_search(
        [ids],
        beam_width,
        max_new_tokens,
        alpha,
        None,
        log_probs,
        is_end=lambda tokens: tokens[-1] in ends or (bool(stop) and text_of(tokens)[1]),
    )
    return [{"text": text_of(tokens)[0], "score": score, "n_tokens": len(tokens)} for tokens, score in best]


def prefix_model(runner: Runner) -> Callable[[list[list[int]]], np.ndarray]:
    """log p after each prefix, for beam search: a prefix that grew by one token is fed that token only."""
    known: dict[tuple[int, ...], int] = {}

    def log_probs(prefixes: list[list[int]]) -> np.ndarray:
        work, names = [], []
        for prefix in prefixes:
            parent = known.get(tuple(prefix[:-1]))
            sequence = runner.begin() if parent is None else runner.fork(parent)
            work.append((sequence, prefix if parent is None else prefix[-1:]))
            names.append((tuple(prefix), sequence))
        rows = runner.forward(work)
        for sequence in known.values():
            runner.free(sequence)
        known.clear()
        known.update(names)
        return np.array([log_p[-1] for log_p in rows])

    return log_probs


def answered(packed: Packed, prompts: Sequence[str], sampling: Sampling, most: int = 8) -> list[str]:
    """The continuation of each prompt, all decoded together."""
    runner = runner_for(packed.program, packed.weights, paged=True)
    batch = ContinuousBatch(runner, end_ids(packed), most)
    for prompt in prompts:
        batch.submit(_ids(packed, prompt), sampling)
    decoders = [packed.tokenizer.stream_decoder() for _ in prompts]
    stops = [StopStrings(sampling.stop) for _ in prompts]
    texts = [""] * len(prompts)
    for number, token in batch.run():
        if stops[number].stopped:
            continue
        ending = token is None
        piece = decoders[number].finish() if token is None else decoders[number].push(token)
        texts[number] += stops[number].push(piece) + (stops[number].finish() if ending else "")
        if stops[number].stopped:
            batch.cancel(number)
    return texts


def _ids(packed: Packed, prompt: str) -> list[int]:
    """<|endoftext|> and the prompt: what a document begins with."""
    end = packed.tokenizer.end_of_text
    ids = prompt_ids(packed, prompt)
    return ids if end is None else [end, *ids]
