"""A prepared corpus: a folder of token shards with its manifest and tokenizer.

    DIR/manifest.json  DIR/NAME_train_000000.bin ...  DIR/NAME_val_000000.bin ...
    DIR/tokenizer.json (byte-level, our JSON) or DIR/tokenizer.model (a SentencePiece model, byte for byte)

The stream of a split is, for each document, the <|endoftext|> id and then the document's tokens; a document may
run on into the next shard.  Bytes are those that the tokens decode to, because that is what bits per byte are divided
by: <|endoftext|> counts 0.  For byte-level tokens they are those of the source; the manifest says which they are
(bytes_are), what the source had (source_bytes), and why bits per byte are refused, if they are (kept_text.py).
An imported corpus (import_tokens.py) holds the ids of somebody else, <|endoftext|> where they put it; when only the
size of their vocabulary is known, the manifest has null for the tokenizer, the bytes and what else is unknown.

    corpus(folder) -> Corpus    .tokens("train") .n_bytes("val") .n_documents .tokenizer() .tokenizer_json()
                                .manifest .sha256

Errors: CorruptFileError when a file contradicts the manifest or is damaged; WeightlessError for a missing corpus, or a
tokenizer that is not the one the shards were made with.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import sha256_file
from weightless.base.progress import progress
from weightless.data.shards.manifest import SPLITS, checked_manifest
from weightless.data.shards.shards import TokenView, read_shard

if TYPE_CHECKING:
    from weightless.tokenizer.byte_table import ByteTable
    from weightless.tokenizer.opening import AnyTokenizer

MANIFEST, TOKENIZER, PIECES = "manifest.json", "tokenizer.json", "tokenizer.model"
BYTES_OF_SOURCE = "bytes of the source, to which the tokens decode"
BYTES_OF_DECODED = "bytes of the text that the tokens decode to, which is not the source"
BYTES_BY_IDS = "bytes that the tokenizer decodes the imported ids to; the source is not at hand"
PROGRESS_FROM_BYTES = 1 << 30


class TextEncoder(Protocol):
    """What preparing a corpus needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    @property
    def end_of_text(self) -> int | None: ...

    @property
    def file_name(self) -> str: ...

    @property
    def byte_table(self) -> ByteTable: ...

    def decode_bytes(self, ids: Any) -> bytes: ...

    def encode_ordinary_array(self, text: str | bytes) -> np.ndarray: ...

    def save(self, path: str | Path) -> None: ...


