"""The figures of docs/count_mixing.md: what a real model said, recorded once (said.json), drawn as often as one likes.

    python docs/count_mixing/figures.py [FOLDER]             draw; beside this file when no folder is given
    python docs/count_mixing/figures.py --record RUN         say it anew: RUN holds data/ and models/countmix/model.wl,
                                                             as `weightless demo --out RUN` leaves them

Recording walks with the reading engine, and stops where that disagrees with the compiled one (`lab/overheard.py`).
Equal records draw equal bytes; tests/docs/test_count_mixing_figures.py compares them with the committed files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from weightless.data.shards.corpus import corpus
from weightless.export.packed import open_packed
from weightless.lab.overheard import overheard, top_of_tree
from weightless.lab.report.overheard import overheard_svg
from weightless.lab.report.token_tree import path_svg, tree_svg

HERE = Path(__file__).parent
SAID = HERE / "said.json"
ENDING, WINDOW = "filled with uniform random values", 240
"""Where to look: the first place of the validation text that ends so, with so many tokens before it."""


def record(run: Path) -> None:
    """Ask the model of a run about the last token of ENDING, and keep what it said."""
    packed = open_packed(run / "models" / "countmix" / "model.wl")
    tokens = np.asarray(corpus(run / "data").tokens("val")[:], np.int64)
    at = place_of(packed.tokenizer, tokens)
    said = {"said": overheard(packed, tokens[at - WINDOW : at + 1], WINDOW), "tree": top_of_tree(packed, tokens)}
    SAID.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")


def place_of(tokenizer, tokens: np.ndarray) -> int:  # type: ignore[no-untyped-def]
    """The token that ENDING ends with, where it has WINDOW tokens before it."""
    wanted = np.asarray(tokenizer.encode(" " + ENDING), np.int64)
    runs = np.lib.stride_tricks.sliding_window_view(tokens, len(wanted))
    places = np.flatnonzero((runs == wanted).all(1)) + len(wanted) - 1
    places = places[places >= WINDOW]
    if not len(places):
        sys.exit(f"the validation text of this run does not say {ENDING!r}: choose another ENDING in {__file__}")
    return int(places[0])


def draw(folder: Path) -> list[Path]:
    """Write the three figures into a folder."""
    kept = json.loads(SAID.read_text("utf-8"))
    said, tree = kept["said"], kept["tree"]
    figures = {"tree": tree_svg(tree, said), "path": path_svg(said), "said": overheard_svg(said)}
    for name, svg in figures.items():
        (folder / f"{name}.svg").write_text(svg, "utf-8")
    return [folder / f"{name}.svg" for name in figures]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--record"] and len(sys.argv) == 3:
        record(Path(sys.argv[2]))
        sys.argv[1:] = []
    for path in draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE):
        print(f"{path} {path.stat().st_size:,} bytes")
