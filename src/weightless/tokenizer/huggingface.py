"""Hugging Face's tokenizer.json, in and out, for byte-level BPE: equal ids in `tokenizers`.

What a file asks for and this tokenizer would not do (other normalizers than NFC, templates that add more than one token
in front, dropout, byte fallback, other patterns) is refused by name, never ignored.  The steps: huggingface_steps.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import atomic_write, read_json
from weightless.tokenizer import huggingface_steps as steps
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.patterns import from_visible, to_visible
from weightless.tokenizer.rules import NFC, Rules

MUST_BE_OFF = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
)


def to_hf(tokenizer: Tokenizer) -> dict[str, Any]:
    """The values of tokenizer.json; ConfigError when a special token spells like an ordinary one."""
    rules, specials = tokenizer.rules, tokenizer.special_tokens
    model = dict.fromkeys(MUST_BE_OFF[:4]) | dict.fromkeys(MUST_BE_OFF[4:], False)
    merges = [f"{to_visible(a)} {to_visible(b)}" for a, b in tokenizer.merges]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": steps.written_added(specials, _text_ids(tokenizer)),
        "normalizer": {"type": "NFC"} if rules.normaliser == NFC else None,
        "pre_tokenizer": steps.written_pattern(tokenizer.pattern),
        "post_processor": steps.written_mark(rules.mark, specials[rules.mark]) if rules.mark else None,
        "decoder": steps.byte_level(True),
        "model": {
            "type": "BPE",
            **model,
            "ignore_merges": rules.whole_words,
            "vocab": visible_names(tokenizer),
            "merges": merges,
        },
    }


def visible_names(tokenizer: Tokenizer) -> dict[str, int]:
    """Id of every token by its visible spelling, special tokens and those of text literally."""
    names: dict[str, int] = {}
    literal = {i: name for name, i in {**tokenizer.special_tokens, **_text_ids(tokenizer)}.items()}
    for i, token in enumerate(tokenizer.token_bytes):
        name = literal.get(i) or to_visible(token)
        if name in names:
            raise ConfigError(f"tokens {names[name]} and {i} are both written {name!r}: this format cannot hold both")
        names[name] = i
    return names


def _text_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Id of every token that is found in a text and is text."""
    if not tokenizer.rules.text_tokens:
        return {}
    special = set(tokenizer.special_tokens.values())
    ids = {token: i for i, token in enumerate(tokenizer.token_bytes) if i not in special}
    return {name: ids[name.encode()] for name in tokenizer.rules.text_tokens}


def save_hf(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write tokenizer.json, atomically."""
    atomic_write(path, json.dumps(to_hf(tokenizer), indent=1, ensure_ascii=False) + "\n")


def load_hf(path: str | Path) -> Tokenizer:
    """Read tokenizer.json; ConfigError for features that are not ours, CorruptFileError for a damaged file."""
    return from_hf(read_json(path), str(path))


def from_hf(values: Any, where: str = "tokenizer.json") -> Tokenizer:
    """Build the tokenizer from the values of tokenizer.json."""
    model = _checked_model(values, where)
    normaliser = steps.read_normaliser(values.get("normalizer"), where)
    for name in ("truncation", "padding"):
        if values.get(name):
            raise ConfigError(f"{where}: a tokenizer with {name} is not supported")
    specials, texts = steps.read_added(values.get("added_tokens") or [], bool(normaliser), where)
    mark = steps.read_mark(values.get("post_processor"), specials, where)
    steps.check_decoder(values.get("decoder"), where)
    pattern = steps.read_pattern(values.get("pre_tokenizer"), where)
    vocab, merges = _vocabulary(model, {**specials, **texts}, where)
    try:
        rules = Rules(normaliser, bool(model.get("ignore_merges")), tuple(texts), mark)
        return Tokenizer(vocab, merges, specials, pattern, rules)
    except TypeError as error:
        raise CorruptFileError(f"{where}: the vocabulary is damaged ({error!r:.80})") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked_model(values: Any, where: str) -> dict[str, Any]:
    """The model, if it is one of bytes and merges and nothing else."""
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise CorruptFileError(f"{where}: not a tokenizer.json, it has no 'model'")
    model = values["model"]
    kind = model.get("type", "BPE" if "merges" in model else None)  # GPT-2's own file is older than the key
    if kind != "BPE":
        raise ConfigError(f"{where}: the model is {model.get('type')!r}; only byte-level BPE can be imported")
    for name in MUST_BE_OFF:
        if model.get(name):
            raise ConfigError(f"{where}: {name} = {model[name]!r} is not supported")
    return model


def _vocabulary(
    model: dict[str, Any], added: dict[str, int], where: str
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """(bytes of every id, merges)."""
    try:
        vocab = {i: name.encode() if name in added else from_visible(name) for name, i in model["vocab"].items()}
        merges = [_merge(item) for item in model["merges"]]
        if len(vocab) != len(model["vocab"]):
            raise ValueError("two tokens have one id")
        if any(model["vocab"].get(name, i) != i for name, i in added.items()):
            raise ValueError("an added token has another id in the vocabulary")
        if len(set(merges)) != len(merges):
            raise ValueError("a merge is listed twice")
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{where}: the vocabulary or the merges are damaged ({error!r:.80})") from error
    vocab.update({i: name.encode() for name, i in added.items()})
    return vocab, merges


def _merge(item: Any) -> tuple[bytes, bytes]:
    left, right = item.split(" ") if isinstance(item, str) else item
    return from_visible(left), from_visible(right)
