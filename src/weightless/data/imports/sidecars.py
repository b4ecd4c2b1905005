"""Files that lie beside token shards, have their header, and hold other numbers: byte counts, masks, offsets.

    fineweb_val_000000.bin           tokens
    fineweb_val_bytes_000000.bin     the bytes of each of them, as exports with their own counts write them

Nothing in such a file says what it is; its name does: it is that of a file beside it with one word more.  Whoever
takes it for tokens trains on counts.  Bytes are counted by the tokenizer, so a sidecar is left out, and named.
Errors: WeightlessError when a name says so and the tokens are missing, or when a sidecar itself is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from weightless.base.errors import WeightlessError

WORDS = ("byte_counts", "bytecounts", "nbytes", "bytes", "masks", "mask", "lengths", "offsets")
_WORD = re.compile(rf"(?:(?<=[_.-])|^)(?:{'|'.join(WORDS)})(?=[_.-])[_.-]|[_.-](?:{'|'.join(WORDS)})(?=\.)")


def tokens_of(path: Path) -> Path | None:
    """The file whose tokens this one is about, by its name, whether it exists or not; None for any other name."""
    name = _WORD.sub("", path.name, count=1)
    return path.with_name(name) if name != path.name else None


def without_sidecars(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(token files, sidecars); WeightlessError for a sidecar whose tokens are missing while others are there."""
    owners = {path: tokens_of(path) for path in files}
    if all(owners.values()) and not any(owner in owners for owner in owners.values()):
        return list(files), []  # then the word is a part of the data set's name
    tokens = [path for path, owner in owners.items() if owner is None]
    for path, owner in owners.items():
        if owner is not None and owner not in owners:
            raise WeightlessError(
                f"{path} is named as one that belongs to {owner.name}, which is not there: add it, "
                "or, if these are tokens, give them another name"
            )
    return tokens, [path for path, owner in owners.items() if owner is not None]


def refuse_sidecar(path: Path) -> None:
    """WeightlessError for a single file that is the sidecar of another one beside it."""
    owner = tokens_of(path)
    if owner is not None and owner.exists():
        raise WeightlessError(
            f"{path} lies beside {owner.name} and by its name says something about its tokens "
            f"(their bytes, for example): it holds no tokens; name {owner.name}"
        )
