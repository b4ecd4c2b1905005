"""Which file is called, and what a solution that does not fit is told to rename: nothing of it is ever run.

Oracle: the sentences, which name the pinned name and what stands in its place.
"""

from __future__ import annotations

import pytest
from deck.toy_card import CARD, SOLUTION

from weightless.deck.card import Pinned
from weightless.deck.finding import contract_of, find
from weightless.deck.labels import labels
from weightless.deck.outcome import Failed

WALK = "def walk(start, n, step):\n    return [start]\n"
ENERGY = "def row_energy(x):\n    return x\n"


def written(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def refused(folder, pinned=CARD.pinned):
    with pytest.raises(Failed) as caught:
        find(folder, pinned)
    return caught.value.status, caught.value.told


@pytest.mark.parametrize(
    ("files", "file"),
    [
        ({"solution__py": SOLUTION}, "solution.py"),
        ({"main__py": SOLUTION, "test_main__py": SOLUTION}, "main.py"),
        ({"solution__py": "from energies import row_energy\n" + WALK, "energies__py": ENERGY}, "solution.py"),
        ({"solution__py": "from energies import *\n" + WALK, "energies__py": ENERGY}, "solution.py"),
        (
            {
                "solution__py": "try:\n    import numba\nexcept ImportError:\n    "
                + "\n    ".join((ENERGY + WALK).split("\n"))
            },
            None,
        ),
        ({"solution__py": ENERGY + "walk = lambda start, n, step: [start]\n"}, "solution.py"),
        ({"solution__py": ENERGY + "def walk(*arguments, **named):\n    return []\n"}, "solution.py"),
        ({"solution__py": ENERGY + "def walk(start, n, *, step, more=1):\n    return []\n"}, "solution.py"),
        ({"solution__py": "\ufeff" + SOLUTION}, "solution.py"),
    ],
)
def test_what_fits_is_found(tmp_path, files, file):
    assert find(written(tmp_path, **files), CARD.pinned).file == (file or "solution.py")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WALK, "define row_energy(x)"),
        (WALK + "def energy(x):\n    return x\n", "rename energy to row_energy"),
        (WALK + "def rowEnergy(x):\n    return x\n", "rename rowEnergy to row_energy"),
        (
            ENERGY + "def Walk(start, n, f):\n    return []\n",
            "rename Walk to walk and rename in walk f to step",
        ),
        (WALK + "def row_energies(x):\n    return x\n", "rename row_energies to row_energy"),
        (
            WALK + "class Solver:\n    def row_energy(self, x):\n        return x\n",
            "take row_energy out of the class Solver",
        ),
        (ENERGY + "def walk(start, n, f):\n    return []\n", "rename in walk f to step"),
        (
            ENERGY + "def walk(n, start, step):\n    return []\n",
            "in the order (n, start, step); wanted (start, n, step)",
        ),
        (ENERGY + "def walk(start, n):\n    return []\n", "has no parameter step"),
        (ENERGY + "def walk(start, n, step, seed):\n    return []\n", "walk wants seed"),
        (ENERGY + "def walk(seed=0, start=0, n=1, step=None):\n    return []\n", "move seed of walk behind"),
        (ENERGY + 'def walk(start, n, step):\n    """Walks."""\n    ...\n', "walk is empty"),
        (
            ENERGY + "if __name__ == '__main__':\n    def walk(start, n, step):\n        return 1\n",
            "define walk(start, n, step)",
        ),
    ],
)
def test_what_does_not_fit_is_told_what_to_change(tmp_path, text, told):
    status, said = refused(written(tmp_path, solution__py=text))
    assert status == "CONTRACT" and told in said and said.startswith("solution.py: ")


def test_names_in_two_files_are_to_be_imported(tmp_path):
    status, told = refused(written(tmp_path, solution__py=WALK, energies__py=ENERGY))
    assert (status, told) == (
        "CONTRACT",
        "solution.py: row_energy is in energies.py: import it (from energies import row_energy)",
    )


def test_no_python(tmp_path):
    assert "no Python file but answer.md" in refused(written(tmp_path, answer__md="```python\n" + SOLUTION + "```"))[1]
    (tmp_path / "answer.md").unlink()
    assert "a notebook is no module" in refused(written(tmp_path, work__ipynb="{}"))[1]


@pytest.mark.parametrize("text", ["for each row:\n    take the mean", "\x00", "(" * 5000 + ")" * 5000])
def test_what_is_no_python_is_an_import_that_fails(tmp_path, text):
    status, told = refused(written(tmp_path, solution__py=text))
    assert status == "IMPORT" and told.startswith("solution.py")


CLASS = Pinned("Cache", ("size",))
METHODS = (CLASS, Pinned("Cache.append", ("k", "v"), also=("Cache.add",)))
INIT = "    def __init__(self, size):\n        pass\n"
APPEND = "    def append(self, k, v):\n        return 1\n"
SWAPPED = APPEND.replace("k, v", "v, k")
DATA = "from dataclasses import dataclass\n@dataclass\nclass Cache:\n    size: int\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Cache:\n" + INIT + APPEND, ""),
        ("class Base:\n" + APPEND + "class Cache(Base):\n" + INIT, ""),
        (DATA + APPEND, ""),
        ("from far import Base\nclass Cache(Base):\n    pass\n", ""),
        ("from far import Cache\n", ""),
        ("class Cache:\n" + INIT + APPEND.replace("append", "add"), "rename Cache.add to Cache.append"),
        ("class Cache:\n" + INIT + SWAPPED, "in the order (v, k)"),
        ("class cache:\n" + INIT + APPEND, "rename cache to Cache"),
        (DATA.replace("size", "n") + APPEND, "Cache(n) has no parameter size"),
    ],
)
def test_classes_and_methods(tmp_path, text, told):
    folder = written(tmp_path, solution__py=text)
    if told:
        assert told in refused(folder, METHODS)[1]
    else:
        assert find(folder, METHODS).file == "solution.py"


def test_contract_of_a_folder(tmp_path):
    assert contract_of(CARD, tmp_path / "nowhere") == "nothing was handed in"
    assert contract_of(CARD, written(tmp_path, solution__py=SOLUTION)) == ""
    assert "define row_energy" in contract_of(CARD, written(tmp_path, solution__py=WALK))


def test_labels_name_file_and_line_and_nothing_else(tmp_path):
    text = "import numpy\nimport os.path, ctypes\nfrom torch import nn\n\nopen('x')\nself.open('y')\n"
    written(tmp_path, solution__py=text, broken__py="def")
    assert labels(tmp_path) == [
        "solution.py:2 imports ctypes",
        "solution.py:2 imports os",
        "solution.py:3 imports torch",
        "solution.py:5 calls open",
    ]
