"""What lm-eval hands over, checked: the arguments of a model, and how a task wants its texts drawn.  Floor 10."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from weightless.base.cores import cores
from weightless.base.errors import ConfigError, nearest
from weightless.decode.sampling import Sampling

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names for one thing, in the order in which lm-eval's own models prefer them."""
CUTS = ("top_p", "top_k", "min_p", "repetition_penalty")
NOTHING = {"num_beams": 1, "num_return_sequences": 1, "length_penalty": 1.0, "use_cache": True}
"""What tasks write down although it is the default, and what it has to be."""
KNOWN = ("until", "do_sample", "temperature", "seed", *LENGTHS, *CUTS, *NOTHING)


@dataclass(frozen=True)
class Settings:
    """Of one model: the artifact, the length and seed of texts, how and on how many threads it is scored."""

    path: str
    max_gen_toks: int = 256
    seed: int = 0
    scoring: str = "auto"
    threads: int = field(default_factory=cores)

    @staticmethod
    def of(given: Mapping[str, Any]) -> Settings:
        """From `--model_args` and what lm-eval adds; ConfigError for a name or a value that means nothing here."""
        values = {name: value for name, value in given.items() if value is not None}
        _check_sizes(values.pop("batch_size", "auto"), values.pop("max_batch_size", 1))
        values.pop("device", None)  # "cuda:0" is what lm-eval says where nobody has named one
        names = [part.name for part in fields(Settings)]
        for name in values:
            if name not in names:
                raise ConfigError(f"--model_args: no option {name!r}, {nearest(name, names)}")
        if "path" not in values:
            raise ConfigError("--model_args: which model? give path=model.wl")
        for name in ("max_gen_toks", "seed", "threads"):
            if name in values:
                values[name] = whole(name, values[name], least=1 if name == "threads" else 0)
        return Settings(**{**values, "path": str(values["path"])})


def sampling_of(wanted: Mapping[str, Any], settings: Settings) -> Sampling:
    """How a text is drawn, from a task's generation_kwargs; ConfigError for what the engine cannot do.

    As lm-eval's models read them: without `do_sample` or with it false the likeliest token is taken, unless
    `temperature` alone is above 0; a temperature of 0 takes the likeliest token, whatever else is asked.
    """
    for name, value in wanted.items():
        if name not in KNOWN:
            raise ConfigError(f"generation_kwargs: no setting {name!r}, {nearest(name, KNOWN)}")
        if name in NOTHING and value is not None and value != NOTHING[name]:
            raise ConfigError(f"generation_kwargs: {name} can only be {NOTHING[name]}, not {value!r}")
    given = {name: value for name, value in wanted.items() if value is not None}
    lengths = [given[name] for name in LENGTHS if name in given]
    temperature = 0.0 if given.get("do_sample") is False else number("temperature", given.get("temperature", 0.0))
    cuts = {name: number(name, given[name]) for name in CUTS if name in given}
    if "top_k" in cuts:
        cuts["top_k"] = whole("top_k", given["top_k"])
    return Sampling(
        temperature=temperature,
        seed=whole("seed", given.get("seed", settings.seed)),
        max_tokens=whole("max_gen_toks", lengths[0]) if lengths else settings.max_gen_toks,
        stop=_stops(given.get("until", ())),
        **{"top_p": 1.0, **cuts},  # type: ignore[arg-type]
    )


def whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number, also as text; ConfigError naming what it was for."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        value = int(value)
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} should be a whole number of at least {least}, not {value!r}")
    return value


def number(name: str, value: Any) -> float:
    """Any number; ConfigError naming what it was for."""
    if type(value) not in (int, float):
        raise ConfigError(f"generation_kwargs: {name} should be a number, not {value!r}")
    return float(value)


def _stops(until: Any) -> tuple[str, ...]:
    found = (until,) if isinstance(until, str) else tuple(until)
    if wrong := [stop for stop in found if not isinstance(stop, str)]:
        raise ConfigError(f"generation_kwargs: until holds {wrong[0]!r}, and a stop is a string")
    return tuple(stop for stop in found if stop)


def _check_sizes(batch_size: Any, most: Any) -> None:
    """There are no batches, so any size of one will do."""
    for name, size in (("batch_size", batch_size), ("max_batch_size", most)):
        if not re.fullmatch(r"auto(:\d+(\.\d+)?)?|[1-9]\d*", str(size)):
            raise ConfigError(f"{name} should be a positive number or auto (it changes nothing here), not {size!r}")
