"""weightless generate: let an artifact write, by sampling, beams or speculation, for one prompt or a file of them."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import json_line, text_lines
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.decode.sampling import Sampling
    from weightless.export.packed import Packed


@dataclass(frozen=True)
class Generate:
    """Continue a prompt."""

    artifact: Annotated[str, tyro.conf.Positional]
    """A packed model (.wl), as train, run and pack leave it."""
    prompt: str = ""
    """The text to continue; empty begins a document."""
    prompts: str = ""
    """A file with one prompt per line (line feeds end lines, nothing else does; an empty line is an empty prompt), all
    decoded together."""
    temperature: float = 0.8
    """Divides the logits before a token is drawn; 0 takes the most probable token."""
    top_p: float = 0.95
    """Draw from the most probable tokens that hold this share (0 to 1) of the probability; 1 means all."""
    top_k: int = 0
    """Draw from the k most probable tokens; 0 means all."""
    min_p: float = 0.0
    """Draw from tokens of at least this share (0 to 1) of the best one's probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that occurred become less probable; 1 changes nothing."""
    stop: tuple[str, ...] = ()
    """End before any of these strings."""
    seed: int = 0
    """Decides what is drawn."""
    max_tokens: int = 200
    """Tokens to write at most."""
    past_end: bool = False
    """Go on after <|endoftext|>, to --max_tokens."""
    stream: bool = False
    """Print text as it comes."""
    beam: int = 0
    """Beam search of this width instead of sampling."""
    alpha: float = 0.6
    """Length penalty of beams: score = log-probability / length^alpha."""
    speculate: str = ""
    """Draft tokens and verify them together: ngram (looks the text so far up), or an artifact that drafts."""
    tree: str = "2x8"
    """The drafted tree: branches x length."""
    batch: int = 8
    """How many prompts of a file are decoded together."""
    path: str = "auto"
    """How the prompt is fed: stepped (token after token), blocked (many positions per weight read, the same up to the
    order of sums), or auto (blocked where it pays and that is so)."""
    json: bool = False
    """Print JSON, one line per prompt."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.export.packed import open_packed

    options = parse(Generate, verb, arguments)
    _check(options)
    packed = open_packed(options.artifact)
    if options.beam:
        return _beam(packed, options)
    if options.prompts:
        return _batch(packed, options)
    if options.speculate:
        return _speculate(packed, options)
    return _sample(packed, options)


def _check(options: Generate) -> None:
    """Ways of decoding that do not go together are named."""
    from weightless.program.blocked import check_path

    ways = [name for name in ("beam", "speculate", "prompts") if getattr(options, name)]
    if len(ways) > 1:
        raise ConfigError(f"--{ways[0]} and --{ways[1]} do not go together: choose one")
    if options.prompts and options.prompt:
        raise ConfigError("--prompt and --prompts do not go together: choose one")
    if options.stream and (options.beam or options.prompts or options.json):
        raise ConfigError("--stream prints one text as it comes: it goes with neither --beam, --prompts nor --json")
    check_path(options.path)
    if options.beam < 0 or options.batch < 1:
        raise ConfigError("--beam should not be negative, and --batch at least 1")
    if options.beam and options.max_tokens < 1:
        raise ConfigError(f"--max_tokens {options.max_tokens}: beams are of at least 1 token")


def _sampling(options: Generate) -> Sampling:
    from weightless.decode.sampling import Sampling

    return Sampling(
        options.temperature,
        options.top_p,
        options.seed,
        options.max_tokens,
        not options.past_end,
        options.top_k,
        options.min_p,
        options.repetition_penalty,
        options.stop,
    )


def _sample(packed: Packed, options: Generate) -> int:
    from weightless.decode.generate import generate, prompt_ids, text_stream, token_stream

    if options.stream:
        stream = token_stream(packed, prompt_ids(packed, options.prompt), _sampling(options), path=options.path)
        return _print_stream(options.prompt, text_stream(packed, stream, _sampling(options)))
    drawn = generate(packed, options.prompt, _sampling(options), options.path)
    if options.json:
        print(json_line(drawn))
    else:
        print(drawn["prompt"] + drawn["text"])
        touched = human_bytes(drawn["bytes_per_token"])
        print(f"{drawn['n_tokens']} tokens, {touched} touched per token while sampling", file=sys.stderr)
    return 0


def _print_stream(prompt: str, pieces: Any) -> int:
    sys.stdout.write(prompt)
    for _, text in pieces:
        sys.stdout.write(text)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def _speculate(packed: Packed, options: Generate) -> int:
    from weightless.decode.answers import drafter_named, speculated
    from weightless.decode.speculate import Speculation

    first, record = replace(_sampling(options), max_tokens=1), Speculation()
    trial, drafter = (drafter_named(options.speculate, options.tree, packed) for _ in range(2))
    list(speculated(packed, options.prompt, first, trial, Speculation()))  # what is compiled or loaded once is no speed
    began = time.perf_counter()
    pieces = speculated(packed, options.prompt, _sampling(options), drafter, record)
    if options.stream:
        _print_stream(options.prompt, pieces)
    text = "" if options.stream else "".join(text for _, text in pieces)
    figures = {
        "tokens": record.produced,
        "cycles": record.cycles,
        "drafted": record.drafted,
        "accepted": record.accepted,
        "tokens_per_cycle": record.tokens_per_cycle,
    }
    if options.json:
        print(json_line({"prompt": options.prompt, "text": text, **figures}))
        return 0
    if not options.stream:
        print(options.prompt + text)
    took = time.perf_counter() - began
    print(
        f"{record.produced} tokens in {record.cycles} cycles, {record.tokens_per_cycle:.2f} tokens per cycle, "
        f"{100 * record.acceptance:.0f} % of {record.drafted} drafted tokens accepted, {took:.1f} s",
        file=sys.stderr,
    )
    return 0


def _beam(packed: Packed, options: Generate) -> int:
    from weightless.decode.answers import beams

    if "" in options.stop:
        raise ConfigError("an empty stop string would end every text at once")
    found = beams(packed, options.prompt, options.beam, options.max_tokens, options.alpha, options.stop)
    if options.json:
        print(json_line({"prompt": options.prompt, "beams": found}))
        return 0
    for beam in found:
        print(f"{beam['score']:9.4f}  {beam['n_tokens']:>4} tokens  {options.prompt + beam['text']!r}")
    return 0


def _batch(packed: Packed, options: Generate) -> int:
    from weightless.decode.answers import answered

    try:
        prompts = text_lines(Path(options.prompts).read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise WeightlessError(f"{options.prompts} cannot be read as a file of prompts ({error})") from None
    if not prompts:
        raise WeightlessError(f"{options.prompts} holds no prompt: one line is one prompt")
    for prompt, text in zip(prompts, answered(packed, prompts, _sampling(options), options.batch)):
        print(json_line({"prompt": prompt, "text": text}) if options.json else prompt + text + "\n")
    return 0