class Corpus:
    """A prepared corpus: what its manifest says, and the tokens on demand."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.name: str = manifest["name"]
        self.vocab_size: int = manifest["vocab_size"]
        self.end_of_text: int | None = manifest["end_of_text"]
        self.sha256: str = manifest["corpus_sha256"]
        self.tokenizer_path = tokenizer_file(folder)
        self._tokens: dict[str, Any] = {}

    def tokens(self, split: str) -> Any:
        """All tokens of "train" or "val": a uint16 memory map, or a TokenView of several.

        Once, every byte is held against the manifest's SHA-256 and every id against the vocabulary: a flipped bit in
        held-out ids would be another loss, and nobody would know.
        """
        if split not in self._tokens:
            self._check_hashes(split)
            parts = [read_shard(path, self.vocab_size) for path in self.shard_paths(split)]
            self._tokens[split] = parts[0] if len(parts) == 1 else TokenView(parts)
        return self._tokens[split]

    def _check_hashes(self, split: str) -> None:
        shards = self._split(split)["shards"]
        total = 2 * self.n_tokens(split)
        shown = progress(f"checking {split}", total, "B") if total >= PROGRESS_FROM_BYTES else nullcontext(None)
        with shown as tick:
            for shard in shards:
                check_shard(self.folder, shard, check_hash=True)
                if tick:
                    tick(2 * shard["tokens"])

    @property
    def parting(self) -> dict[str, Any]:
        """Which documents train and which validate, as far as numbers tell: equal for one text parted alike."""
        rule, splits = self.manifest.get("split", {}), self.manifest["splits"]
        return {
            "method": rule.get("method"),
            **{
                split: [splits[split].get("documents"), splits[split].get("source_bytes", splits[split].get("bytes"))]
                for split in SPLITS
            },
        }

    def shard_paths(self, split: str) -> list[Path]:
        return [self.folder / shard["file"] for shard in self._split(split)["shards"]]

    def n_tokens(self, split: str) -> int:
        return self._split(split)["tokens"]

    @property
    def has_tokenizer(self) -> bool:
        """Whether the text behind the ids is known."""
        return self.manifest["tokenizer_sha256"] is not None

    def n_bytes(self, split: str) -> int:
        """UTF-8 bytes that the split's tokens decode to (<|endoftext|> counts 0)."""
        self.require_tokenizer("counting bytes")
        return self._split(split)["bytes"]

    def why_refused(self, split: str) -> str:
        """Why bits per byte of a split would not be those of a text, in words; empty when nothing speaks against it."""
        entry = self._split(split)
        if not self.has_tokenizer:
            return ""
        if (told := entry.get("bits_per_byte_refused")) is None:  # a folder from before this was written down
            told = self.tokenizer().byte_table.why_refused(self.tokens(split)[:])
        return told

    def n_documents(self, split: str) -> int | None:
        """Documents of the split; None when the id of <|endoftext|> is unknown."""
        return self._split(split)["documents"]

    def require_tokenizer(self, what: str) -> None:
        """WeightlessError when the corpus was imported without a tokenizer; `what` needs the text."""
        if not self.has_tokenizer:
            raise WeightlessError(
                f"{what} needs the text behind the ids, and {self.folder} was imported with a "
                "vocabulary size only: import it again with --tokenizer"
            )

    def tokenizer(self) -> AnyTokenizer:
        """The tokenizer the shards were made with: a byte-level one, or a SentencePiece model.

        CorruptFileError when the file is neither, WeightlessError when it is another than that of the manifest.
        """
        from weightless.tokenizer.opening import load_saved

        self.require_tokenizer("reading ids as text")
        found = load_saved(self.tokenizer_path)
        self.check_tokenizer(found)
        return found

    def tokenizer_json(self) -> str | None:
        """What an artifact takes along: the JSON of a byte-level tokenizer.  None where there is none."""
        from weightless.tokenizer import Tokenizer

        found = self.tokenizer() if self.has_tokenizer else None
        return self.tokenizer_path.read_text(encoding="utf-8") if isinstance(found, Tokenizer) else None

    def check_tokenizer(self, tokenizer: TextEncoder) -> None:
        """Refuse a tokenizer whose content differs from that of the manifest."""
        self.require_tokenizer("checking a tokenizer")
        expected = self.manifest["tokenizer_sha256"]
        if tokenizer.sha256 != expected:
            raise WeightlessError(
                f"{self.folder} was made with tokenizer {expected[:12]}…, this one is {tokenizer.sha256[:12]}…; "
                f"use {self.tokenizer_path} or prepare the corpus again"
            )

    def _split(self, split: str) -> dict[str, Any]:
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; a corpus has train and val")
        return self.manifest["splits"][split]


def tokenizer_file(folder: Path) -> Path:
    """Where the tokenizer of a prepared folder lies (older ones have a SentencePiece model as tokenizer.json)."""
    return folder / PIECES if (folder / PIECES).exists() else folder / TOKENIZER


def save_tokenizer(tokenizer: TextEncoder, folder: Path) -> None:
    """Write it under the name of what it is, and take another one away."""
    tokenizer.save(folder / tokenizer.file_name)
    for name in {TOKENIZER, PIECES} - {tokenizer.file_name}:
        (folder / name).unlink(missing_ok=True)


def corpus(folder: str | Path, check_hashes: bool = False) -> Corpus:
    """Open a prepared corpus: the manifest and every shard's header are checked, with `check_hashes` every byte."""
    folder = Path(folder)
    path = folder / MANIFEST
    if not os.path.exists(path):
        raise WeightlessError(
            f"{folder} holds no prepared corpus ({MANIFEST} is missing); tokenise a text into it first"
        )
    found = Corpus(folder, checked_manifest(path))
    for split in SPLITS:
        for shard in found.manifest["splits"][split]["shards"]:
            check_shard(folder, shard, check_hashes)
    return found


def check_shard(folder: Path, shard: dict[str, Any], check_hash: bool) -> None:
    """Compare one shard with its manifest entry; CorruptFileError when they differ."""
    path = folder / shard["file"]
    n_tokens = len(read_shard(path))
    if n_tokens != shard["tokens"]:
        raise CorruptFileError(f"{path} has {n_tokens} tokens, the manifest says {shard['tokens']}; prepare it again")
    if check_hash and sha256_file(path) != shard["sha256"]:
        raise CorruptFileError(f"{path} does not have the SHA-256 of the manifest: it is damaged; prepare it again")
