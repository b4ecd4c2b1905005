"""Each rule catches a planted violation and lets the sound tree pass: a rule that cannot fail proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from structure import form_rules, help_rules, import_rules, safety_rules, text_rules
from structure.source_tree import Repository
from structure.test_house_rules import RULES

PROJECT = '[project]\ndependencies = ["numpy>=2", "torch"]\n[project.optional-dependencies]\ninterop = ["tomli-w"]\n'
SOUND = {
    "pyproject.toml": PROJECT,
    "README.md": "[Code](src/weightless/base/files.py), [above](#top), [there](https://example.org/wo" + "rk).\n",
    "src/weightless/__init__.py": '"""All of it."""\n\n\n'
    "def __getattr__(name):\n    from weightless.api import model\n\n    return model\n",
    "src/weightless/base/__init__.py": '"""Floor 0."""\n\nimport importlib\n\n\n'
    'def __getattr__(name):\n    return importlib.import_module(f"{__name__}.{name}")\n',
    "src/weightless/base/files.py": '"""Files."""\n\nfrom dataclasses import dataclass, field\n\n\n'
    "@dataclass(frozen=True)\nclass File:\n    parts: list = field(default_factory=list)\n\n\n"
    "TABLE = {1: File(), 2: tuple(range(3))}\nRATIO = 1 / 2\n\n\ndef load():\n    return open('x')\n",
    "src/weightless/data/__init__.py": '"""Floor 3."""\n',
    "src/weightless/data/text/__init__.py": '"""Text."""\n',
    "src/weightless/data/text/sources.py": '"""Sources."""\n\nfrom weightless.base import files\n\nTEXT = files\n',
    "src/weightless/data/shards/prepare.py": '"""Shards."""\n\nfrom weightless.data.text import sources\n'
    "from ..text.sources import TEXT\n\nREAD = (sources, TEXT)\n",
    "src/weightless/models/__init__.py": '"""Floor 5."""\n',
    "src/weightless/models/catalog.py": '"""By name."""\n\nimport importlib\n\n\ndef family(name):\n'
    '    return importlib.import_module(f"weightless.models.{name}")\n',
    "src/weightless/models/dense.py": '"""Dense."""\n\nimport numpy as np\nimport tomli_w\nimport torch\n'
    "from weightless.base import files\n\n\n"
    "def load(path):\n    from ..base.files import load\n\n"
    "    return np.load(path, allow_pickle=False), load, files, tomli_w, torch\n",
}


def plant(root: Path, **files: str) -> Repository:
    """The sound tree with some files replaced or added (names with '/' come through a dict)."""
    for path, text in {**SOUND, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Repository(root)


def code(body: str) -> str:
    return f'"""Planted."""\n{body}\n'


BASE, DENSE = "src/weightless/base/planted.py", "src/weightless/models/planted.py"
DATA = "src/weightless/data"
CASES = [
    (import_rules.floors, BASE, code("import weightless.models.dense")),
    (import_rules.floors, BASE, code("from weightless import models")),
    (import_rules.floors, BASE, code("from ..models.dense import load")),
    (import_rules.floors, BASE, code("from .. import models")),
    (import_rules.floors, BASE, code("def f():\n    from weightless.models import dense")),
    (
        import_rules.floors,
        BASE,
        code("import importlib\nx = importlib.import_module('weightless.models.dense')"),
    ),
    (
        import_rules.floors,
        BASE,
        code("import importlib\nx = importlib.import_module('..models', __package__)"),
    ),
    (import_rules.floors, BASE, code("import weightless")),
    (import_rules.floors, "src/weightless/ops/planted.py", code("from weightless.ledger import entries")),
    (import_rules.floors, "src/weightless/attic/planted.py", code("")),
    (import_rules.floors, "src/weightless/__init__.py", code("from weightless.base import files")),
    (import_rules.floors, "src/weightless/__init__.py", code("from weightless.api import model")),
    (import_rules.floors, "src/weightless/__init__.py", code("def f():\n    from weightless.cli import run")),
    (import_rules.floors, "src/weightless/cli/planted.py", code("def f():\n    from weightless.api import model")),
    (import_rules.parts, f"{DATA}/text/planted.py", code("from weightless.data.shards import corpus")),
    (import_rules.parts, f"{DATA}/text/planted.py", code("def f():\n    from weightless.data.imports.hub import x")),
    (import_rules.parts, f"{DATA}/shards/planted.py", code("from ..imports import token_rows")),
    (import_rules.parts, f"{DATA}/imports/planted.py", code("import weightless.data.batches.order")),
    (import_rules.parts, f"{DATA}/batches/planted.py", code("from weightless.data.text import sources")),
    (import_rules.parts, f"{DATA}/batches/planted.py", code("from weightless import data")),
    (import_rules.parts, f"{DATA}/planted.py", code("")),
    (import_rules.parts, f"{DATA}/text/deep/planted.py", code("")),
    (
        import_rules.parts,
        "src/weightless/audit/counters/planted.py",
        code("import importlib\nx = importlib.import_module('weightless.audit.predictors.probes')"),
    ),
    (import_rules.families, DENSE, code("from weightless.models import dense")),
    (import_rules.families, DENSE, code("def f():\n    from .dense import load")),
    (import_rules.families, "src/weightless/models/deep/planted.py", code("")),
    (import_rules.dynamic_imports, DENSE, code("import importlib\ndef f(x):\n    importlib.import_module(x)")),
    (import_rules.dynamic_imports, DENSE, code("def f(x):\n    __import__('numpy')")),
    (
        import_rules.dynamic_imports,
        "src/weightless/__init__.py",
        code("f = lambda x: import_module(f'{x}.{__name__}')"),
    ),
    (import_rules.used_dependencies, "pyproject.toml", PROJECT.replace('"tomli-w"', '"tomli-w", "optuna"')),
    (import_rules.declared_dependencies, DENSE, code("def f():\n    import scipy.sparse")),
    (form_rules.formatted, BASE, code("x = 1  # fmt: " + "skip\nx = 1  # fmt: ".join([""] * 10) + "skip")),
    (form_rules.file_lengths, BASE, code("x = 1\n" * 401)),
    (form_rules.function_lengths, BASE, code("class A:\n    def f(self):\n" + "        x = 1\n" * 60)),
    (form_rules.forbidden_names, "src/weightless/base/utils.py", code("")),
    (form_rules.forbidden_names, "src/weightless/base/string_helpers.py", code("")),
    (form_rules.forbidden_names, "tests/common/test_x.py", code("")),
    (form_rules.forbidden_names, "src/weightless/base/files_v2.py", code("")),
    (form_rules.forbidden_names, "src/weightless/base/new_files.py", code("")),
    (form_rules.docstrings, BASE, "x = 1\n"),
    (help_rules.help_elsewhere, BASE, code('def f():\n    """Does it; see the module."""')),
    (
        help_rules.help_elsewhere,
        BASE,
        code('class C:\n    """C."""\n    def f(self):\n        """See the\n        module\'s docstring."""'),
    ),
    (help_rules.private_in_signatures, BASE, code("def f(x: _Hidden): pass")),
    (help_rules.private_in_signatures, BASE, code("def f(x, _y=1): pass")),
    (help_rules.private_in_signatures, BASE, code("class C:\n    def __init__(self, x=_default): pass")),
    (
        help_rules.private_in_signatures,
        BASE,
        code("@dataclass\nclass C:\n    _kept: dict = field(factory)"),
    ),
    (form_rules.docstrings, "src/weightless/ops/__init__.py", '"""A room without a number."""\n'),
    (form_rules.work_at_import, BASE, code("print('hello')")),
    (form_rules.work_at_import, BASE, code("CONTENT = [open('x')]")),
    (form_rules.work_at_import, BASE, code("for i in range(3):\n    pass")),
    (form_rules.work_at_import, BASE, code("class A:\n    table = load()")),
    (form_rules.work_at_import, BASE, code("def f(x=load()):\n    pass")),
    (form_rules.work_at_import, BASE, code("try:\n    load()\nexcept OSError:\n    x = 1")),
    (safety_rules.no_pickle, BASE, code("def f():\n    import pickle")),
    (safety_rules.no_pickle, BASE, code("import torch\ndef f(p):\n    torch.load(p)")),
    (safety_rules.no_pickle, BASE, code("import torch\ndef f(p):\n    torch.load(p, weights_only=False)")),
    (safety_rules.no_pickle, BASE, code("import numpy\ndef f(p):\n    numpy.load(p, allow_pickle=True)")),
    (safety_rules.no_code_from_strings, BASE, code("def f(x):\n    return eval(x)")),
    (safety_rules.no_code_from_strings, BASE, code("def f(x):\n    exec(x)")),
    (safety_rules.no_bare_except, BASE, code("try:\n    x = 1\nexcept:\n    x = 2")),
    (safety_rules.no_shell, BASE, code("import subprocess\ndef f(x):\n    subprocess.run(x, shell=True)")),
    (text_rules.nothing_unfinished, BASE, code("# TO" + "DO later")),
    (text_rules.nothing_unfinished, BASE, code("def f():\n    raise NotImpl" + "ementedError")),
    (text_rules.no_machine_paths, "README.md", "Data lies in `/wo" + "rk/shared`.\n"),
    (text_rules.no_machine_paths, BASE, code("DATA = '/ho" + "me/ann/data'")),
    (text_rules.no_machine_paths, "docs/x.md", "cd /ro" + "ot\n"),
    (text_rules.no_registry_hosts, "docs/x.md", "https://py" + "pi.org/simple\n"),
    (text_rules.links_lead_somewhere, "docs/x.md", "[code](../src/weightless/base/gone.py)\n"),
]


