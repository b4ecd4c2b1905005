"""Open any tokenizer file, and convert one into the format of another program.

    open_tokenizer(path) -> Tokenizer | SentencePieceTokenizer      the format is told by the content
    load_saved(path) -> the same                                     only what `save` of either writes
    convert(source, target, to) -> Tokenizer                         written, read back, compared

Formats: "weightless" (own JSON), "huggingface" (tokenizer.json), "tiktoken" (rank file), "gpt2" (vocab.json and
merges.txt, or a folder that holds such a pair), "sentencepiece" (.model; trained by piece_train.py, not converted to).
Rank files and GPT-2's pair do not say which pattern and special tokens belong to them: the caller does.
Errors: ConfigError for what cannot be represented, CorruptFileError for damage, both naming the file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightless.base.compressed import require_regular
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.base.files import read_json
from weightless.tokenizer import interchange, storage
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.patterns import END_OF_TEXT
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

FORMATS = ("weightless", "huggingface", "tiktoken", "gpt2", "sentencepiece")
WRITABLE = FORMATS[:4]
AnyTokenizer = Tokenizer | SentencePieceTokenizer
_LOOKED_AT = 4096


def open_tokenizer(
    path: str | Path,
    special_tokens: Mapping[str, int] | Sequence[str] = (END_OF_TEXT,),
    pattern: str = "gpt2",
) -> AnyTokenizer:
    """Open a file or a folder; `special_tokens` and `pattern` serve the formats that do not hold them."""
    path = Path(path)
    match format_of(path):
        case "weightless":
            return Tokenizer.load(_inside(path, "tokenizer.json"))
        case "huggingface":
            return interchange.load_hf(_inside(path, "tokenizer.json"))
        case "tiktoken":
            return interchange.load_tiktoken(path, special_tokens, pattern)
        case "gpt2":
            return interchange.load_gpt2(*_gpt2_pair(path), list(special_tokens), pattern)
        case _:
            return SentencePieceTokenizer.load(_inside(path, "tokenizer.model"))


def load_saved(path: str | Path) -> AnyTokenizer:
    """A file that a tokenizer's own `save` wrote, whatever its name; CorruptFileError for any other."""
    path = Path(path)
    match format_of(path):
        case "sentencepiece":
            return SentencePieceTokenizer.load(path)
        case "weightless":
            return Tokenizer.load(path)
        case other:
            raise CorruptFileError(
                f"{path} is a tokenizer of the format {other}: weightless tokenizer convert "
                f"{path} OURS.json --to weightless makes one of ours of it"
            )


