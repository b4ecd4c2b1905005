"""The tokenizer file: one readable JSON object with its own hash, checked strictly because files come from strangers.

    {"format": "weightless-tokenizer", "version": 1, "sha256": hex, "pattern": "gpt2", "vocab_size": n,
     "special_tokens": {"<|endoftext|>": id}, "tokens": null or [n strings], "merges": ["Ġ t", ...]}

Bytes are written with GPT-2's printable stand-ins.  "tokens" is null when ids are in the standard order: the 256 bytes,
the merges, the special tokens.  A tokenizer that does more than merge (rules.py) is of version 2 and has one key more,
"rules": {what it does}.  sha256 is that of the rest as compact JSON with sorted keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.tokenizer.patterns import PATTERNS, from_visible, to_visible
from weightless.tokenizer.rules import Rules

FORMAT, VERSION, WITH_RULES, RULES = "weightless-tokenizer", 1, 2, "rules"
KEYS = ("format", "version", "sha256", "pattern", "vocab_size", "special_tokens", "tokens", "merges")
LARGEST_FILE = 1 << 28

Parsed = tuple[list[bytes], list[tuple[bytes, bytes]], dict[str, int], str, Rules]


def content(
    tokens: Sequence[bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: dict[str, int],
    pattern: str,
    rules: Rules,
) -> dict[str, Any]:
    """All but the hash, as plain JSON values."""
    standard, said = _standard_order(merges, special_tokens), rules.plain()
    return {
        "format": FORMAT,
        "version": WITH_RULES if said else VERSION,
        "pattern": pattern,
        "vocab_size": len(tokens),
        "special_tokens": dict(sorted(special_tokens.items(), key=lambda item: item[1])),
        "tokens": None if standard == list(tokens) else [to_visible(token) for token in tokens],
        "merges": [f"{to_visible(a)} {to_visible(b)}" for a, b in merges],
        **({RULES: said} if said else {}),
    }


def _standard_order(merges: Sequence[tuple[bytes, bytes]], special_tokens: dict[str, int]) -> list[bytes]:
    specials = sorted(special_tokens, key=lambda name: special_tokens[name])
    return [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges] + [name.encode() for name in specials]


def content_sha256(values: dict[str, Any]) -> str:
    """Hex SHA-256 of the content, whatever its layout on disk."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_text(values: dict[str, Any]) -> str:
    """JSON with one line per key, and one per merge and token."""
    ordered = {"sha256": content_sha256(values), **values}
    lines = [f"{json.dumps(key)}: {_value(ordered[key])}" for key in (*KEYS, RULES) if key in ordered]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def from_text(text: str | bytes, where: str) -> Parsed:
    """(bytes of every id, merges, special tokens, pattern, rules), or CorruptFileError."""
    values = _object(text, where)
    claimed, version = values.pop("sha256"), WITH_RULES if RULES in values else VERSION
    if values["format"] != FORMAT or values["version"] != version:
        _refuse(where, f"format {values['format']!r} version {values['version']!r}, not {FORMAT!r} version {version}")
    try:
        right = claimed == content_sha256(values)
    except (ValueError, RecursionError):
        right = False
    if not right:
        _refuse(where, "the content does not match its sha256: the file was damaged or edited")
    if not isinstance(values["pattern"], str) or values["pattern"] not in PATTERNS:
        _refuse(where, f"unknown pattern {values['pattern']!r}")
    merges = [_merge(item, where) for item in _list(values["merges"], "merges", where)]
    specials = _specials(values["special_tokens"], where)
    if values["tokens"] is None:
        tokens = _standard_order(merges, specials)
    else:
        tokens = [_token(item, where) for item in _list(values["tokens"], "tokens", where)]
    if type(values["vocab_size"]) is not int or values["vocab_size"] != len(tokens):
        _refuse(where, f"vocab_size is {values['vocab_size']!r}, but there are {len(tokens)} tokens")
    return tokens, merges, specials, values["pattern"], _rules(values, where)


def _rules(values: dict[str, Any], where: str) -> Rules:
    try:
        return Rules.read(values[RULES]) if RULES in values else Rules()
    except ConfigError as error:
        _refuse(where, str(error))


def _refuse(where: str, why: str) -> NoReturn:
    raise CorruptFileError(f"{where}: {why}")


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    if len(text) > LARGEST_FILE:
        _refuse(where, f"{len(text):,} bytes are too many for a tokenizer")
    try:
        values = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where} is not valid JSON ({error})") from error
    if not isinstance(values, dict) or set(values) - {RULES} != set(KEYS):
        _refuse(where, f"not a tokenizer of ours, which has the keys {', '.join(KEYS)}")
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is repeated")
    return values


def _list(value: Any, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(where, f"{name} should be a list")
    return value


def _merge(item: Any, where: str) -> tuple[bytes, bytes]:
    left, gap, right = item.partition(" ") if isinstance(item, str) else ("", "", "")
    if not (left and gap and right):
        _refuse(where, f"merge {item!r:.80} should be two tokens with a space between")
    return _token(left, where), _token(right, where)


def _token(item: Any, where: str) -> bytes:
    try:
        if isinstance(item, str) and item:
            return from_visible(item)
    except KeyError:
        pass
    _refuse(where, f"token {item!r:.80} is not made of the printable stand-ins of bytes")


def _specials(value: Any, where: str) -> dict[str, int]:
    if not isinstance(value, dict) or any(type(i) is not int for i in value.values()):
        _refuse(where, "special_tokens should map strings to ids")
    if len(set(value.values())) != len(value):
        _refuse(where, "two special tokens have one id")
    if any("\ud800" <= character <= "\udfff" for name in value for character in name):
        _refuse(where, "a special token holds a surrogate, which no text can contain")
    return value
