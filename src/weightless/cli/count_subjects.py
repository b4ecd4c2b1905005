"""What `weightless count` can be asked about: names on the command line become decode programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightless.base.config import from_dict
from weightless.base.errors import WeightlessError, nearest
from weightless.cli.parse import settings
from weightless.cli.recipe_files import found_recipe

if TYPE_CHECKING:
    import numpy as np

    from weightless.data.shards.corpus import Corpus
    from weightless.export.packed import Packed
    from weightless.program.program import Program

ARTIFACT, THEIR_CONFIG = "model.wl", "config.json"


@dataclass(frozen=True)
class Named:
    """One model: its program, from a configuration, or from the artifact `packed`."""

    name: str
    family: str
    config: Any
    program: Program
    packed: Packed | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def opened(self, otherwise: str) -> Packed:
        """The artifact; WeightlessError(otherwise) when there is none."""
        if self.packed is None:
            raise WeightlessError(otherwise)
        return self.packed

    def tokens(self, text: str) -> np.ndarray | None:
        """Tokens of the text, of the held-out split of the run that the artifact lies in, or None."""
        packed = self.opened("a configuration has no text")
        if text:
            return tokens_of(packed, text)
        found = self.corpus()  # an artifact that lies alone is fed drawn tokens, and the record says so
        return None if found is None else found.tokens("val")[: packed.program.context + 1]

    def corpus(self) -> Corpus | None:
        """The prepared corpus of the run that the artifact lies in, if its tokens are the model's."""
        from weightless.cli.artifact import corpus_of

        packed = self.opened("a configuration has no text")
        try:
            found = corpus_of(Path(packed.artifact.path))
            return found if found.manifest.get("tokenizer_sha256") == packed.tokenizer_sha256 else None
        except WeightlessError:
            return None

    @property
    def sizes_are_bounds(self) -> bool:
        """Whether what is stored follows from a text that nobody has counted yet (n-grams from a configuration)."""
        from weightless.models.catalog import Trained, family

        return self.packed is None and not isinstance(family(self.family), Trained)


def named_models(what: str, pairs: tuple[str, ...]) -> Iterator[Named]:
    """The models that one word on the command line stands for."""
    from weightless.models.catalog import families, family

    path = Path(what)
    if what.startswith("hub:"):
        yield _on_hub(what, pairs)
    elif what.startswith("hf://"):
        yield of_file(Path(what), what, pairs)
    elif what in families() and not path.exists():
        room = family(what)
        config = from_dict(room.Config, settings(room.Config, pairs), what)
        yield Named(what, what, config, room.decode_program(config))
    elif path.is_dir():
        yield from _of_folder(path, pairs)
    elif path.name == THEIR_CONFIG and path.is_file():
        yield _of_foreign_folder(path.parent, pairs)
    elif recipe := found_recipe(what):
        yield from _of_recipe(recipe, pairs)
    elif path.exists():
        yield of_file(path, str(path), pairs)
    else:
        from weightless.ledger.presets import presets

        known = [*families(), *presets()]
        raise WeightlessError(f"{what!r} is no file, no family and no published model: {nearest(what, known)}")


def _of_recipe(path: Path, pairs: tuple[str, ...]) -> Iterator[Named]:
    from weightless.lab.recipe import load_recipe
    from weightless.models.catalog import family

    recipe = load_recipe(path)
    for model in recipe.model:
        room = family(model.family)
        config = model.build_config(recipe.data.vocab_size)
        if pairs:
            config = dataclasses.replace(config, **settings(room.Config, pairs))
        yield Named(model.name, model.family, config, room.decode_program(config))


def _of_folder(path: Path, pairs: tuple[str, ...]) -> Iterator[Named]:
    """A run (every model it has finished), or one model: its artifact, or its configuration before it is packed."""
    from weightless.lab.checkpoints import load_model_file
    from weightless.models.catalog import family

    if (path / THEIR_CONFIG).is_file() and not (path / "model.toml").exists():
        yield _of_foreign_folder(path, pairs)
        return
    finished = sorted(path.glob(f"models/*/{ARTIFACT}"))
    if finished:
        for file in finished:
            yield of_file(file, file.parent.name, pairs)
    elif (path / ARTIFACT).exists():
        yield of_file(path / ARTIFACT, path.name, pairs)
    else:
        name, config = load_model_file(path)
        if pairs:
            raise WeightlessError(f"{path} is a trained model: its configuration is fixed; leave out --set")
        yield Named(path.name, name, config, family(name).decode_program(config))


def _on_hub(what: str, pairs: tuple[str, ...]) -> Named:
    """A model on the hub, of which nothing but config.json is fetched."""
    from weightless.export.hub_folder import config_of

    found = config_of(what)
    return dataclasses.replace(_of_foreign_folder(found.folder, pairs), name=found.name)


def _of_foreign_folder(path: Path, pairs: tuple[str, ...]) -> Named:
    """A folder of Hugging Face's, by its config.json alone: its weights may not even be there."""
    from weightless.export.foreign_folder import describe

    found = describe(path)
    config = dataclasses.replace(found.config, **settings(found.family.Config, pairs))
    shape = [f"{found.where}: {name} changes no byte; import refuses it" for name in found.left_out]
    name = path.resolve().name
    return Named(name, found.name, config, found.family.decode_program(config), extra={"notes": [*shape, *found.notes]})


def of_file(path: Path, name: str, pairs: tuple[str, ...]) -> Named:
    """An artifact by its path."""
    from weightless.export.packed import open_packed

    if pairs:
        raise WeightlessError(f"{path} is an artifact: its configuration is fixed; leave out --set")
    return of_packed(open_packed(path), name)


def of_packed(packed: Packed, name: str) -> Named:
    """An open artifact."""
    return Named(name, packed.family, None, packed.program, packed, {"file": packed.stored_bytes()})


def tokens_of(packed: Packed, text: str) -> np.ndarray:
    """A text in the artifact's own tokens, each document after <|endoftext|>."""
    from weightless.data.text.sources import open_source
    from weightless.evals.text_tokens import text_tokens

    return text_tokens(packed, open_source(text)).ids
