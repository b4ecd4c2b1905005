"""How a family is written elsewhere: the keys of its configuration, and the names of its tensors.

A family that other people's software has, too, declares one `Foreign` beside its `Config`: tables that are used in both
directions, to read a folder of Hugging Face's and to write one.

A key that is neither translated, nor fixed at what this project computes, nor known to change nothing, is refused by
name: it might change what the model computes.  Errors: ConfigError, one line that says which key of which file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, nearest
from weightless.ops.attention import queries_per_kv_head
from weightless.ops.norm import check_eps
from weightless.program.program import MAX_CONTEXT, MAX_VOCAB, check_layers
from weightless.program.tensor import Parameter

ROPE, THETA = ("rope_parameters", "rope_scaling"), "rope_theta"
STRETCHED = "llama3"
STRETCH_KEYS = {
    "factor": "rope_stretch",
    "low_freq_factor": "rope_low",
    "high_freq_factor": "rope_high",
    "original_max_position_embeddings": "rope_learned",
}
"""Their scaling of rotary positions that is computed here, and our fields for its numbers (`ops.rope.Stretch`)."""
USUAL_THETA = 10_000.0
LARGEST_WIDTH = 2**24
IDLE_EVERYWHERE = (
    "architectures model_type dtype torch_dtype transformers_version use_cache initializer_range bos_token_id "
    "eos_token_id pad_token_id sep_token_id decoder_start_token_id return_dict output_hidden_states output_attentions "
    "attention_dropout torchscript use_bfloat16 chunk_size_feed_forward id2label label2id problem_type "
    "task_specific_params tokenizer_class prefix finetuning_task name_or_path gradient_checkpointing max_length "
    "auto_map"
)
"""Keys of every configuration of Hugging Face's that say nothing about what a forward pass computes."""


GATED_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "head_dim": "d_head",
    "intermediate_size": "d_ff",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
    "rms_norm_eps": "eps",
    "attention_bias": "attention_bias",
}
GATED_NAMES = {
    "attn_norm": "input_layernorm.weight",
    "qkv": "self_attn.{q,k,v}_proj.weight",
    "qkv_bias": "self_attn.{q,k,v}_proj.bias",
    "out": "self_attn.o_proj.weight",
    "out_bias": "self_attn.o_proj.bias",
    "ffn_norm": "post_attention_layernorm.weight",
    "up": "mlp.{gate,up}_proj.weight",
    "down": "mlp.down_proj.weight",
}
GATED_ENDS = {"embed": "model.embed_tokens.weight", "final_norm": "model.norm.weight", "head": "lm_head.weight"}
"""What the configurations and tensors of Llama and of those that follow it have in common."""