def format_of(path: Path) -> str:
    """One of FORMATS, told by the content; WeightlessError when there is no tokenizer."""
    if os.path.isdir(path):
        for name in ("tokenizer.json", "tokenizer.model"):
            if (path / name).is_file():
                return format_of(path / name)
        _gpt2_pair(path)
        return "gpt2"
    try:
        require_regular(path)
        with open(path, "rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    if head.lstrip()[:1] == b"{":
        return _format_of_json(path)
    first = head.split(b"\n", 1)[0].split()
    if head.startswith(b"#version") or path.name.endswith("merges.txt"):
        return "gpt2"
    if len(first) == 2 and first[1].isascii() and first[1].isdigit():
        return "tiktoken"
    if head[:1] == b"\n":  # field 1, kind BYTES: a message that begins with a piece
        return "sentencepiece"
    raise CorruptFileError(f"{path} is no tokenizer of a known format ({', '.join(FORMATS)})")


def _format_of_json(path: Path) -> str:
    values = read_json(path)
    if values.get("format") == storage.FORMAT:
        return "weightless"
    if isinstance(values.get("model"), dict):
        return "huggingface"
    if values and all(type(i) is int for i in values.values()):
        return "gpt2"
    raise CorruptFileError(f"{path} is JSON, but neither a tokenizer of ours, nor a tokenizer.json, nor a vocab.json")


def _inside(path: Path, name: str) -> Path:
    """The file itself, or the one that a folder holds."""
    if path.is_dir():
        return path / name if (path / name).is_file() else path / "tokenizer.json"
    return path


def _gpt2_pair(path: Path) -> tuple[Path, Path]:
    """(vocab.json, merges.txt) of a folder, or of either file; names may have a prefix: gpt2_vocab.json."""
    folder = path if path.is_dir() else path.parent
    vocabularies = [path] if path.is_file() and path.suffix == ".json" else sorted(folder.glob("*vocab.json"))
    if path.is_file() and path.suffix != ".json":
        vocabularies = [path.with_name(path.name.replace("merges.txt", "vocab.json"))]
    if len(vocabularies) != 1:
        what = "several files" if vocabularies else "no tokenizer: neither tokenizer.json nor files"
        raise WeightlessError(f"{folder} holds {what} that end in vocab.json; name the file that is meant")
    merges = vocabularies[0].with_name(vocabularies[0].name.replace("vocab.json", "merges.txt"))
    for file in (vocabularies[0], merges):
        if not file.is_file():
            raise WeightlessError(f"{file} is missing; GPT-2's format is vocab.json and merges.txt side by side")
    return vocabularies[0], merges


def target_format(target: str | Path, found: str) -> str:
    """The format that a target's name suggests, for a source of format `found`."""
    name = str(target)
    if name.endswith(("/", "\\")) or Path(target).is_dir() or not Path(target).suffix:
        return "gpt2"
    if name.endswith(".json") and not name.endswith("vocab.json"):
        return "huggingface" if found == "weightless" else "weightless"
    if name.endswith(".tiktoken"):
        return "tiktoken"
    raise ConfigError(f"{name} does not say a format; give --to, one of {', '.join(WRITABLE)}")


def convert(
    source: str | Path,
    target: str | Path,
    to: str = "",
    special_tokens: Mapping[str, int] | Sequence[str] = (END_OF_TEXT,),
    pattern: str = "gpt2",
) -> tuple[Tokenizer, str]:
    """Write `source` as `target` in the format `to` (guessed from the name when empty); returns it and the format.

    A trial copy is read back first: a format that would lose more than what `not_held` tells is an error, and the
    target stays as it was.
    """
    found = format_of(Path(source))
    to = to or target_format(target, found)
    if to not in WRITABLE:
        trains = "merges of bytes make no SentencePiece model; tokenizer train --kind sentencepiece trains one"
        hint = trains if to == "sentencepiece" else nearest(to, WRITABLE)
        raise ConfigError(f"cannot write format {to!r}: {hint}")
    tokenizer = open_tokenizer(source, special_tokens, pattern)
    if isinstance(tokenizer, SentencePieceTokenizer):
        raise ConfigError(
            f"{source}: a SentencePiece model ({tokenizer.model.model_type}, normalisation "
            f"{tokenizer.model.normalisation or 'unnamed'}) merges characters by score and rewrites text first; "
            "byte-level merges would give other ids, so it is used as it is (tokenizer compare) and not converted"
        )
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial"
        write(tokenizer, trial, to)
        again = open_tokenizer(trial, tokenizer.special_tokens, tokenizer.pattern)
    if again.sha256 != tokenizer.sha256:
        raise ConfigError(f"{source} would not read back from the format {to}, which cannot hold this vocabulary")
    write(tokenizer, target, to)
    return tokenizer, to


def write(tokenizer: Tokenizer, target: str | Path, to: str) -> None:
    """Write a tokenizer in one of the formats WRITABLE; "gpt2" makes a folder."""
    target = Path(target)
    match to:
        case "weightless":
            tokenizer.save(target)
        case "huggingface":
            interchange.save_hf(tokenizer, target)
        case "tiktoken":
            interchange.save_tiktoken(tokenizer, target)
        case _:
            if target.is_file():
                raise ConfigError(f"{target} is a file; GPT-2's two files want a folder")
            interchange.save_gpt2(tokenizer, target / "vocab.json", target / "merges.txt")


def not_held(tokenizer: Tokenizer, to: str) -> str:
    """What a file of format `to` does not say about a tokenizer, in words; empty when it says all."""
    parts = []
    if to in ("tiktoken", "gpt2") and tokenizer.pattern != "none":
        parts.append(f"its pattern ({tokenizer.pattern})")
    if to == "tiktoken" and tokenizer.special_tokens:
        parts.append(f"its special tokens ({json.dumps(tokenizer.special_tokens, ensure_ascii=False)})")
    if to == "gpt2" and tokenizer.special_tokens:
        parts.append("which tokens are special")
    return " and ".join(parts)
