"""One script that carries the modules it needs: their imports followed, prose taken out, compressed.

    modules = closure(roots)            every module of ours that these import, however late, by reading their source
    text = script(modules, recipe)      script_head.py with all of it inside, one file of ASCII
    opened(text) -> {path: source}      what such a script carries, without running it

Nothing is copied by hand, so the script runs the very engine that scores.  What is left out or put in another's place:

- docstrings, comments, annotations of functions that nothing decorates, and what only a type checker imports
- rooms of operators that neither the artifact's program nor a module in the closure needs
- STAND_INS: parts that would bring packages or training along (rich's bar, the `regex` package's classes of
  characters, which are asked for while the script is built, short texts without compiled code, all of lowering but one
  name, names of the hub, and what Python users ask the package for)

Errors: WeightlessError where a script carries something else than it should.
"""

from __future__ import annotations

import ast
import base64
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from weightless import __version__
from weightless.base.compiled import PACKAGE
from weightless.base.errors import CorruptFileError
from weightless.golf.names import RECIPE
from weightless.tokenizer.patterns import character_classes

OPERATORS = "weightless.program.operators"
ENTRY, TRAINING = "weightless.golf.entry", "weightless.golf.training"
BATCHED = "weightless.evals.batched"
"""Scoring in PyTorch, which a script does not offer: the engine scores."""
ALWAYS = ("weightless.program.warm",)
"""Named in no import statement: the process that helps to compile imports it."""
LARGEST = 1 << 26
"""Bytes that the modules of a foreign script may unpack to."""
_CLASSES = """
@lru_cache(maxsize=1)
def character_classes():
    import base64, zlib
    return np.frombuffer(zlib.decompress(base64.b85decode({packed!r})), dtype=np.uint8)
"""
_ON_HUB = "def is_artifact_on_hub(path):\n    return False\n\ndef local_path(path):\n    return path\n"
_NEVER_LIGHT = """
LIGHT_BYTES = 0
class LightEncoder:
    def __init__(self, *_):
        pass
    def takes(self, n_bytes):
        return False
"""
_LOWER = "TOKENIZER = 'tokenizer'\n"
_TOKENIZER = "from weightless.tokenizer.bpe import Tokenizer\n"
_OPENING = """
from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer
def load_saved(path):
    with open(path, 'rb') as file:
        is_ours = file.read(1) == b'{'
    return (Tokenizer if is_ours else SentencePieceTokenizer).load(path)
"""


def closure(roots: Iterable[str], stand_ins: Mapping[str, str], without: Sequence[str] = ()) -> dict[str, str]:
    """{module: lean source} of all that `roots` import from the package, `without` some of it.

    A stand-in is a module's whole source.
    """
    found: dict[str, str] = {}
    todo = [*roots, *ALWAYS]
    while todo:
        name = todo.pop()
        for module in _with_parents(name):
            if module in found or module in without or (path := _path_of(module)) is None:
                continue
            source = stand_ins[module] if module in stand_ins else path.read_text(encoding="utf-8")
            tree = lean(ast.parse(source))
            found[module] = ast.unparse(tree) + "\n"
            if module != OPERATORS:
                todo += _imported(tree)
            if module.startswith(f"{OPERATORS}.") and module.count(".") == 3:
                todo += [f"{module}.{file.stem}" for file in path.parent.glob("*.py") if path.name == "__init__.py"]
    if OPERATORS in found:
        rooms = sorted({name.split(".")[3] for name in found if name.startswith(f"{OPERATORS}.")})
        found[OPERATORS] = _only_rooms(found[OPERATORS], [room for room in rooms if _is_package(room)])
    return found


def scoring_roots(operators: Iterable[object]) -> list[str]:
    """The modules from which a program of these operators is scored and continued."""
    return [ENTRY, *sorted({type(op).__module__.rpartition(".")[0] for op in operators})]


def stand_ins(training: bool) -> dict[str, str]:
    """What takes the place of modules in a script that only scores, or that trains as well."""
    found = {
        "weightless": f"__version__ = {__version__!r}\n",
        "weightless.export.hub_artifact": _ON_HUB,
        "weightless.tokenizer.light_encode": _NEVER_LIGHT,
        "weightless.base.progress": _replaced("weightless.base.progress", "_RichBar", "_RichBar = _PlainLines\n"),
        "weightless.tokenizer.patterns": _replaced(
            "weightless.tokenizer.patterns", "character_classes", _CLASSES.format(packed=_packed_classes())
        ),
    }
    if not training:
        found |= {"weightless.export.lower": _LOWER, "weightless.tokenizer": _TOKENIZER}
        found |= {"weightless.tokenizer.opening": _OPENING}
    return found


