"""A small prepared corpus of fables, for tests that make models of it."""

from __future__ import annotations

from pathlib import Path

from weightless.data.shards.corpus import Corpus
from weightless.data.text import fables
from weightless.lab.corpora import prepared
from weightless.lab.recipe import DataRecipe


def corpus_of_fables(folder: Path, n_bytes: int) -> Corpus:
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=n_bytes)))
    return prepared(DataRecipe(text.as_posix(), vocab_size=300), folder / "data", show_progress=False, workers=1)
