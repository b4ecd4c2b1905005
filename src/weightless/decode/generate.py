"""Continue a prompt, one token at a time, from an artifact.

Two ways to draw, with different costs (docs/bytes.md):

    mode S   the model's own distribution through its `sample` head: touches what scoring touches.  It is used when
             nothing bends the distribution (sampling.py).
    mode F   all V probabilities, then penalty, temperature and cuts, exactly.

When the context is full, the second half of it is fed again and generation goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for
from weightless.decode.prefill import Prefill
from weightless.decode.sampling import Sampling, StopStrings, adjusted, draw
from weightless.export.packed import Packed
from weightless.program.cost import fixed_bytes, is_exact, touched_by_formula
from weightless.program.engine import Engine
from weightless.program.program import Program

Cost = tuple[int, int, int]
"""Of one draw: its position, the bytes touched where the data decides the cost, the exits taken."""

__all__ = [
    "Sampling",
    "adjusted",
    "continuation",
    "document_ids",
    "end_ids",
    "generate",
    "next_token",
    "prompt_ids",
    "text_stream",
    "token_stream",
]


def prompt_ids(packed: Packed, prompt: str) -> list[int]:
    """The ids of a prompt.  Bytes that are no UTF-8 reach Python as lone surrogates (PEP 383): they are bytes again."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeEncodeError):  # a surrogate that stands for no byte is encoded as U+FFFD
            return list(packed.tokenizer.encode(prompt.encode("utf-8", "surrogateescape")))
    return list(packed.tokenizer.encode(prompt))


def next_token(engine: Engine, sampling: Sampling, rng: np.random.Generator, seen: list[int] | None = None) -> int:
    """Draw one token after what was fed; `seen` matters to a repetition penalty only."""
    if sampling.mode == "sample":
        return engine.sample(rng.random(engine.program.n_uniforms))
    return draw(sampling.distribution(engine.distribution(), seen or []), rng.random())


def end_ids(packed: Packed) -> frozenset[int]:
    """Tokens that end a text: the mark before every document, and what an imported model's own configuration names."""
    mark = packed.tokenizer.end_of_text
    return frozenset(packed.imported_ends if mark is None else (mark, *packed.imported_ends))


def token_stream(
    packed: Packed,
    prompt: list[int],
    sampling: Sampling,
    costs: list[Cost] | None = None,
    path: str = "auto",
) -> Iterator[int]:
    """The tokens that follow `prompt`; ends after max_tokens, or before a token that ends a text.

    `costs` receives (position, bytes touched where the data decides the cost, exits taken) of every draw.  `path` says
    how the prompt is fed (`prefill.py`).
    """
    engine = packed.engine()
    text = document_ids(packed, prompt)
    ends = end_ids(packed) if sampling.stop_at_end else ()
    turns = continuation(engine, Prefill(engine, path), text, sampling, ends, costs)
    return (token for token in turns if token is not None)


def document_ids(packed: Packed, prompt: Sequence[int]) -> list[int]:
    """What is fed for a prompt: the mark that a document begins with, where there is one, and the prompt."""
    mark = packed.tokenizer.end_of_text
    return [*([] if mark is None else [mark]), *prompt]


def continuation(
    engine: Engine,
    prefill: Prefill,
    text: Sequence[int],
    sampling: Sampling,
    ends: Collection[int] = (),
    costs: list[Cost] | None = None,
) -> Generator[int | None, None, int | None]:
    """A text continued in turns: None when a piece of it was fed, else the next token.

    Returns the token of `ends` that was drawn at last, or None after max_tokens.

    Whoever holds several of these, each over an engine of its own, may go round among them: what one draws does not
    depend on the others.  `text` begins with what begins a document; `costs` as in `token_stream`.
    """
    if not text:
        raise ConfigError("nothing to continue: this model has no mark that begins a text, so give at least one token")
    context, rng = engine.program.context, rng_for(sampling.seed, "generate")
    ends = ends if sampling.stop_at_end else ()
    history = list(text)
    for _ in prefill.pieces(history if len(history) <= context else history[-max(1, context // 2) :]):
        yield None
    for made in range(1, sampling.max_tokens + 1):
        decided = 0 if costs is None else engine.decided_bytes()
        token = next_token(engine, sampling, rng, history)
        if costs is not None:
            costs.append((engine.position, decided + engine.decided_bytes(), engine.path))
        if token in ends:
            return token
        yield token
        history.append(token)
        if made == sampling.max_tokens:
            break
        if engine.position == context:
            for _ in prefill.pieces(history[-(context // 2 + 1) : -1]):
                yield None
        engine.feed(token)
    return None


def text_stream(packed: Packed, tokens: Iterator[int], sampling: Sampling) -> Iterator[tuple[int, str]]:
    """(token, text that became certain with it); whole characters only, ends before a stop string."""
    decoder, stops = packed.tokenizer.stream_decoder(), StopStrings(sampling.stop)
    for token in tokens:
        yield token, stops.push(decoder.push(token))
        if stops.stopped:
            return
    yield -1, stops.push(decoder.finish()) + stops.finish()


def generate(packed: Packed, prompt: str, sampling: Sampling, path: str = "auto") -> dict[str, Any]:
    """{"prompt", "text", …}: the continuation as text, with how it was drawn and what a token cost."""
    costs: list[Cost] = []
    stream = token_stream(packed, prompt_ids(packed, prompt), sampling, costs, path)
    pieces = list(text_stream(packed, stream, sampling))
    return {
        "prompt": prompt,
        "text": "".join(text for _, text in pieces),
        "n_tokens": sum(token >= 0 for token, _ in pieces),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "mode": "S" if sampling.mode == "sample" else "F",
        "bytes_per_token": mean_cost(packed.program, sampling.mode, costs),
    }


def mean_cost(program: Program, head: str, costs: list[Cost]) -> float:
    """Bytes touched per token: by formula over the headline's positions, or, where the text decides, at those drawn.

    `costs` = (position, bytes that the engine counted in operators whose cost the text decides, exits) of every token.
    """
    if is_exact(program) or not costs:
        return touched_by_formula(program, head).T.mean
    positions, decided, paths = np.array(costs).T
    fixed = fixed_bytes(program, head, positions, paths)
    return float(decided.mean() + sum(column.mean() for column in fixed.values()))
