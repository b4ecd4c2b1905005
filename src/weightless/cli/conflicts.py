"""Flags that would be parsed and then do nothing: each is refused by name, with the flag that silences it.

A flag counts as given when it stands on the command line, whatever its value: one that is given with its default is
told apart from one that was left out.  `parse` asks here for every verb; a new flag needs a line here and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weightless.base.errors import ConfigError


class Rule(NamedTuple):
    """`flags` do nothing when `when(options)` holds; `why` goes on where "--flag does nothing" ends."""

    flags: tuple[str, ...]
    when: Callable[[Any], object]
    why: str


def given(arguments: Sequence[str]) -> set[str]:
    """Names of the flags on a command line, with underscores; --no-x gives x, too.  A bare -- ends them."""
    found: set[str] = set()
    for word in arguments:
        if word == "--":
            break
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            found |= {name, name.removeprefix("no_")}
    return found


def refuse_unused(verb: str, options: Any, arguments: Sequence[str]) -> None:
    """Raise ConfigError if a flag was given that does nothing beside the others."""
    on_line = given(arguments)
    for rule in rules_of(verb):
        idle = [flag for flag in rule.flags if flag in on_line]
        if idle and rule.when(options):
            names = " and ".join(f"--{flag}" for flag in idle)
            does, leave = ("does", "it") if len(idle) == 1 else ("do", "them")
            raise ConfigError(f"{names} {does} nothing {rule.why}: leave {leave} out")


def rules_of(verb: str) -> tuple[Rule, ...]:
    """The table's, and for `train` what the loop says of its own fields."""
    if verb != "train":
        return RULES.get(verb, ())
    from weightless.train.config import IDLE

    return (*(Rule(*entry) for entry in IDLE), *RULES[verb])


def _lacks(options: Any, group: str) -> bool:
    """Whether the model that `train` was asked for has no parameter of the group."""
    import dataclasses

    from weightless.models.catalog import trained

    room = trained(options.family)
    fields = [field.name for field in dataclasses.fields(room.Config)]
    model = room.Model(room.Config(**{name: getattr(options, name) for name in fields}))
    return all(spec.group != group for spec in model.tensors())


def _holds_its_own(*files: str) -> bool:
    """Whether every one of these tokenizer files says itself which pattern and special tokens it has."""
    from weightless.tokenizer.opening import format_of

    paths = [Path(file if Path(file).exists() else file.partition("=")[2]) for file in files]
    return all(format_of(path) not in ("tiktoken", "gpt2") for path in paths)


def _is_parquet(source: str) -> bool:
    """Whether ids come from tables (a .parquet file, a folder of them, the hub) and not from .bin files."""
    path = Path(source)
    if path.is_dir():
        return any(file.suffix.lower() == ".parquet" for file in path.rglob("*"))
    return path.suffix.lower() == ".parquet" or not path.exists()


def _reads_no_table(options: Any) -> bool:
    other = Path(options.validation).exists() and _is_parquet(options.validation)
    return not (_is_parquet(options.source) or other)


def _has_no_rows(*sources: str) -> bool:
    """Whether none of these texts, PATH or NAME=PATH, has rows of JSON or parquet."""
    from weightless.data.text.sources import has_rows

    return not has_rows(*(s if Path(s).exists() else s.partition("=")[2] or s for s in sources if s))


def _published(options: Any) -> bool:
    from weightless.ledger.presets import presets

    return options.what in presets()


_ALL_OF_A_CORPUS = (
    "text",
    "validation",
    "tokenizer",
    "vocab_size",
    "field",
    "val_fraction",
    "val_first",
    "val_last",
    "max_overlap",
    "workers",
    "launcher",
    "n_parallel",
)
_OF_PIECES = (
    "model_type",
    "normalisation",
    "like",
    "add_dummy_prefix",
    "remove_extra_spaces",
    "split_digits",
    "byte_fallback",
    "character_coverage",
    "longest_piece",
)
_PLAIN = "for text without rows of JSON or parquet"

