"""From a source of text to a prepared corpus: split by document, train the tokenizer on the training part, shard.

Every step is skipped when its result is already there and belongs to the same recipe.  A source that is a prepared
corpus itself (prepared_source.py) is taken as it is.  Belonging is decided by every byte of the text's files, not by
their times; only the docs of this installation and data sets of the hub are known by description (version, commit).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import read_json, write_json
from weightless.base.folder_lock import folder_lock
from weightless.data.shards.corpus import MANIFEST, TOKENIZER, Corpus, corpus
from weightless.data.shards.manifest import checked_manifest
from weightless.data.shards.prepare import prepare
from weightless.data.text.content import Content, content_of, is_same_text
from weightless.data.text.source import Source
from weightless.data.text.sources import has_rows, open_source
from weightless.data.text.split import Split, drafted, split_notes
from weightless.lab.prepared_source import is_prepared, linked
from weightless.lab.recipe import DataRecipe, fingerprint
from weightless.tokenizer import Tokenizer, train_bpe

STAMP = "prepared-from.json"
END_OF_TEXT = "<|endoftext|>"


def prepared(
    recipe: DataRecipe, folder: Path, show_progress: bool = True, workers: int | None = None, tell: bool = True
) -> Corpus:
    """The corpus of a recipe in `folder`, made if it is not there; WeightlessError if another one is.

    The text is read three times: to number its documents; to train the tokenizer and compare the splits; to encode.
    `tell` says on standard error how validation differs from what was asked for, and where it repeats training.
    """
    with folder_lock(folder):
        if is_prepared(recipe.source):
            found = linked(recipe, folder)
        else:
            found = _prepared(recipe, folder, show_progress, workers)
    for note in split_notes(found.manifest) if tell else ():
        print(f"{found.name}: {note}", file=sys.stderr)
    return found


def _prepared(recipe: DataRecipe, folder: Path, show_progress: bool, workers: int | None) -> Corpus:
    source, validation = _sources(recipe)
    texts = [text for text in (source, validation) if text is not None]
    settings = {"recipe": _settings(recipe), "files": [{"name": text.name, **text.description} for text in texts]}
    content = [content_of(text) for text in texts]
    if (folder / MANIFEST).exists():
        return _found(folder, settings, content, texts)
    identity = {**settings, "content": content}
    tokenizer, split = _kept(folder, identity), None
    if tokenizer is None:
        tokenizer, split = _trained(recipe, source, validation, show_progress, workers)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / TOKENIZER)
    write_json(folder / STAMP, identity)
    return prepare(
        source,
        tokenizer,
        folder,
        validation=validation,
        fraction=recipe.val_fraction,
        first=recipe.val_first,
        last=recipe.val_last,
        max_overlap=recipe.max_overlap,
        split=split,
        workers=workers,
        show_progress=show_progress,
    )


def _found(folder: Path, settings: dict[str, Any], content: Content, texts: list[Source]) -> Corpus:
    """The corpus that is there, if it was made by these settings from this text; WeightlessError otherwise."""
    way = "choose another folder (or name of the run), or delete that one"
    if not (folder / STAMP).exists():
        raise WeightlessError(f"{folder} holds a corpus whose tokenizer was not trained with it: {way}")
    stamp = read_json(folder / STAMP)
    if not isinstance(stamp, dict) or {key: stamp.get(key) for key in settings} != settings:
        raise WeightlessError(f"{folder} was prepared from another text or with other settings: {way}")
    manifest = checked_manifest(folder / MANIFEST)
    known = not any(content) or manifest.get("content") == content
    if not known and not is_same_text(manifest, content, itertools.chain.from_iterable(texts)):
        known_content = manifest.get("content") or []
        changed = [text.name for text, now, then in zip(texts, content, known_content) if now != then]
        names = " and ".join(changed) or texts[0].name
        raise WeightlessError(f"{folder} was prepared from another text: {names} changed since; {way}")
    return corpus(folder)


def _settings(recipe: DataRecipe) -> str:
    """What decides the corpus; settings that came later do not while they are not used."""
    unused = [name for name in ("val_first", "val_last") if not getattr(recipe, name)]
    return fingerprint({key: value for key, value in to_dict(recipe).items() if key not in unused})


def _kept(folder: Path, identity: Any) -> Tokenizer | None:
    """The tokenizer that an interrupted preparation of the same text has trained."""
    stamp = folder / STAMP
    known = stamp.exists() and read_json(stamp) == identity and (folder / TOKENIZER).exists()
    return Tokenizer.load(folder / TOKENIZER) if known else None


def _sources(recipe: DataRecipe) -> tuple[Source, Source | None]:
    if recipe.field != DataRecipe().field and not has_rows(recipe.source, *filter(None, [recipe.validation])):
        raise ConfigError(
            f"data.field = {recipe.field!r} does nothing for {recipe.source}, which has no rows of JSON "
            "or parquet: leave it out"
        )
    source = open_source(recipe.source, recipe.field)
    return source, open_source(recipe.validation, recipe.field) if recipe.validation else None


def _trained(
    recipe: DataRecipe,
    source: Source,
    validation: Source | None,
    show_progress: bool,
    workers: int | None,
) -> tuple[Tokenizer, Split]:
    """The tokenizer of the training documents, and the split that was drawn on the way."""
    draft = drafted(recipe.rule, source, validation)
    vocab, merges = train_bpe(
        _nonempty(draft.training(source), source.name),
        recipe.vocab_size,
        [END_OF_TEXT],
        pattern=recipe.pattern,
        n_workers=workers,
        show_progress=show_progress,
    )
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
