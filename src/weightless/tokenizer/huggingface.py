"""Hugging Face's tokenizer.json, in and out, for byte-level BPE without normalizer: equal ids in `tokenizers`.

What a file asks for and this tokenizer would not do (normalizers, templates, dropout, byte fallback, other patterns) is
refused by name, never ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import atomic_write, read_json
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.patterns import PATTERNS, check_special_tokens, from_visible, to_visible

MUST_BE_OFF = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)


def to_hf(tokenizer: Tokenizer) -> dict[str, Any]:
    """The values of tokenizer.json; ConfigError when a special token spells like an ordinary one."""
    specials = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    model = dict.fromkeys(MUST_BE_OFF[:4]) | dict.fromkeys(MUST_BE_OFF[4:], False)
    merges = [f"{to_visible(a)} {to_visible(b)}" for a, b in tokenizer.merges]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags, "special": True} for name, i in specials],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": None,
        "decoder": _byte_level(True),
        "model": {"type": "BPE", **model, "vocab": visible_names(tokenizer), "merges": merges},
    }


def visible_names(tokenizer: Tokenizer) -> dict[str, int]:
    """Id of every token by its visible spelling, special tokens literally."""
    names: dict[str, int] = {}
    literal = {i: name for name, i in tokenizer.special_tokens.items()}
    for i, token in enumerate(tokenizer.token_bytes):
        name = literal.get(i) or to_visible(token)
        if name in names:
            raise ConfigError(f"tokens {names[name]} and {i} are both written {name!r}: this format cannot hold both")
        names[name] = i
    return names


def save_hf(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write tokenizer.json, atomically."""
    atomic_write(path, json.dumps(to_hf(tokenizer), indent=1, ensure_ascii=False) + "\n")


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    if pattern == "gpt4":
        split = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}
    return _byte_level(pattern == "gpt2")


def load_hf(path: str | Path) -> Tokenizer:
    """Read tokenizer.json; ConfigError for features that are not ours, CorruptFileError for a damaged file."""
    return from_hf(read_json(path), str(path))


def from_hf(values: Any, where: str = "tokenizer.json") -> Tokenizer:
    """Build the tokenizer from the values of tokenizer.json."""
    model = _part(values, "model", where)
    kind = model.get("type", "BPE" if "merges" in model else None)  # GPT-2's own file is older than the key
    if kind != "BPE":
        raise ConfigError(f"{where}: the model is {model.get('type')!r}; only byte-level BPE can be imported")
    for name in MUST_BE_OFF:
        if model.get(name):
            raise ConfigError(f"{where}: {name} = {model[name]!r} is not supported")
    if normalizer := values.get("normalizer"):
        raise ConfigError(
            f"{where}: its normalizer ({_steps(normalizer)}) changes the text before it is tokenised, so "
            "bytes would not be those of the text; its ids can be imported by --vocab_size and "
            "--end_of_text, for nats per token"
        )
    for name in ("truncation", "padding"):
        if values.get(name):
            raise ConfigError(f"{where}: a tokenizer with {name} is not supported")
    after = values.get("post_processor") or {"type": "ByteLevel"}
    if not isinstance(after, dict) or after.get("type") != "ByteLevel":
        raise ConfigError(f"{where}: a post-processor that adds tokens is not supported")
    specials = _added(values.get("added_tokens") or [], where)
    try:
        vocab = {i: name.encode() if name in specials else from_visible(name) for name, i in model["vocab"].items()}
        merges = [_merge(item) for item in model["merges"]]
        if len(vocab) != len(model["vocab"]):
            raise ValueError("two tokens have one id")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{where}: the vocabulary or the merges are damaged ({error!r:.80})") from error
    vocab.update({i: name.encode() for name, i in specials.items()})
    try:
        return Tokenizer(vocab, merges, specials, _pattern(values.get("pre_tokenizer"), where))
    except TypeError as error:
        raise CorruptFileError(f"{where}: the vocabulary is damaged ({error!r:.80})") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _steps(normalizer: Any) -> str:
    """The names of a normalizer's steps."""
    if not isinstance(normalizer, dict):
        return "of unknown kind"
    parts = normalizer.get("normalizers")
    return ", ".join(map(_steps, parts)) if isinstance(parts, list) else str(normalizer.get("type"))[:40]


def _part(values: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(values, dict) or not isinstance(values.get(name), dict):
        raise CorruptFileError(f"{where}: not a tokenizer.json, it has no {name!r}")
    return values[name]


def _merge(item: Any) -> tuple[bytes, bytes]:
    left, right = item.split(" ") if isinstance(item, str) else item
    return from_visible(left), from_visible(right)


def _added(items: Any, where: str) -> dict[str, int]:
    specials: dict[str, int] = {}
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, dict) or type(item.get("id")) is not int or not isinstance(item.get("content"), str):
            raise CorruptFileError(f"{where}: added token {item!r:.80} lacks id or content")
        for flag in ("single_word", "lstrip", "rstrip"):
            if item.get(flag):
                raise ConfigError(f"{where}: added token {item['content']!r} with {flag} is not supported")
        specials[item["content"]] = item["id"]
    check_special_tokens(specials)
    return specials


def _pattern(pre_tokenizer: Any, where: str) -> str:
    """The name of the pattern that a pre-tokenizer applies, or ConfigError."""
    steps = pre_tokenizer
    if isinstance(steps, dict) and steps.get("type") == "Sequence":
        steps = steps.get("pretokenizers")
    steps = steps if isinstance(steps, list) else [steps]
    *splits, last = steps or [None]
    if isinstance(last, dict) and last.get("type") == "ByteLevel" and not last.get("add_prefix_space", True):
        if not splits:
            return "gpt2" if last.get("use_regex", True) else "none"
        if len(splits) == 1 and not last.get("use_regex", True):
            for name in ("gpt2", "gpt4"):
                if splits[0] == {**_pre_tokenizer("gpt4")["pretokenizers"][0], "pattern": {"Regex": PATTERNS[name]}}:
                    return name
    raise ConfigError(f"{where}: its pre-tokenizer is none of the patterns {', '.join(PATTERNS)}")
