"""submission.json: every key, what it holds and who needs it.

Two kinds of folders have one.  Those of Parameter Golf need who made it, what it scores and how large it is; ours
(`"format": "weightless-golf"`) say besides what was scored and of what, so that a stranger can score it again.

    problems(values) -> [(key, what is wrong, what to do)]        kinds, ranges, what is missing, and unknown keys
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weightless.base.errors import nearest
from weightless.base.files import is_number

FORMAT, VERSION = "weightless-golf", 1
FOREIGN, OURS, OPTIONAL = "everybody", "ours", "nobody"
"""Who has to give a key."""
UNKNOWN = "is no key that is known"


@dataclass(frozen=True)
class Key:
    name: str
    kind: str
    needed_by: str
    text: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_seeds(value: Any) -> bool:
    """{seed: {val_loss, val_bpb, …}}; a list of results with a key "seed" means the same."""
    results = list(value.values()) if isinstance(value, dict) else value
    return isinstance(results, list) and all(isinstance(result, dict) for result in results)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", _is_text),
    "number": ("a finite number", is_number),
    "count": ("a whole number from 0", _is_count),
    "count or null": ("a whole number from 0, or null", lambda value: value is None or _is_count(value)),
    "number or null": ("a finite number, or null", lambda value: value is None or is_number(value)),
    "yes or no": ("true or false", lambda value: type(value) is bool),
    "hash": ("a SHA-256 in 64 small hexadecimal digits", _is_hash),
    "hash or null": ("a SHA-256, or null", lambda value: value is None or _is_hash(value)),
    "seeds": ("a table of results by seed", _is_seeds),
    "list": ("a list", lambda value: isinstance(value, list)),
    "table": ("a table", lambda value: isinstance(value, dict)),
    "anything": ("anything", lambda value: True),
}

KEYS = (
    Key("author", "text", FOREIGN, "Who made it."),
    Key("github_id", "text", FOREIGN, "Their name on GitHub; empty when there is none."),
    Key("name", "text", FOREIGN, "What the submission is called."),
    Key("blurb", "text", FOREIGN, "What it is, in a sentence or two."),
    Key("date", "text", FOREIGN, "When it was built: ISO 8601, with the time zone."),
    Key("val_loss", "number", OURS, "Nats per token of the artifact in the folder, over the scored targets."),
    Key("val_bpb", "number or null", FOREIGN, "Bits per byte of the raw text over the same targets; null: unknown."),
    Key("bytes_total", "count", FOREIGN, "bytes_code + bytes_weights; at most 16,000,000."),
    Key("bytes_code", "count", FOREIGN, "UTF-8 bytes of train_gpt.py."),
    Key("bytes_weights", "count", OURS, "Bytes of the compressed artifact, model.wlz."),
    Key("format", "text", OURS, "weightless-golf: which keys to expect."),
    Key("version", "count", OURS, "1: of this list."),
    Key("script", "text", OURS, "What train_gpt.py does: decode (and score), or train as well."),
    Key("artifact", "text", OURS, "The file with the weights: model.wlz."),
    Key("artifact_sha256", "hash", OURS, "SHA-256 of that file."),
    Key("opened_sha256", "hash", OURS, "SHA-256 of the ordinary artifact (.wl) that it opens to, bit for bit."),
    Key("family", "text", OURS, "The model's family, as weightless families lists them."),
    Key("n_parameters", "count", OURS, "Stored numbers of the model."),
    Key("seed", "count or null", OURS, "Seed of the training that the artifact came from; null: nothing was random."),
    Key("seeds", "list", OPTIONAL, "Every seed that was trained."),
    Key("seed_results", "seeds", OPTIONAL, "By seed: val_loss, val_bpb, bytes_total, artifact_sha256 (opened)."),
    Key("val_loss_mean", "number", OPTIONAL, "Mean of val_loss over the seeds."),
    Key("val_loss_std", "number", OPTIONAL, "Sample standard deviation of val_loss over the seeds."),
    Key("val_bpb_mean", "number", OPTIONAL, "Mean of val_bpb over the seeds."),
    Key("val_bpb_std", "number", OPTIONAL, "Sample standard deviation of val_bpb over the seeds."),
    Key("vocab_size", "count", OURS, "Tokens that the model knows."),
    Key("context", "count", OURS, "Tokens of a window."),
    Key("tokenizer_sha256", "hash or null", OURS, "Of the tokenizer, as the corpus's manifest has it."),
    Key("corpus", "text", OURS, "What the prepared corpus is called."),
    Key("corpus_sha256", "hash", OURS, "Of all its documents; training and validation are parts of it."),
    Key("val_sha256", "hash", OURS, "Of the validation ids as 32-bit numbers: what was scored."),
    Key("val_tokens", "count", OURS, "Tokens of that stream; the first of them is no target."),
    Key("eval_tokens", "count", OURS, "Targets that were scored, each once."),
    Key("eval_bytes", "count", OURS, "Bytes of raw text that they stand for; 0: unknown."),
    Key("eval_nats", "number", OURS, "Sum of the nats: val_loss times eval_tokens."),
    Key("cut_tokens", "count", OURS, "Targets cut off at the end so that windows are whole."),
    Key("stride", "count or null", OURS, "Windows began every so many tokens; null: side by side."),
    Key("sampled", "yes or no", OURS, "Whether only windows spread evenly over the stream were scored."),
    Key("asked_tokens", "count", OURS, "How many targets the sample was to hold; 0: all of them."),
    Key(
        "check_tokens",
        "count",
        OURS,
        "About so many targets, in windows spread evenly, are the small sample that golf check scores again.",
    ),
    Key("check_loss", "number", OURS, "Nats per token on that sample."),
    Key("train_seconds", "number or null", OPTIONAL, "Seconds of training, evaluation not counted."),
    Key("train_steps", "count", OPTIONAL, "Steps of training."),
    Key("commit", "text", OPTIONAL, "The commit of weightless that built the folder."),
)
"""In the order in which they are written."""

SEEN = {
    "track": "text",
    "hardware": "text",
    "pytorch_version": "text",
    "technique_summary": "text",
    "wallclock_seconds": "number",
    "eval_time_seconds": "number",
    "step_stop": "count",
    "pre_quant_val_loss": "number",
    "pre_quant_val_bpb": "number",
    "compliance": "table",
    "val_bpb_seeds": "list",
    "val_bpb_exact": "number",
    "artifact_bytes": "count",
    "bytes_model_int8_zlib": "count",
    "bytes_model_int6_zstd": "count",
    "bytes_model_int6_lzma": "count",
}
"""Keys that folders of others have besides; they are held to a kind and to nothing else."""


def is_ours(values: dict[str, Any]) -> bool:
    """Whether a folder says that this house built it."""
    return values.get("format") == FORMAT


def problems(values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(key, what is wrong, what to do), in the order of KEYS, unknown keys last."""
    ours, known, found = is_ours(values), {key.name: key for key in KEYS}, []
    for key in KEYS:
        told, is_kind = KINDS[key.kind]
        needed = key.needed_by == FOREIGN or (ours and key.needed_by == OURS)
        if key.name not in values:
            found += [(key.name, "is missing", f"give it {told}: {key.text}")] if needed else []
        elif not is_kind(values[key.name]):
            found.append((key.name, f"is {_shown(values[key.name])}", f"it should be {told}: {key.text}"))
    for name, value in values.items():
        if name in SEEN and not ours:
            told, is_kind = KINDS[SEEN[name]]
            found += [] if is_kind(value) else [(name, f"is {_shown(value)}", f"it should be {told}")]
        elif name not in known:
            found.append((name[:60], UNKNOWN, nearest(name, (*known, *(() if ours else SEEN)))))
    if ours and values.get("version") not in (None, VERSION):
        found.append(("version", f"is {_shown(values['version'])}", f"this program reads version {VERSION}"))
    return found


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
