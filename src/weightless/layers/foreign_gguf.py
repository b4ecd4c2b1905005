"""How a family is written for llama.cpp: the keys of a GGUF file, and the names of its tensors.

A family that llama.cpp runs, too, declares one `InGguf` beside its `Config`: tables that are used in both directions.

llama.cpp knows the families by their architecture.  Rotary pairs of `llama` are (2j, 2j + 1) there and (j, j + K/2)
here, so the rows of queries and keys change places in every head (`turned`); those of `qwen3` are as here.  A stretch
of rotary positions is a tensor of divisors there (`ROPE_FREQS`).

A key of the architecture that is neither translated nor known to change nothing is refused by name.
Errors: ConfigError, one line that says which key of which file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, nearest
from weightless.layers.foreign import Stacked, stacked
from weightless.ops.rope import UNSTRETCHED, Stretch, half_split_order, stretched
from weightless.program.tensor import Parameter

ROPE_FREQS = "rope_freqs.weight"
USUAL_STRETCHES = (Stretch(8.0, 1.0, 4.0, 8192), Stretch(32.0, 1.0, 4.0, 8192))
"""Of Llama 3.1 and 3.2: the tensor of divisors does not say which numbers it was made of, so they are tried."""
FACTOR_ERROR = 1e-6
ARCHITECTURE = "general.architecture"
SHAPE_GGUF_KEYS = {
    "context_length": "context",
    "embedding_length": "d_model",
    "block_count": "n_layers",
    "feed_forward_length": "d_ff",
    "attention.head_count": "n_heads",
    "attention.head_count_kv": "n_kv_heads",
}
"""What every architecture says of its shape."""
GATED_GGUF_KEYS = {
    **SHAPE_GGUF_KEYS,
    "attention.key_length": "d_head",
    "attention.value_length": "d_head",
    "attention.layer_norm_rms_epsilon": "eps",
    "rope.dimension_count": "d_head",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
GATED_GGUF_NAMES = {
    "attn_norm": "attn_norm.weight",
    "qkv": "attn_{q,k,v}.weight",
    "qkv_bias": "attn_{q,k,v}.bias",
    "out": "attn_output.weight",
    "out_bias": "attn_output.bias",
    "ffn_norm": "ffn_norm.weight",
    "up": "ffn_{gate,up}.weight",
    "down": "ffn_down.weight",
}
GGUF_ENDS = {"embed": "token_embd.weight", "final_norm": "output_norm.weight", "head": "output.weight"}
"""What the keys and tensors of Llama and of those that follow it have in common."""
USUAL_THETA = 10_000.0


@dataclass(frozen=True)
class InGguf:
    """One family as llama.cpp has it.

    keys      their key, behind the architecture's name -> our field, one field perhaps for several of them
    fixed     their key -> values computed here         told      our field -> the tensor whose presence says it is true
    ends      our tensor outside of blocks -> theirs    block     our tensor of a block -> theirs, as in `Foreign`
    turned    which of ours hold queries and keys whose rows change places
    lacks     our fields that llama.cpp has no place for -> the only value that can be written
    """

    architecture: str
    keys: Mapping[str, str]
    block: Mapping[str, str]
    ends: Mapping[str, str] = field(default_factory=lambda: GGUF_ENDS)
    at: str = "blk.*."
    transposed: tuple[str, ...] = ()
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    turned: tuple[str, ...] = ()
    lacks: Mapping[str, Any] = field(default_factory=dict)

    def stacked(self, config: Any, parameters: Iterable[Parameter]) -> list[Stacked]:
        """The table for the parameters of one configuration."""
        return stacked(self, config, parameters)

    def keys_of(self, config: Any) -> dict[str, Any]:
        """The keys of a Config of ours; ConfigError for one that llama.cpp would overlook."""
        for name, only in {"exit_after": (), "window_cache": 0, **self.lacks}.items():
            if getattr(config, name) != only:
                told = f"{name} = {getattr(config, name)!s:.40}"
                raise ConfigError(f"{told}: llama.cpp's {self.architecture} has no such thing; it cannot be written")
        values = {key: _of_config(config, name) for key, name in self.keys.items()}
        return {ARCHITECTURE: self.architecture, **{f"{self.architecture}.{k}": v for k, v in values.items()}}

    def config_of(
        self, Config: Any, given: Mapping[str, Any], tensors: Mapping[str, Any], where: str, **ours: Any
    ) -> Any:
        """Our Config for the keys and tensors {name: shape} of a file."""
        values = self._values(given, tensors, where)
        flags = {name: theirs in tensors for name, theirs in self.told.items()}
        flags["tied"] = self.ends["head"] not in tensors
        known = Config.__dataclass_fields__
        made = {name: value for name, value in {**values, **flags, **ours}.items() if name in known}
        try:
            config = from_dict(Config, made)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        for name, value in values.items():
            if _of_config(config, name) != value:
                told = f"{name} = {value!r:.40} where the others give {_of_config(config, name)!r:.40}"
                raise ConfigError(f"{where}: {told}: no {self.architecture} of llama.cpp has that here")
        if hasattr(Config, "hidden") and replace(config, d_ff=0).hidden == config.hidden:
            return replace(config, d_ff=0)
        return config

    def _values(self, given: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> dict[str, Any]:
        """{our field: value}, with what llama.cpp takes for keys that are absent."""
        self._check_keys(given, where)
        values: dict[str, Any] = {}
        for key, name in self.keys.items():
            value = given.get(f"{self.architecture}.{key}")
            if value is None:
                continue
            wanted = float if name in ("eps", "rope_theta") else int
            if type(value) is not wanted:
                raise ConfigError(f"{where}: {self.architecture}.{key} = {value!r:.60} should be one {wanted.__name__}")
            value = shortest(value) if wanted is float else value
            if values.setdefault(name, value) != value:
                raise ConfigError(
                    f"{where}: {self.architecture}.{key} = {value!r}, and another key gives {name} as {values[name]!r}"
                )
        embed = tensors.get(self.ends["embed"])
        if embed is not None and len(embed) == 2:
            values.setdefault("vocab_size", embed[0])
        return self._completed(values, where)

    def _completed(self, values: dict[str, Any], where: str) -> dict[str, Any]:
        names = set(self.keys.values())
        heads, width = values.get("n_heads", 0), values.get("d_model", 0)
        usual = {"n_kv_heads": heads, "d_head": width // heads if heads else 0, "rope_theta": USUAL_THETA}
        for name in sorted(names - values.keys()):
            if name not in usual:
                key = next(key for key, ours in self.keys.items() if ours == name)
                raise ConfigError(f"{where} lacks {self.architecture}.{key}, a size of every such model")
            values[name] = usual[name]
        return values

    def _check_keys(self, given: Mapping[str, Any], where: str) -> None:
        begin = f"{self.architecture}."
        for key, value in given.items():
            if not key.startswith(begin) or key[len(begin) :] in self.keys:
                continue
            only = self.fixed.get(key[len(begin) :])
            if only is None:
                hint = nearest(key[len(begin) :], self.keys)
                raise ConfigError(
                    f"{where} has a key {key!r:.80} that is not known here ({hint}): it may change the model"
                )
            if not any(type(value) is type(one) and value == one for one in only):
                raise ConfigError(f"{where}: {key} = {value!r:.60} is not supported, only {only[0]!r}")


def _of_config(config: Any, name: str) -> Any:
    """A value of a configuration; where d_ff 0 means "as suits d_model", what that comes to."""
    return config.hidden if name == "d_ff" and hasattr(type(config), "hidden") else getattr(config, name)


def shortest(value: float) -> float:
    """The shortest decimal that a float of 32 bits may have been: 1e-06 for 9.999999974752427e-07."""
    return float(str(np.float32(value)))


def order_of(theirs: bool, n_heads: int, d_head: int) -> np.ndarray:
    """Which row of ours stands at each place of theirs (`theirs`), or of theirs at each of ours: pairs apart, side by
    side."""
    inner = half_split_order(d_head)
    inner = np.argsort(inner) if theirs else inner
    return (np.arange(n_heads)[:, None] * d_head + inner).reshape(-1)


def rope_divisors(d_head: int, theta: float, stretch: Stretch) -> np.ndarray:
    """What llama.cpp divides every pair's angle by, float32 [K/2]."""
    frequency_J = float(theta) ** (-2.0 * np.arange(d_head // 2) / d_head)
    return (frequency_J / stretched(frequency_J, stretch)).astype(np.float32)


def stretch_of(divisors_J: np.ndarray, d_head: int, theta: float, hints: Iterable[Stretch]) -> Stretch | None:
    """The stretch that gives these divisors: none, one of `hints`, or one that is usual; None for another."""
    for stretch in (UNSTRETCHED, *hints, *USUAL_STRETCHES):
        wanted_J = rope_divisors(d_head, theta, stretch)
        if divisors_J.shape == wanted_J.shape and np.allclose(divisors_J, wanted_J, rtol=FACTOR_ERROR, atol=0):
            return stretch
    return None