NAMES = [f"{i}-{case[0].__name__}" for i, case in enumerate(CASES)]


@pytest.mark.parametrize(("rule", "path", "text"), CASES, ids=NAMES)
def test_planted_violation_is_caught(tmp_path, rule, path, text):
    found = rule(plant(tmp_path, **{path: text}))
    assert len(found) == 1, found
    assert found[0].startswith(path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sound_tree_passes(tmp_path, rule):
    assert rule(plant(tmp_path)) == []


def test_every_rule_has_a_planted_violation():
    assert {case[0] for case in CASES} == set(RULES)


SOUND_IMPORT_TIME = [
    "if __name__ == '__main__':\n    print('hello')",
    "import re\nWORD = re.compile('a')\nNAMES = frozenset(' '.join(['a', 'b']).split())",
    "KEY = sorted({1: 2}, key=lambda item: anything(item))",
    "def f(x: int = 3, *, y=None):\n    return load(x)",
    "from typing import TYPE_CHECKING, TypeVar\nT = TypeVar('T')\nif TYPE_CHECKING:\n    import torch",
]


@pytest.mark.parametrize("body", SOUND_IMPORT_TIME)
def test_declarations_are_not_work(tmp_path, body):
    assert form_rules.work_at_import(plant(tmp_path, **{BASE: code(body)})) == []
