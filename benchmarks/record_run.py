"""Keep a finished run as evidence: recipe, environment and summary under runs/recorded/NAME.

    python benchmarks/record_run.py runs/golf_laptop [--text runs/text]

Names of places on this machine become those that a reader would have (runs/NAME, and the folder of texts); nothing else
changes.  tests/structure/test_recorded_results.py holds what is kept to the recipe, and the tables of README and LOG to
what is kept.  A run that lacks a model of its recipe, or of which a check failed, is refused.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from weightless.base.files import atomic_write
from weightless.lab.recipe import load_recipe
from weightless.lab.report import check_summary

ROOT = Path(__file__).resolve().parents[1]
FILES = ("environment.json", "recipe.toml", "summary.json")


def kept(folder: Path, texts: str) -> dict[str, str]:
    """{name: content} of what is kept of a run; SystemExit says what it lacks."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"{folder}: {', '.join(missing)} missing: run the recipe to its end first")
    recipe = load_recipe(folder / "recipe.toml")
    summary = check_summary(json.loads((folder / "summary.json").read_text(encoding="utf-8")), str(folder))
    models = summary["models"]
    wanted = len(recipe.model) * len(recipe.seeds)
    if len(models) != wanted:
        raise SystemExit(f"{folder}: {len(models)} of {wanted} models are there: run the recipe to its end first")
    wrong = [f"{m['name']}: {check}" for m in models for check in m["checks"] if not check["ok"]]
    if wrong:
        raise SystemExit(f"{folder}: {len(wrong)} checks failed ({wrong[0]})")
    contents = {name: (folder / name).read_text(encoding="utf-8") for name in FILES}
    return {name: as_read(text, folder, recipe.name, texts) for name, text in contents.items()}


def as_read(text: str, folder: Path, name: str, texts: str) -> str:
    """A record with the names of places that a reader would have."""
    text = text.replace(str(folder.resolve()), f"runs/{name}").replace(str(folder), f"runs/{name}")
    return re.sub(r"(?<=[\s\"'=])/[\w./-]*/(?=books_(train|valid)\.txt)", f"{texts}/", text)


def asked_for(doc: str | None) -> argparse.Namespace:
    """The folder to record, `run`, and what the folder of its texts is to be called, `text`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--text", default="runs/text", help="how the folder of the texts is called in the record")
    return parser.parse_args()


def main() -> None:
    asked = asked_for(__doc__)
    contents = kept(asked.run, asked.text)
    place = ROOT / "runs/recorded" / load_recipe(asked.run / "recipe.toml").name
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        atomic_write(place / name, content)
    print(place.relative_to(ROOT))


if __name__ == "__main__":
    main()
