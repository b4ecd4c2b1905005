"""A recipe whose text is a prepared corpus already: `source = "path/of/a/folder"` made by data prepare or data import.

The run folder gets the same corpus under data/: the shards as hard links (or symbolic links, or copies, whichever the
file system allows), so that a run of a large import takes no second room, and whatever looks for a run's own data
finds it there.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import atomic_write
from weightless.data.shards.corpus import MANIFEST, Corpus, corpus
from weightless.data.shards.manifest import SPLITS
from weightless.lab.recipe import DataRecipe


def is_prepared(source: str) -> bool:
    """Whether a recipe's source is a folder with a prepared corpus."""
    return os.path.isfile(Path(source) / MANIFEST)  # False, too, for what can be no name


def linked(recipe: DataRecipe, folder: Path) -> Corpus:
    """The corpus that the recipe names, as `folder`; errors when a recipe cannot be made from it."""
    there = corpus(recipe.source)
    there.require_tokenizer("a run's table of bits per byte")
    if why := there.why_refused("val"):
        raise ConfigError(
            f"{recipe.source}: bits per byte, which a run is about, are refused: {why}; use train, pack "
            "and eval one by one for nats per token, or another tokenizer"
        )
    if recipe.rule != DataRecipe(max_overlap=recipe.max_overlap).rule:
        raise ConfigError(
            f"{recipe.source} brings its own validation split: take validation, val_fraction, val_first "
            "and val_last out of the recipe"
        )
    for name in ("field", "pattern", "max_overlap"):
        if getattr(recipe, name) != getattr(DataRecipe(), name):
            raise ConfigError(
                f"data.{name} = {getattr(recipe, name)!r} does nothing for {recipe.source}, which is "
                "prepared already: leave it out"
            )
    if there.vocab_size != recipe.vocab_size:
        raise ConfigError(
            f"{recipe.source} has a vocabulary of {there.vocab_size}: "
            f"say vocab_size = {there.vocab_size} in [data], not {recipe.vocab_size}"
        )
    if (folder / MANIFEST).exists():
        here = corpus(folder)
        if here.manifest != there.manifest:
            raise WeightlessError(
                f"{folder} holds another corpus than {recipe.source}: choose another name for the "
                "run, or delete that folder"
            )
        return here
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*(path for split in SPLITS for path in there.shard_paths(split)), there.tokenizer_path]:
        _link(path.resolve(), folder / path.name)
    atomic_write(folder / MANIFEST, (there.folder / MANIFEST).read_bytes())
    return corpus(folder)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    for way in (os.link, os.symlink):
        with suppress(OSError):
            way(source, target)
            return
    shutil.copyfile(source, target)
