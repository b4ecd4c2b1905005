"""Small counted models of some fables, with their tokenizer in the file."""

from __future__ import annotations

from pathlib import Path

from weightless.data.text import fables
from weightless.export.lower import pack
from weightless.models.catalog import family
from weightless.tokenizer import Tokenizer

TEXT = "Once upon a time there was a fox who had nothing to carry, and the fox went home."


def counted(folder: Path, name: str, context: int = 64) -> Path:
    """The artifact NAME.wl of a family that is counted."""
    documents = list(fables.documents(seed=3, n_bytes=60_000))
    tokenizer, room = Tokenizer.train(documents, 300), family(name)
    config, arrays = room.count(
        room.Config(vocab_size=300, context=context), tokenizer.encode_array(b" ".join(documents))
    )
    pack(folder / f"{name}.wl", name, config, arrays, tokenizer.to_json())
    return folder / f"{name}.wl"
