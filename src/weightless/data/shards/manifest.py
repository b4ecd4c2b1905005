"""The manifest of a prepared corpus, checked whole when it is read: type and range of every key that any code asks for.

    checked_manifest(path) -> the manifest; CorruptFileError naming the first key that is wrong

Keys that are later than version 1 may be missing; one that is there is checked.  What nobody reads is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError
from weightless.base.files import read_json
from weightless.data.shards.shards import LARGEST_VOCABULARY

SPLITS = ("train", "val")
FORMAT, FORMAT_VERSION = "weightless-shards", 1
_MOST = 1 << 63  # of anything that is counted


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_contents(value: Any) -> bool:
    return isinstance(value, list) and all(entry is None or isinstance(entry, dict) for entry in value)


_Kinds = dict[str, tuple[str, Callable[[Any], bool]]]
_TEXT = ("str", lambda value: type(value) is str)
_TABLE = ("dict", lambda value: type(value) is dict)
_LIST = ("list", lambda value: type(value) is list)
_COUNT = ("int from 0", _is_count)
_SHARE = ("number between 0 and 1", _is_share)
_COUNTS = ("table of counts", _is_counts)
_KEYS: _Kinds = {
    "name": _TEXT,
    "source": _TABLE,
    "tokenizer_sha256": _TEXT,
    "vocab_size": _COUNT,
    "end_of_text": _COUNT,
    "corpus_sha256": _TEXT,
    "splits": _TABLE,
}
_LATER_KEYS: _Kinds = {
    "split": _TABLE,
    "content": ("list of tables", _is_contents),
    "left_out": _COUNTS,
    "noticed": _COUNTS,
    "bytes_are": _TEXT,
}
_RULE_KEYS: _Kinds = {
    "method": _TEXT,
    "fraction": _SHARE,
    "max_overlap": _SHARE,
    "dropped_documents": _COUNT,
    "overlapping_documents": _COUNT,
    "equal_documents": _COUNT,
}
_SPLIT_KEYS: _Kinds = {"documents": _COUNT, "bytes": _COUNT, "tokens": _COUNT, "shards": _LIST}
_LATER_SPLIT_KEYS: _Kinds = {
    "source_bytes": _COUNT,
    "unknown_tokens": _COUNT,
    "bits_per_byte_refused": _TEXT,
    "pads_left_out": _COUNT,
}
_SHARD_KEYS: _Kinds = {"file": _TEXT, "tokens": _COUNT, "sha256": _TEXT}
_MAY_BE_UNKNOWN = ("tokenizer_sha256", "end_of_text", "documents", "bytes", "source_bytes", "bytes_are")


def checked_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; refuse whatever does not have the shape of a manifest, or points outside its folder."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is no manifest of token shards (its format is not {FORMAT!r})")
    if manifest.get("version") != FORMAT_VERSION:
        raise CorruptFileError(f"{path} has version {manifest.get('version')}; this program reads {FORMAT_VERSION}")
    _expect(path, manifest, _KEYS, "")
    _expect(path, manifest, _present(_LATER_KEYS, manifest), "")
    for other in set(manifest["splits"]) - set(SPLITS):
        raise CorruptFileError(f"{path}: splits.{other} is none of {' and '.join(SPLITS)}")
    for split in SPLITS:
        _check_split(path, manifest["splits"].get(split), f"splits.{split}")
    if not 0 <= (manifest["end_of_text"] or 0) < manifest["vocab_size"] <= LARGEST_VOCABULARY:
        raise CorruptFileError(f"{path}: end_of_text or vocab_size is out of range")
    _check_known(path, manifest)
    return manifest


def _check_split(path: Path, entry: Any, where: str) -> None:
    _expect(path, entry, _SPLIT_KEYS, f"{where}.")
    _expect(path, entry, _present(_LATER_SPLIT_KEYS, entry), f"{where}.")
    if entry.get("source_bytes") is not None:  # they came together
        _expect(path, entry, {"unknown_tokens": _COUNT}, f"{where}.")
    for shard in entry["shards"]:
        _expect(path, shard, _SHARD_KEYS, f"{where}.shards.")
        if Path(shard["file"]).name != shard["file"] or not shard["file"] or not shard["file"].isprintable():
            raise CorruptFileError(f"{path}: {shard['file']!r} is not a plain file name")
    if sum(shard["tokens"] for shard in entry["shards"]) != entry["tokens"]:
        raise CorruptFileError(f"{path}: the shards of {where[7:]} do not add up to its {entry['tokens']} tokens")
    if entry["bytes"] and not entry["tokens"]:
        raise CorruptFileError(f"{path}: {where}.bytes is {entry['bytes']}, of no tokens")


def _check_known(path: Path, manifest: dict[str, Any]) -> None:
    """What other keys say is known has to be there: bytes with a tokenizer, documents where some were drawn."""
    rule = manifest.get("split", {})
    _expect(path, rule, _present(_RULE_KEYS, rule), "split.")
    needed = set()
    if manifest["tokenizer_sha256"] is not None:
        needed.add("bytes")
    if rule.get("method") == "hash":
        _expect(path, rule, {"fraction": ("number above 0", lambda value: _is_share(value) and value > 0)}, "split.")
        needed |= {"bytes", "documents"}
    if rule.get("dropped_documents"):
        _expect(path, rule, {"max_overlap": _SHARE}, "split.")
    if any(rule.get(f"{what}_documents") for what in ("dropped", "overlapping", "equal")):
        needed.add("documents")
    for split in SPLITS:
        for key in sorted(needed):
            if manifest["splits"][split][key] is None:
                raise CorruptFileError(f"{path}: splits.{split}.{key} is null, and other keys say that it is known")


def _present(kinds: _Kinds, value: dict[str, Any]) -> _Kinds:
    return {key: kind for key, kind in kinds.items() if key in value}


def _expect(path: Path, value: Any, kinds: _Kinds, where: str) -> None:
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path}: {where.rstrip('.')} is missing or not an object")
    for key, (told, is_kind) in kinds.items():
        if not is_kind(value.get(key)) and not (key in _MAY_BE_UNKNOWN and value.get(key, key) is None):
            raise CorruptFileError(f"{path}: {where}{key} is missing or not {told}")
