"""From a source of text to a prepared corpus: split by document, train the tokenizer on the training part, shard.

Every step is skipped when its result is already there and belongs to the same recipe.  A source that is a prepared
corpus itself (prepared_source.py) is taken as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import read_json, write_json
from weightless.base.folder_lock import folder_lock
from weightless.data.corpus import MANIFEST, TOKENIZER, Corpus, corpus
from weightless.data.prepare import prepare
from weightless.data.sources import Source, open_source
from weightless.data.split import Split, draft_by_hash, draft_given
from weightless.lab.prepared_source import is_prepared, linked
from weightless.lab.recipe import DataRecipe, fingerprint
from weightless.tokenizer import Tokenizer, train_bpe

STAMP = "prepared-from.json"
END_OF_TEXT = "<|endoftext|>"


def prepared(recipe: DataRecipe, folder: Path, show_progress: bool = True, workers: int | None = None) -> Corpus:
    """The corpus of a recipe in `folder`, made if it is not there; WeightlessError if another one is.

    The text is read three times: to number its documents; to train the tokenizer and compare the splits; to encode.
    """
    with folder_lock(folder):
        if is_prepared(recipe.source):
            return linked(recipe, folder)
        return _prepared(recipe, folder, show_progress, workers)


def _prepared(recipe: DataRecipe, folder: Path, show_progress: bool, workers: int | None) -> Corpus:
    stamp = folder / STAMP
    source, validation = _sources(recipe)
    identity = {"recipe": fingerprint(recipe), "files": [_identity(s) for s in (source, validation) if s is not None]}
    if stamp.exists() and (folder / MANIFEST).exists():
        if read_json(stamp) != identity:
            found = f"{folder} was prepared from another text or with other settings"
            raise WeightlessError(f"{found}: choose another name for the run, or delete that folder")
        return corpus(folder)
    tokenizer, split = _kept(folder, identity), None
    if tokenizer is None:
        tokenizer, split = _trained(recipe, source, validation, show_progress, workers)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / TOKENIZER)
    write_json(stamp, identity)
    return prepare(source, tokenizer, folder, validation=validation, fraction=recipe.val_fraction,
                   max_overlap=recipe.max_overlap, split=split, workers=workers,
                   show_progress=show_progress)  # fmt: skip


def _kept(folder: Path, identity: Any) -> Tokenizer | None:
    """The tokenizer that an interrupted preparation of the same text has trained."""
    stamp = folder / STAMP
    known = stamp.exists() and read_json(stamp) == identity and (folder / TOKENIZER).exists()
    return Tokenizer.load(folder / TOKENIZER) if known else None


def _sources(recipe: DataRecipe) -> tuple[Source, Source | None]:
    source = open_source(recipe.source, recipe.field)
    return source, open_source(recipe.validation, recipe.field) if recipe.validation else None


def _identity(source: Source) -> Any:
    """What tells one text from another before it is read: its description, sizes and times of its files."""
    return {"name": source.name, **source.description}


def _trained(
    recipe: DataRecipe, source: Source, validation: Source | None, show_progress: bool, workers: int | None
) -> tuple[Tokenizer, Split]:
    """The tokenizer of the training documents, and the split that was drawn on the way."""
    draft = draft_by_hash(source, recipe.val_fraction) if validation is None else draft_given(source, validation)
    vocab, merges = train_bpe(_nonempty(draft.training(source), source.name), recipe.vocab_size, [END_OF_TEXT],
                              pattern=recipe.pattern, n_workers=workers, show_progress=show_progress)  # fmt: skip
    split = draft.finished(recipe.max_overlap)
    if len(vocab) < recipe.vocab_size:
        short = f"the text is too small for a vocabulary of {recipe.vocab_size}: only {len(vocab)} tokens could be made"
        raise ConfigError(f"{short}; ask for at most {len(vocab)}, or give more text")
    return Tokenizer(vocab, merges, [END_OF_TEXT], pattern=recipe.pattern), split


def _nonempty(documents: Iterable[bytes], name: str) -> Iterator[bytes]:
    iterator = iter(documents)
    first = next(iterator, None)
    if first is None:
        raise WeightlessError(f"{name} holds no text to train a tokenizer on")
    return itertools.chain([first], iterator)
