"""What /v1/completions takes: one table, from which requests are checked and which docs/serve.md shows.  Floor 10.

null is the default, everywhere, as in OpenAI's own.  What the engine cannot do (penalties by counts, suffixes, biases)
may be sent with the value that changes nothing, and is refused by name with any other.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from weightless.decode.sampling import Sampling
from weightless.serve.refusals import Refusal, refuse_unknown, shown

MOST_STOPS, LONGEST_STOP = 16, 256
MOST_LOGPROBS = 20
MOST_CHOICES = 128
SEEDS = 2**63


class Parameter(NamedTuple):
    """How a parameter is read, what null stands for, what it may be, and what it does."""

    read: Callable[[str, Any], Any]
    default: Any
    may_be: str
    does: str


@dataclass(frozen=True)
class Completion:
    """A request that has been checked; `prompts` are texts or ids, one answer of `n` choices each."""

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    sampling: Sampling
    n: int
    logprobs: int | None
    echo: bool
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class Whole:
    """Reads a whole number from `least` to `most`."""

    least: int
    most: float

    def __call__(self, name: str, value: Any) -> int:
        if type(value) is not int:
            raise _wrong(name, value, "a whole number")
        return _between(name, value, self.least, self.most)


@dataclass(frozen=True)
class Number:
    """Reads a number from `least` to `most`; `without` is an end that does not belong to it."""

    least: float
    most: float
    without: float | None = None

    def __call__(self, name: str, value: Any) -> float:
        if type(value) not in (int, float):
            raise _wrong(name, value, "a number")
        _between(name, value, self.least, self.most)
        if value == self.without:
            raise _outside(name, value, self.least, self.most)
        return float(value)


@dataclass(frozen=True)
class Only:
    """What is not built in may be sent with the value that asks for nothing."""

    neutral: Any

    def __call__(self, name: str, value: Any) -> None:
        kinds = (int, float) if isinstance(self.neutral, int) else (type(self.neutral),)
        if type(value) not in kinds or value != self.neutral:
            told = f"{name} is not supported: leave it out, or send {json.dumps(self.neutral)}"
            raise Refusal(400, told, param=name)


def _between(name: str, value: Any, least: float, most: float) -> Any:
    if not least <= value <= most:
        raise _outside(name, value, least, most)
    return value


def _outside(name: str, value: Any, least: float, most: float) -> Refusal:
    room = f"between {least:g} and {most:g}" if most < SEEDS - 1 else "of at most 63 bits"
    return Refusal(400, f"{name} = {shown(value)} should be a number {room}", param=name)


def _wrong(name: str, value: Any, wanted: str) -> Refusal:
    return Refusal(400, f"{name} should be {wanted}, not {shown(value)}", param=name)


def _switch(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(name, value, "true or false")
    return value


def read_text(name: str, value: Any) -> str:
    """A string that can be written as UTF-8; Refusal for anything else."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(400, f"{name} holds half of a surrogate pair, which is no text", param=name) from None
    return value


def _stop(name: str, value: Any) -> tuple[str, ...]:
    stops = tuple(read_text(name, stop) for stop in ([value] if isinstance(value, str) else _list(name, value)))
    if len(stops) > MOST_STOPS or any(not 0 < len(stop) <= LONGEST_STOP for stop in stops):
        told = f"at most {MOST_STOPS} strings of 1 to {LONGEST_STOP} characters"
        raise Refusal(400, f"{name} should be {told}; an empty one would end every text at once", param=name)
    return stops


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, value, "a string or a list")
    return value


_FORMS = "should be a string, a list of strings, token ids, or a list of lists of ids"


