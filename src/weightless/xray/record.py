"""The X-ray of a text: what every token of it cost and how likely it was, as plain data.  Floor 9.

    record(model, text)    {"version", "model", "tensors", "operators", "components", "touches", "tokens", "totals"}

A token is fed and the next one scored (mode S of docs/bytes.md) by the compiled engine that logs every load and store.
The bytes of a token are what that log holds, reduced twice: by `program/log_reduction.py` to T, U and lines per
component, and here to the stretches of every tensor.  Where the two disagree nothing is shown.  Probabilities of other
tokens, rank and entropy come from a second engine without a log, which is fed the same tokens, so that asking for them
costs no token a byte.

nats = -ln p of the token as it was scored; bits = nats / ln 2; entropy in bits; rank 1 is the likeliest token.
Errors: ConfigError for a text without tokens, a limit below 1, a number of alternatives below 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.progress import progress
from weightless.base.units import LN2
from weightless.export.hub_artifact import name_in_cache
from weightless.export.packed import Packed, open_packed
from weightless.program.cost import n_parameters
from weightless.program.engine import Engine
from weightless.program.log_reduction import T64, T, U
from weightless.program.logged_engine import LoggedEngine
from weightless.program.program import Program
from weightless.program.tensor import LINE
from weightless.xray.reasons import REASONS
from weightless.xray.touches import Touches

VERSION = 1
TOP, LIMIT = 5, 512
ARTIFACT = "model.wl"


class Runs(Protocol):
    """What an X-ray needs of a model: a `Packed`, or a program with weights."""

    @property
    def program(self) -> Program: ...
    def engine(self) -> Engine: ...
    def logged_engine(self) -> LoggedEngine: ...


class Written(NamedTuple):
    """How a token is shown, and how many bytes of text it stands for."""

    text: str
    n_bytes: int


def record(
    model: Packed | str | Path, text: str | bytes, *, top: int = TOP, limit: int = LIMIT, name: str = ""
) -> dict[str, Any]:
    """X-ray of the first `limit` tokens of a text, at most the model's context, behind the token that ends texts.

    `top` alternatives are told for every token; `name` is how the model is called (else by its file).  What the limit
    leaves off is told in totals["left_off"].  The text means itself: names of special tokens in it are text.
    """
    packed = model if isinstance(model, Packed) else open_packed(model)
    ids = packed.tokenizer.encode_ordinary_array(text).astype(np.int64)
    end = packed.tokenizer.end_of_text
    tokens = ids if end is None else np.concatenate([[end], ids])
    if len(tokens) < 2:
        raise ConfigError("the text is too short: give at least one word, so that there is a token to predict")
    n = min(len(tokens) - 1, _at_least("limit", limit, 1), packed.program.context)
    told = of_tokens(packed, tokens[: n + 1], _writer(packed), top)
    told["totals"]["left_off"] = len(tokens) - 1 - n
    about = {"name": name or name_of(packed), "family": packed.family, **told["model"]}
    return {**told, "model": {**about, "file_bytes": packed.stored_bytes()["file"]}}


def name_of(packed: Packed) -> str:
    """A model is called as its file is, or as the folder that a run made for it; never by a whole path."""
    path = Path(packed.artifact.path)
    if on_hub := name_in_cache(path):
        return on_hub
    return (path.resolve().parent.name or path.stem) if path.name == ARTIFACT else path.stem


def of_tokens(
    runs: Runs, tokens: np.ndarray, written: Callable[[int], Written] | None = None, top: int = TOP
) -> dict[str, Any]:
    """X-ray of tokens[1:], each predicted from all before it; `written` says how a token is shown (else by number)."""
    _at_least("top", top, 0)
    tokens, program = np.asarray(tokens, np.int64), runs.program
    touches = Touches([tensor.name for tensor in program.tensors])
    shown = written or (lambda token: Written(f"#{token}", 0))
    steps = list(_steps(runs, tokens, touches, shown, top))
    stored = sum(tensor.nbytes for tensor in program.stored())
    return {
        "version": VERSION,
        "model": {
            "parameters": n_parameters(program),
            "vocab_size": program.vocab_size,
            "context": program.context,
            "stored": stored,
            "state": sum(tensor.nbytes for tensor in program.tensors if tensor.kind == "state"),
        },
        "line": LINE,
        "components": list(dict.fromkeys(tensor.component for tensor in program.tensors)),
        "tensors": _tensors(program),
        "operators": _operators(program),
        "touches": touches.found,
        "first": shown(int(tokens[0])).text,
        "tokens": steps,
        "totals": _totals(steps),
    }


def _steps(
    runs: Runs, tokens: np.ndarray, touches: Touches, shown: Callable[[int], Written], top: int
) -> Iterator[dict[str, Any]]:
    """One entry per predicted token."""
    logged, plain, begins = runs.logged_engine(), runs.engine(), 0
    with progress("X-ray", len(tokens) - 1, "tokens") as tick:
        for token, target in zip(tokens[:-1].tolist(), tokens[1:].tolist()):
            logged.feed(token)
            path = logged.path
            nats = float(logged.score(target))
            plain.feed(token)
            piece = shown(target)
            yield {
                "id": target,
                "text": piece.text,
                "at": begins,
                "bytes": piece.n_bytes,
                **_odds(plain.distribution().astype(np.float64), target, nats, shown, top),
                **_touched(logged, path, touches),
            }
            begins += piece.n_bytes
            tick()


def _odds(p_V: np.ndarray, target: int, nats: float, shown: Callable[[int], Written], top: int) -> dict[str, Any]:
    """How likely the token was, and which ones were likelier."""
    likely = np.argsort(-p_V, kind="stable")[:top].tolist()
    some = p_V[p_V > 0]
    return {
        "p": math.exp(-nats),
        "nats": nats,
        "bits": nats / LN2,
        "rank": 1 + int((p_V > p_V[target]).sum()),
        "entropy": max(0.0, float(-(some * np.log2(some)).sum())),
        "top": [{"text": shown(i).text, "p": float(p_V[i])} for i in likely],
    }


def _touched(engine: LoggedEngine, path: int, touches: Touches) -> dict[str, Any]:
    """The bytes since the last feed, by component and by operator; WeightlessError when two reductions disagree."""
    program, counts = engine.program, engine.touched_since_feed("score")
    n_body = len(program.body)
    ran = [*program.flow.taken(path), *range(n_body, n_body + len(program.heads["score"]))]
    numbers = [touches.number_of(i, accesses) for i, (_, accesses, _) in zip(ran, engine.steps, strict=True)]
    _check(program, engine.components, counts, [touches.found[i] for i in numbers])
    total = counts.sum(axis=0).tolist()
    named = zip(engine.components, counts.tolist(), strict=True)
    return {
        "T": total[T],
        "U": total[U],
        "lines": total[T64] // LINE,
        "components": {name: {"T": of[T], "U": of[U], "lines": of[T64] // LINE} for name, of in named if any(of)},
        "touches": numbers,
    }


def _check(program: Program, components: Sequence[str], counts: np.ndarray, found: Sequence[dict[str, Any]]) -> None:
    mine = np.zeros((len(components), 2), np.int64)
    for touch in found:
        for part in touch["tensors"]:
            component = components.index(program.tensors[part["tensor"]].component)
            mine[component] += part["read"] + part["written"], part["lines"] * LINE
    if not np.array_equal(mine, counts[:, [T, T64]]):
        raise WeightlessError("the map and the ledger of one token disagree about its bytes: a defect of weightless")


def _tensors(program: Program) -> list[dict[str, Any]]:
    """Every tensor; `kept` is state that later tokens read, the rest of the state is activations."""
    kept = {name for op in program.operators("score") for name in op.kept()}
    return [
        {
            "name": tensor.name,
            "component": tensor.component,
            "kind": tensor.kind,
            "kept": tensor.name in kept,
            "format": tensor.format,
            "shape": list(tensor.shape),
            "rows": tensor.shape[0],
            "bytes": tensor.nbytes,
            "row_bytes": tensor.row_bytes,
            "row_stride": tensor.row_stride,
        }
        for tensor in program.tensors
    ]


def _operators(program: Program) -> list[dict[str, str]]:
    n_body = len(program.body)
    return [
        {"name": op.name, "part": "body" if i < n_body else "head", "why": REASONS.get(op.name, "")}
        for i, op in enumerate(program.operators("score"))
    ]


def _totals(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the tokens; bits per byte where there is text."""
    sums = {name: sum(step[name] for step in steps) for name in ("T", "U", "lines", "bytes", "nats", "bits")}
    per_byte = sums["bits"] / sums["bytes"] if sums["bytes"] else None
    return {"tokens": len(steps), **sums, "bits_per_byte": per_byte, "left_off": 0}


def _writer(packed: Packed) -> Callable[[int], Written]:
    """Its text; bytes that are no text by themselves in hexadecimal."""
    tokenizer, kept = packed.tokenizer, dict[int, Written]()

    def written(token: int) -> Written:
        if token not in kept:
            piece = tokenizer.decode_bytes([token])
            kept[token] = Written(_text(piece), 0 if token == tokenizer.end_of_text else len(piece))
        return kept[token]

    return written


def _text(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return f"‹{piece.hex(' ')}›"


def _at_least(name: str, value: int, least: int) -> int:
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} = {value!r} should be a whole number of at least {least}")
    return value
