"""What runs a packed model starts without PyTorch: each engine module is imported where torch cannot be.

Oracle: the interpreter itself, in a fresh process whose import system refuses torch, and whose sys.modules
is then read; so an import through five other modules counts as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "weightless"

ROOMS = [
    "base",
    "ops",
    "artifact",
    "ledger",
    "kernels",
    "quant",
    "tokenizer",
    "program",
    "ngram",
    "decode",
    "serve",
    "cli",
]
# Files that are about PyTorch, each with the reason why the engine never needs it.
TORCH_FILES = {
    "quant/straight_through.py": "training against rounded weights",
    "quant/learned_steps.py": "gradients of learned clips",
    "quant/gptq.py": "rounding a trained model",
    "serve/lm_eval_model.py": "a class of lm-eval, which is an extra and brings PyTorch",
}
TORCH_FOLDERS = {"kernels/triton", "kernels/cuda"}

PROBE = """
import importlib, json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ImportError("torch is refused here")

sys.meta_path.insert(0, Refuse())
problems = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        problems[name] = str(error)
if "torch" in sys.modules:
    problems["torch"] = "is in sys.modules"
print(json.dumps(problems))
"""


def engine_modules(package: Path = PACKAGE) -> list[str]:
    """Dotted names of every engine file."""
    found = []
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            relative = path.relative_to(package).as_posix()
            if relative in TORCH_FILES or any(relative.startswith(folder + "/") for folder in TORCH_FOLDERS):
                continue
            parts = [package.name, *relative.removesuffix(".py").split("/")]
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def refused(modules: list[str], path: Path) -> dict[str, str]:
    """Modules that a process without torch cannot import, with the reason."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", PROBE, json.dumps(modules)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_engine_imports_where_torch_is_refused():
    modules = engine_modules()
    assert "weightless.base.files" in modules
    problems = refused(modules, PACKAGE.parent)
    assert not problems, "\n".join(f"{name}: {reason}" for name, reason in problems.items())


@pytest.mark.parametrize("line", ["import torch", "from torch import nn", "from fake.other import x"])
def test_a_planted_torch_import_is_caught(tmp_path, line):
    package = tmp_path / "fake"
    (package / "program").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("import torch\nx = 1\n")
    (package / "program" / "__init__.py").write_text("")
    (package / "program" / "engine.py").write_text(line + "\n")
    assert list(refused(engine_modules(package), tmp_path)) == ["fake.program.engine"]