class Stacked(NamedTuple):
    """Our tensor `ours` is theirs above each other, `rows` of each; vectors lie one behind the other.

    `transposed`: theirs is stored (inputs, outputs).
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True)
class Foreign:
    """One family as Hugging Face's `transformers` has it.

    keys         their key -> our field              fallbacks   what an absent (or null) key means: a value, or a
    fixed        their key -> values computed here               function of what is given
    idle         keys that change nothing here       skipped     how names of tensors end that hold no weights
    ends         our tensor outside of blocks -> theirs
    block        our tensor of a block -> theirs behind `at`, "{x,y}" for several from the top down; * is its number
    transposed   which of ours (by their last names) are stored (inputs, outputs)
    prefix       what stands before their names in some files and not in others
    rotary       whether there is a `rope_theta`, wherever it stands
    stretches    whether a scaling of the type llama3 is computed
    divided      whether they ask that the heads divide the width, whatever the width of a head is
    """

    model_type: str
    architecture: str
    keys: Mapping[str, str]
    fixed: Mapping[str, tuple[Any, ...]]
    ends: Mapping[str, str]
    at: str
    block: Mapping[str, str]
    fallbacks: Mapping[str, Any] = field(default_factory=dict)
    idle: str = ""
    skipped: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    prefix: str = ""
    rotary: bool = True
    divided: bool = False
    stretches: bool = False

    def config_of(self, Config: Any, given: Mapping[str, Any], where: str, **ours: Any) -> tuple[Any, list[str]]:
        """(our Config, what it leaves out of theirs: a scaling of rotary positions, by name)."""
        self._check_keys(given, where)
        values = {name: self._value(key, given, where) for key, name in self.keys.items()}
        left_out: list[str] = []
        if self.rotary:
            more, left_out = rope_of(given, where, self.stretches)
            values |= more
        try:
            return from_dict(Config, {**values, **ours}), left_out
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    def _value(self, key: str, given: Mapping[str, Any], where: str) -> Any:
        value = given.get(key)
        if value is not None:
            return value
        if key not in self.fallbacks:
            raise ConfigError(f"{where} lacks {key!r}, a size of every {self.model_type} model")
        fallback = self.fallbacks[key]
        return fallback(given) if callable(fallback) else fallback

    def _check_keys(self, given: Mapping[str, Any], where: str) -> None:
        if given.get("quantization_config"):
            raise ConfigError(
                f"{where} has a quantization_config: its weights are codes of another program; take the model that is "
                "not quantised, and give --weight_format int8, int4 or another"
            )
        idle = {*IDLE_EVERYWHERE.split(), *self.idle.split(), *((THETA, *ROPE) if self.rotary else ())}
        read = {*self.keys, *self.fixed}
        known = read | idle
        for key, value in given.items():
            each = value if key == "layer_types" and isinstance(value, list) else [value]
            if key in self.fixed and any(v not in self.fixed[key] for v in each):
                wanted = " or ".join(dict.fromkeys(repr(v) for v in self.fixed[key] if v is not None))
                raise ConfigError(f"{where}: {key} = {value!r:.60} is not supported, only {wanted or 'none'}")
            if key not in known and not key.startswith("_") and value not in (None, False):
                raise ConfigError(
                    f"{where} has a key {key!r:.60} that is not known of {self.model_type} ({nearest(key, read)}); it "
                    "may change what the model computes: take it out of a copy if it does not"
                )

    def keys_of(self, config: Any) -> dict[str, Any]:
        """The values of config.json for a Config of ours; ConfigError for one that they would refuse or overlook."""
        if config.exit_after:
            told = f"exit_after = {list(config.exit_after)!s:.40}"
            raise ConfigError(f"{told}: a {self.model_type} of transformers never leaves early; it cannot be written")
        if config.window_cache:
            told = f"window_cache = {config.window_cache}"
            raise ConfigError(f"{told}: a {self.model_type} of transformers has no window cache; it cannot be written")
        if self.divided and config.d_model % config.n_heads:
            told = f"d_model = {config.d_model} is no multiple of n_heads = {config.n_heads}"
            raise ConfigError(f"{told}, and transformers refuses such a {self.model_type}")
        out: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.model_type}
        values = {key: getattr(config, name) for key, name in self.keys.items()}
        out |= {key: None if type(value) is int and value == 0 else value for key, value in values.items()}
        if self.rotary:
            out |= {THETA: config.rope_theta, "rope_scaling": None}
        if self.stretches and config.rope_stretch != 1:
            numbers = {key: getattr(config, name) for key, name in STRETCH_KEYS.items()}
            out |= {"rope_scaling": {"rope_type": STRETCHED, **numbers}}
        return out | {key: values[0] for key, values in self.fixed.items() if values[0] is not None}

    def stacked(self, config: Any, parameters: Iterable[Parameter]) -> list[Stacked]:
        """The table for the parameters of one configuration."""
        return stacked(self, config, parameters)


class Named(Protocol):
    """A table of tensors' names: outside of blocks, and behind `at` (in which * is the block's number) in them."""

    @property
    def ends(self) -> Mapping[str, str]: ...
    @property
    def at(self) -> str: ...
    @property
    def block(self) -> Mapping[str, str]: ...
    @property
    def transposed(self) -> tuple[str, ...]: ...


def stacked(table: Named, config: Any, parameters: Iterable[Parameter]) -> list[Stacked]:
    """A table of names for the parameters of one configuration."""
    out = []
    for p in parameters:
        _, _, of_block = p.name.partition("block.")
        number, _, ours = of_block.partition(".")
        theirs = each_of(table.at.replace("*", number) + table.block[ours] if of_block else table.ends[p.name])
        rows = rows_of(config, len(theirs), max(p.shape) if p.group == "vector" else p.shape[0])
        out.append(Stacked(p.name, tuple(theirs), rows, ours in table.transposed))
    return out


def each_of(name: str) -> list[str]:
    """The names that "{x,y}" in a name stands for, or the name itself."""
    head, _, rest = name.partition("{")
    kinds, _, tail = rest.partition("}")
    return [head + kind + tail for kind in kinds.split(",")]


def rows_of(c: Any, parts: int, rows: int) -> tuple[int, ...]:
    """How many rows each part of a stacked tensor has: q, k and v; gate and up; or one part alone."""
    if parts == 3:
        return c.n_heads * c.d_head, c.n_kv_heads * c.d_head, c.n_kv_heads * c.d_head
    return (rows // parts,) * parts


def rope_of(given: Mapping[str, Any], where: str, stretches: bool = False) -> tuple[dict[str, Any], list[str]]:
    """(our fields, names of a scaling that none of them is): of rope_parameters, or of rope_theta and rope_scaling.

    `stretches`: a scaling of the type llama3 is among the fields.
    """
    theta, scaling, fields = given.get(THETA), [], {}
    for key in ROPE:
        part = given.get(key)
        if part is None:
            continue
        if not isinstance(part, dict):
            raise ConfigError(f"{where}: {key} should be an object, not {part!r:.60}")
        theta = part.get(THETA, theta)
        kind = part.get("rope_type", part.get("type", "default"))
        odd = sorted({str(name) for name in part} - {THETA, "rope_type", "type"})
        if stretches and kind == STRETCHED and set(odd) == set(STRETCH_KEYS):
            fields = {ours: part[key] for key, ours in STRETCH_KEYS.items()}
            continue
        if kind != "default" or odd:
            scaling.append(f"{key} of type {kind!s:.40}" + (f" ({', '.join(odd)!s:.120})" if odd else ""))
    return {"rope_theta": USUAL_THETA if theta is None else theta, **fields}, scaling


def width_of_head(given: Mapping[str, Any]) -> Any:
    """hidden_size / num_attention_heads, where a file says no head_dim; 0 where that cannot be."""
    hidden, heads = given.get("hidden_size"), given.get("num_attention_heads")
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else 0


def check_shape(c: Any, d_ff: int = 0) -> None:
    """What every Config of this kind must fulfil: sizes from 1, heads that share evenly, even widths of heads.

    `d_ff` where that of the configuration may be 0, for as wide as suits d_model.
    """
    names = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "context")
    for name, size in {**{name: getattr(c, name) for name in names}, "d_ff": d_ff or c.d_ff}.items():
        if not 1 <= size <= LARGEST_WIDTH:
            raise ConfigError(f"{name} = {size!s:.40} is not in 1..{LARGEST_WIDTH}")
    if c.vocab_size > MAX_VOCAB or c.context > MAX_CONTEXT:
        raise ConfigError(f"vocab_size goes to {MAX_VOCAB} and context to {MAX_CONTEXT}")
    check_layers(c.n_layers)
    check_eps(c.eps)
    queries_per_kv_head(c.n_heads, c.n_kv_heads)
    if c.d_head % 2:
        raise ConfigError(f"d_head = {c.d_head} should be even: attention works on pairs of a head's elements")