def script(modules: Mapping[str, str], recipe: Mapping[str, object] | None = None) -> str:
    """The text of the script; `recipe` is what --train is to do."""
    files = {_file_of(name): source for name, source in sorted(modules.items())}
    if recipe is not None:
        files[f"weightless/golf/{RECIPE}"] = json.dumps(recipe, sort_keys=True)
    packed = lzma.compress(json.dumps(files).encode(), preset=9 | lzma.PRESET_EXTREME)
    head = lean(ast.parse(Path(__file__).with_name("script_head.py").read_text(encoding="utf-8")))
    text = ast.unparse(head).replace("PACKED = ''", f"PACKED = {base64.b85encode(packed).decode()!r}", 1)
    return f"# Scores its folder: python train_gpt.py --score DATA (see README.md).\n{text}\n"


def opened(text: str) -> dict[str, str]:
    """{path: source} of what a script carries; empty when it carries nothing.  CorruptFileError for damage."""
    for value in long_strings(text):
        try:
            files = json.loads(unpacked_text(value))
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(files, dict) and all(isinstance(source, str) for source in files.values()):
            return files
    return {}


def long_strings(text: str) -> Iterator[str | bytes]:
    """String constants that are long enough to carry code; CorruptFileError when the text is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CorruptFileError(
            f"the script is no Python that could be read ({type(error).__name__}: {error})"
        ) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and len(node.value) > 200:
            yield node.value


def unpacked_text(value: str | bytes) -> str:
    """The text in base85 or base64 of LZMA or zlib, at most LARGEST bytes; ValueError when it is none."""
    for decode in (base64.b85decode, base64.b64decode, base64.a85decode):
        try:
            content = decode(value)
        except ValueError:
            continue
        for decoder in (lzma.LZMADecompressor(memlimit=1 << 28), zlib.decompressobj(wbits=47)):
            try:
                return decoder.decompress(content, LARGEST).decode()
            except (lzma.LZMAError, zlib.error, EOFError, UnicodeDecodeError):
                continue
    raise ValueError("no compressed text")


def lean(tree: ast.Module) -> ast.Module:
    """Without docstrings, annotations of functions and what is imported for type checkers."""
    return ast.fix_missing_locations(_Lean().visit(tree))


class _Lean(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse or ast.Pass()
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.decorator_list:  # torch reads the annotations of its operators
            return self._without_docstring(node)
        node.returns = None
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in every:
            if argument is not None:
                argument.annotation = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef | ast.Module) -> ast.AST:
        """Strings that stand alone are prose, wherever they stand."""
        prose = [s for s in node.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
        node.body = [s for s in node.body if s not in prose or s.value.value is ...]  # type: ignore[attr-defined]
        node.body = node.body or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        return self.generic_visit(node)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules of ours that may stand behind the import statements of a source, wherever these stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("weightless"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("weightless"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)] if parts[0] == "weightless" else []


def _path_of(module: str) -> Path | None:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


def _file_of(module: str) -> str:
    path = _path_of(module)
    assert path is not None
    return path.relative_to(PACKAGE.parent).as_posix()


def _is_package(room: str) -> bool:
    return (PACKAGE / "program" / "operators" / room / "__init__.py").is_file()


def _only_rooms(source: str, rooms: Sequence[str]) -> str:
    """The package of the operators with these rooms alone."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == OPERATORS:
            node.names = [alias for alias in node.names if alias.name in rooms]
    return ast.unparse(tree) + "\n"


def _replaced(module: str, name: str, source: str) -> str:
    """The source of a module with one function or class in another form."""
    path = _path_of(module)
    assert path is not None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at = [i for i, node in enumerate(tree.body) if getattr(node, "name", "") == name]
    tree.body[at[0] : at[0] + 1] = ast.parse(source).body
    return ast.unparse(tree)


def _packed_classes() -> str:
    classes = np.asarray(character_classes(), dtype=np.uint8)
    return base64.b85encode(zlib.compress(classes.tobytes(), 9)).decode()