RULES: dict[str, tuple[Rule, ...]] = {
    "golf check": (
        Rule(("train_data", "tokens", "threads"), lambda o: not o.data, "without --data, the text that was scored"),
    ),
    "generate": (
        Rule(
            ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"),
            lambda o: o.beam,
            "with --beam, which ranks by the model's own probabilities and draws nothing",
        ),
        Rule(("past_end",), lambda o: o.beam, "with --beam, which ends a beam there"),
        Rule(("alpha",), lambda o: not o.beam, "without --beam"),
        Rule(("tree",), lambda o: not o.speculate, "without --speculate"),
        Rule(("batch",), lambda o: not o.prompts, "without --prompts"),
        Rule(("prompt",), lambda o: o.prompts, "with --prompts, which holds them all"),
        Rule(
            ("path",),
            lambda o: o.speculate or o.beam or o.prompts,
            "with --speculate, --beam and --prompts, which feed many tokens at once wherever the model allows it",
        ),
    ),
    "pack": (
        Rule(
            ("cap", "code", "coders", "keep_over", "published", "solve", "formats", "seed_margin"),
            lambda o: not o.golf,
            "without --golf",
        ),
        Rule(("formats", "seed_margin"), lambda o: not o.solve, "without --solve"),
    ),
    "audit": (
        Rule(("tensors", "twin", "tokens"), lambda o: not o.ternary, "without --ternary"),
        Rule(
            ("text", "tokenizer", "train", "claim", "expect", "positions", "tolerance", "adaptive"),
            lambda o: o.ternary,
            "with --ternary, which reads the artifact and a prepared corpus (--data)",
        ),
    ),
    "report": (
        Rule(
            ("out",),
            lambda o: len(o.run) == 1 and (Path(o.run[0]) / "summary.json").exists(),
            "for one run, whose page lies in its own folder",
        ),
    ),
    "eval": (
        Rule(("data", "split"), lambda o: o.text, "with --text, which is scored instead of a corpus"),
        Rule(
            ("batch", "device", "autocast", "compile", "resume"),
            lambda o: o.path != "batched",
            "without --path batched",
        ),
    ),
    "train": (
        Rule(("no_wandb",), lambda o: o.track, "beside --track, which names what is used"),
        Rule(("distil_weight", "distil_temperature", "distil_top_k"), lambda o: not o.teacher, "without --teacher"),
        Rule(("table_lr",), lambda o: _lacks(o, "table"), "for a model without lookup tables"),
        Rule(
            ("head_lr_scale",),
            lambda o: _lacks(o, "head"),
            "for a model whose head is its embedding (--embedding_lr_scale)",
        ),
        Rule(("n_classes", "classes_by"), lambda o: getattr(o, "head", "class") == "full", "with --head full"),
        Rule(
            ("rope_theta",),
            lambda o: getattr(o, "positions", "rope") in ("learned", "none"),
            "but with rotary positions",
        ),
        Rule(
            ("n_heads", "n_kv_heads", "d_head", "rope_theta", "kv_format"),
            lambda o: o.family == "feather" and not set(o.layer_pattern) & {"A", "W"},
            "but with layer_pattern A or W",
        ),
        Rule(
            ("window",),
            lambda o: o.family == "feather" and "W" not in o.layer_pattern,
            "but with layer_pattern W",
        ),
        Rule(
            ("d_state", "conv"),
            lambda o: o.family == "feather" and "S" not in o.layer_pattern,
            "but with layer_pattern S",
        ),
        Rule(
            ("top_k", "d_shared"),
            lambda o: o.family == "feather" and not o.n_experts,
            "but with --n_experts",
        ),
        Rule(("match_d_ff",), lambda o: getattr(o, "activation", "") == "swiglu", "with --activation swiglu"),
        Rule(("neuron",), lambda o: getattr(o, "kind", "") == "values", "but with --kind neurons"),
        Rule(
            ("d_ff", "activation"),
            lambda o: getattr(o, "memory_every", 0) == 1,
            "with --memory_every 1, which leaves no feed-forward block",
        ),
        Rule(
            ("n_scan_heads", "state_format", "chunk"),
            lambda o: getattr(o, "kind", "") == "diagonal",
            "but with --kind gated or delta",
        ),
        Rule(
            ("n_heads", "n_kv_heads", "rope_theta", "kv_format"),
            lambda o: o.family == "scan" and "A" not in o.layer_pattern,
            "without A (attention) in --layer_pattern",
        ),
        Rule(("balance_weight",), lambda o: getattr(o, "balance", "loss") != "loss", "but with --balance loss"),
    ),
    "count": (
        Rule(("tokens",), lambda o: not o.text, "without --text"),
        Rule(("tokens", "positions"), lambda o: o.verify, "with --verify, which chooses its own positions"),
    ),
    "count --training": (
        Rule(("mfu", "tokens"), lambda o: not o.flops_per_second, "without --flops_per_second"),
        Rule(("activations",), lambda o: not _published(o), "but for a published model: a family knows its own"),
        Rule(
            ("device_memory", "flops_per_second"),
            lambda o: o.flops and not (o.training or o.json),
            "with --flops alone, which shows neither memory nor time (--training)",
        ),
        Rule(
            ("causal",),
            lambda o: o.training and not (o.flops or o.json or o.flops_per_second),
            "with --training alone, which shows no FLOPs (--flops)",
        ),
    ),
    "fit": (
        Rule(("cap", "code", "like"), lambda o: not o.golf, "without --golf"),
        Rule(
            ("vocab",), lambda o: any(pair.partition("=")[0] == "vocab_size" for pair in o.set), "with --set vocab_size"
        ),
    ),
    "export": (Rule(("type", "tokenizer"), lambda o: o.to != "gguf", "without --to gguf"),),
    "push": (
        Rule(
            ("private", "message", "replace_card", "json"), lambda o: o.dry_run, "with --dry_run, which uploads nothing"
        ),
    ),
    "deck show": (
        Rule(("variant", "solution"), lambda o: not o.card, "without a card"),
        Rule(("variant",), lambda o: o.solution, "with --solution, which answers both wordings"),
    ),
    "study": (
        Rule(("cpus",), lambda o: o.how == "local", "with --how local"),
        Rule(("mem_gb", "minutes", "partition", "cluster"), lambda o: o.how != "slurm", "without --how slurm"),
        Rule(("address",), lambda o: o.how != "ray", "without --how ray"),
        Rule(("parallel", "how", "retry", "only", "unit"), lambda o: o.plan, "with --plan, which runs nothing"),
        Rule(
            ("parallel", "how", "retry", "only", "text", "validation", "seeds", "set", "plan", "unit"),
            lambda o: o.report,
            "with --report, which reads study.json alone",
        ),
        Rule(("parallel", "how", "only"), lambda o: o.unit, "with --unit, which names one"),
    ),
    "launch": (
        Rule(("cpus",), lambda o: o.how == "local", "with --how local"),
        Rule(("mem_gb", "minutes", "partition", "cluster"), lambda o: o.how != "slurm", "without --how slurm"),
        Rule(("address",), lambda o: o.how != "ray", "without --how ray"),
    ),
    "data prepare": (
        Rule(_ALL_OF_A_CORPUS, lambda o: o.merge, "with --merge, which goes by the plan in the folder"),
        Rule(("vocab_size",), lambda o: o.tokenizer, "with --tokenizer, which has its own vocabulary"),
        Rule(("val_fraction",), lambda o: o.validation, "with --validation, which is held out whole"),
        Rule(("val_fraction",), lambda o: o.val_first or o.val_last, "with --val_first or --val_last"),
        Rule(("max_overlap",), lambda o: o.val_fraction == 0.0, "with --val_fraction 0"),
        Rule(("launcher", "n_parallel"), lambda o: not o.shards, "without --shards"),
        Rule(("field",), lambda o: _has_no_rows(o.text, o.validation), _PLAIN),
    ),
    "data import": (
        Rule(("mask_means",), lambda o: o.mask == "none", "with --mask none"),
        Rule(("column", "mask", "mask_means", "rows_are_documents"), _reads_no_table, "but for parquet files"),
        Rule(("layout",), lambda o: _is_parquet(o.source), "but for .bin files"),
        Rule(("max_validation_tokens",), lambda o: o.validation == "none", "with --validation none"),
    ),
    "tokenizer train": (
        Rule(("field",), lambda o: _has_no_rows(o.text), _PLAIN),
        Rule(("special", "pattern", "ties"), lambda o: o.kind == "sentencepiece", "with --kind sentencepiece"),
        Rule(_OF_PIECES, lambda o: o.kind != "sentencepiece", "without --kind sentencepiece"),
        Rule(("like",), lambda o: o.normalisation == "identity", "with --normalisation identity, which has no table"),
    ),
    "tokenizer convert": (
        Rule(("special", "pattern"), lambda o: _holds_its_own(o.source), "for a source that holds its own"),
    ),
    "tokenizer compare": (
        Rule(("special", "pattern"), lambda o: _holds_its_own(*o.tokenizers), "for files that hold their own"),
        Rule(("markdown",), lambda o: o.json, "with --json"),
        Rule(("field",), lambda o: _has_no_rows(*o.text), _PLAIN),
    ),
    "tokenizer study": (Rule(("markdown",), lambda o: o.plan, "with --plan, which makes no table"),),
    "tokenizer sweep": (
        Rule(("field",), lambda o: _has_no_rows(o.text, o.held_out), _PLAIN),
        Rule(("markdown",), lambda o: o.json, "with --json"),
    ),
}
"""By verb as `parse` is told it."""