def _prompts(name: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    """A string, a list of strings, the ids of one text, or a list of such."""
    if isinstance(value, str):
        return (read_text(name, value),)
    items = _list(name, value)
    if not items:
        raise Refusal(400, "prompt is an empty list: give at least one text; an empty string begins a document", name)
    if all(type(item) is int for item in items):
        return (tuple(items),)
    for item in sorted(items, key=lambda item: type(item) is int):  # beside ids the odd one is named
        is_ids = isinstance(item, list) and all(type(token) is int for token in item)
        if not isinstance(item, str) and not is_ids:
            raise Refusal(400, f"prompt {_FORMS}, and {shown(item)} is among its items", param=name)
    return tuple(read_text(name, item) if isinstance(item, str) else tuple(item) for item in items)


def _stream_options(name: str, value: Any) -> bool:
    if not isinstance(value, dict):
        raise _wrong(name, value, 'an object such as {"include_usage": true}')
    refuse_unknown(value, {"include_usage"})
    return _switch(f"{name}.include_usage", value.get("include_usage", False))


TABLE: dict[str, Parameter] = {
    "model": Parameter(read_text, None, "a name that `/v1/models` lists; required", "which model answers"),
    "prompt": Parameter(_prompts, None, "a string, a list of strings, token ids, a list of such; required", "the text"),
    "max_tokens": Parameter(Whole(0, math.inf), 16, "0 to `--most_tokens`", "tokens to write at most"),
    "temperature": Parameter(Number(0, 100, without=100), 1.0, "0 to below 100", "0 takes the likeliest token"),
    "top_p": Parameter(Number(0, 1, without=0), 1.0, "above 0, to 1", "draw from this share of the probability"),
    "top_k": Parameter(Whole(0, SEEDS - 1), 0, "0 (all) or a number", "draw from the k most probable tokens"),
    "min_p": Parameter(Number(0, 1), 0.0, "0 to 1", "draw from tokens of at least this share of the best one's"),
    "repetition_penalty": Parameter(
        Number(0, 1e6, without=0), 1.0, "above 0; 1 changes nothing", "above 1, tokens that occurred lose"
    ),
    "stop": Parameter(_stop, (), "a string, or up to 16 of 1 to 256 characters", "end before any of these"),
    "ignore_eos": Parameter(_switch, False, "true or false", "go on after the token that ends a text"),
    "seed": Parameter(Whole(-SEEDS, SEEDS - 1), None, "a whole number of 63 bits", "decides what is drawn"),
    "n": Parameter(Whole(1, MOST_CHOICES), 1, f"1 to {MOST_CHOICES}", "choices per prompt; choice k has seed + k"),
    "logprobs": Parameter(
        Whole(0, MOST_LOGPROBS), None, f"0 to {MOST_LOGPROBS}", "log-probabilities, and so many of the likeliest"
    ),
    "echo": Parameter(_switch, False, "true or false", "the prompt stands before the text, and in the logprobs"),
    "stream": Parameter(_switch, False, "true or false", "server-sent events, one per token"),
    "stream_options": Parameter(_stream_options, False, '{"include_usage": true}', "a last event with the usage"),
    "user": Parameter(read_text, None, "a string", "nothing: it is neither kept nor used"),
    "presence_penalty": Parameter(Only(0), None, "0", "not supported"),
    "frequency_penalty": Parameter(Only(0), None, "0", "not supported"),
    "logit_bias": Parameter(Only({}), None, "{}", "not supported"),
    "best_of": Parameter(Only(1), None, "1", "not supported"),
    "suffix": Parameter(Only(""), None, '""', "not supported"),
}
REQUIRED = ("model", "prompt")


def read_completion(values: dict[str, Any], most_tokens: int) -> Completion:
    """The request that a JSON object asks for; Refusal (400) naming the parameter that cannot be."""
    refuse_unknown(values, set(TABLE))
    for name in REQUIRED:
        if values.get(name) is None:
            raise Refusal(400, f"{name} is missing: it should be {TABLE[name].may_be}", param=name)
    given = {
        name: parameter.default if values.get(name) is None else parameter.read(name, values[name])
        for name, parameter in TABLE.items()
    }
    if given["max_tokens"] > most_tokens:
        told = f"max_tokens = {shown(given['max_tokens'])}, this server writes at most {most_tokens}"
        raise Refusal(400, told, param="max_tokens")
    if values.get("stream_options") is not None and not given["stream"]:
        raise Refusal(400, "stream_options means nothing without stream: true", param="stream_options")
    return Completion(
        given["model"],
        given["prompt"],
        _sampling(given),
        *(given[name] for name in ("n", "logprobs", "echo", "stream")),
        include_usage=given["stream_options"],
    )


def _sampling(given: dict[str, Any]) -> Sampling:
    seed = secrets.randbits(31) if given["seed"] is None else given["seed"]
    numbers = {name: given[name] for name in ("temperature", "top_p", "max_tokens", "top_k", "min_p")}
    rest = {"repetition_penalty": given["repetition_penalty"], "stop": given["stop"]}
    return Sampling(seed=seed, stop_at_end=not given["ignore_eos"], **numbers, **rest)
