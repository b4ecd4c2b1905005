"""Recipes by name: those beside the user, of the checkout, and of the installed package.

demo, recipes/demo.toml     a recipe of the house, wherever the command is given
any/path/mine.toml          that file, and no other
"""

from __future__ import annotations

import os
from pathlib import Path

from weightless.base.errors import WeightlessError, nearest

RECIPES = "recipes"


def found_recipe(name: str, part: str = "") -> Path | None:
    """The file that a word on the command line means, if it means a recipe; a missing .toml is given back as it is."""
    given = Path(name)
    if os.path.isfile(given) and given.suffix == ".toml":
        return given
    if not os.path.exists(given):
        ours = name if given.name == name and not given.suffix else ""
        if given.parent == Path(RECIPES, part) and given.suffix == ".toml":
            ours = given.stem
        for folder in _folders(part) if ours else []:
            if os.path.isfile(folder / f"{ours}.toml"):
                return folder / f"{ours}.toml"
    return given if given.suffix == ".toml" else None


def recipe_path(name: str, part: str = "") -> Path:
    """The recipe to run, whatever its file is called; WeightlessError naming the nearest one of the house.

    `part` is a folder of the recipes, as studies, for other things than runs.
    """
    given = Path(name)
    found = given if os.path.exists(given) else found_recipe(name, part)
    if found is not None:
        return found
    known = sorted({path.stem for folder in _folders(part) if folder.is_dir() for path in folder.glob("*.toml")})
    raise WeightlessError(f"no recipe {name!r}: {nearest(name, known) if known else 'give the path of a .toml file'}")


def _folders(part: str = "") -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    return [folder / RECIPES / part for folder in (Path(), package.parents[1], package)]
