"""Tokenizers of other programs, in and out: GPT-2's vocab.json + merges.txt, tiktoken's rank files.

    load_gpt2 / save_gpt2             vocab.json maps visible tokens to ids, merges.txt has one merge per line
    load_tiktoken / save_tiktoken     one line per token: base64 of its bytes, a space, its rank (which is its id)

Hugging Face's tokenizer.json is in huggingface.py.  Files are untrusted: CorruptFileError says what is wrong and where.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_write
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.huggingface import from_hf, load_hf, save_hf, to_hf, visible_names
from weightless.tokenizer.patterns import END_OF_TEXT, check_special_tokens, from_visible, to_visible

__all__ = ["from_hf", "load_gpt2", "load_hf", "load_tiktoken", "save_gpt2", "save_hf", "save_tiktoken", "to_hf"]

LARGEST_FILE = 1 << 28


def load_gpt2(
    vocab_path: str | Path,
    merges_path: str | Path,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    pattern: str = "gpt2",
) -> Tokenizer:
    """Read vocab.json and merges.txt; special tokens stand in vocab.json literally, or are added behind it."""
    specials = check_special_tokens(special_tokens)
    values = _json_object(vocab_path)
    vocab: dict[int, bytes] = {}
    for text, i in values.items():
        if type(i) is not int or i in vocab:
            raise CorruptFileError(f"{vocab_path}: token {text!r:.80} has id {i!r}, which is no id or another's")
        vocab[i] = text.encode("utf-8", "replace") if text in specials else _visible(text, vocab_path)
    merges = []
    for number, line in enumerate(_text(merges_path).split("\n"), 1):
        # Eight of GPT-2's merges begin with '#', so only a first line can be a comment.
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, gap, right = line.rstrip("\r").partition(" ")
        if not (left and gap and right):
            raise CorruptFileError(f"{merges_path}, line {number}: {line!r:.80} should be two tokens and a space")
        merges.append((_visible(left, merges_path), _visible(right, merges_path)))
    return _built(vocab, merges, _placed(specials, values), pattern, vocab_path)


def save_gpt2(tokenizer: Tokenizer, vocab_path: str | Path, merges_path: str | Path) -> None:
    """Write vocab.json and merges.txt; ConfigError when a special token spells like an ordinary one."""
    names = visible_names(tokenizer)
    atomic_write(vocab_path, json.dumps(names, ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{to_visible(a)} {to_visible(b)}" for a, b in tokenizer.merges)]
    atomic_write(merges_path, "\n".join(lines) + "\n")


def load_tiktoken(
    path: str | Path, special_tokens: Mapping[str, int] | Sequence[str] = (END_OF_TEXT,), pattern: str = "gpt2"
) -> Tokenizer:
    """Read a rank file; special tokens are given with their ids, or are added behind the ranks."""
    check_special_tokens(special_tokens)
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line:
            continue
        encoded, _, rank = line.rstrip("\r").partition(" ")
        try:
            token = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            token = b""
        if not token or not (rank.isascii() and rank.isdigit()) or len(rank) > 9 or token in ranks:
            raise CorruptFileError(f"{path}, line {number}: {line!r:.80} should be base64 of a new token and a rank")
        ranks[token] = int(rank)
    vocab = {rank: token for token, rank in ranks.items()}
    if len(vocab) != len(ranks):
        raise CorruptFileError(f"{path}: two tokens have one rank")
    if isinstance(special_tokens, Mapping):
        vocab.update({i: name.encode() for name, i in special_tokens.items()})
    return _built(vocab, _merges_of(ranks, path), special_tokens, pattern, path)


def _merges_of(ranks: dict[bytes, int], path: str | Path) -> list[tuple[bytes, bytes]]:
    """The merge behind each token: what the merges before it leave of its bytes, which must be two tokens."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
            best = min(range(len(joined)), key=joined.__getitem__)
            if joined[best] >= rank:
                raise CorruptFileError(f"{path}: token {token!r} of rank {rank} is not made by merging two others")
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        merges.append((parts[0], parts[1]))
    return merges


def save_tiktoken(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a rank file (special tokens are not part of one); ConfigError when ids do not follow the merges."""
    special = set(tokenizer.special_tokens.values())
    ids = {token: i for i, token in enumerate(tokenizer.token_bytes) if i not in special}
    order = [ids[a + b] for a, b in tokenizer.merges]
    if any(later <= earlier for earlier, later in zip(order, order[1:])):
        raise ConfigError("a rank file needs ids in the order of the merges, which this vocabulary does not have")
    lines = [f"{base64.b64encode(token).decode()} {i}" for token, i in ids.items()]
    atomic_write(path, "\n".join(lines) + "\n")


def _built(vocab: Any, merges: Any, specials: Any, pattern: str, path: str | Path) -> Tokenizer:
    try:
        return Tokenizer(vocab, merges, specials, pattern)
    except ConfigError as error:
        raise CorruptFileError(f"{path}: {error}") from error


def _placed(specials: list[str], values: dict[str, Any]) -> dict[str, int] | list[str]:
    """Special tokens with the ids the file gives them, if it gives all of them one."""
    return {name: values[name] for name in specials} if all(name in values for name in specials) else specials


def _visible(text: str, path: str | Path) -> bytes:
    try:
        return from_visible(text)
    except KeyError:
        raise CorruptFileError(f"{path}: token {text!r:.80} is not made of the printable stand-ins of bytes") from None


def _text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise CorruptFileError(f"{path}: {len(content):,} bytes are too many for a vocabulary")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from error


def _json_object(path: str | Path) -> dict[str, Any]:
    try:
        values = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise CorruptFileError(f"{path}: a vocabulary is a JSON object of tokens and ids")
    return values
