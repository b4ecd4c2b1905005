"""Rules about form: lengths, names, docstrings, work at import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from structure.source_tree import Repository, Source, dotted

KEPT_FROM_FORMATTER = "# fmt: " + "skip"
LONGEST_FILE = 400
LONGEST_FUNCTION = 60

FORBIDDEN_STEMS = {"common", "new", "stuff", "temp"}
FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "misc"}
VERSIONED = re.compile(r"(^|_)v\d+$|^new_|_new$|^old_|_old$")

# What may be called while a module is imported: declarations, and building a constant out of constants.
# A capital letter means a constructor (a table of frozen dataclasses is a constant).
DECLARATIONS = {
    "dataclass",
    "dataclass_transform",
    "field",
    "njit",
    "jit",
    "vectorize",
    "guvectorize",
    "overload",
    "intrinsic",
    "contextmanager",
    "cache",
    "constexpr",
    "lru_cache",
    "cached_property",
    "property",
    "wraps",
    "no_grad",
    "inference_mode",
    "custom_op",
    "namedtuple",
    "cast",
    "get_logger",
    "getLogger",
    "version",
    "operator",
    "register_model",
    "loader",
    "twin_of",
}
CONSTANT_BUILDERS = {
    "frozenset",
    "set",
    "tuple",
    "list",
    "dict",
    "range",
    "sorted",
    "reversed",
    "zip",
    "enumerate",
    "len",
    "sum",
    "min",
    "max",
    "abs",
    "round",
    "int",
    "float",
    "str",
    "bytes",
    "bool",
    "ord",
    "chr",
    "complex",
    "pow",
    "divmod",
    "compile",
    "escape",
    "calcsize",
    "join",
    "split",
    "encode",
    "format",
    "items",
    "keys",
    "values",
    "fromkeys",
    "log",
    "log2",
    "exp",
    "sqrt",
    "ldexp",
    "dtype",
    "iinfo",
    "finfo",
    "array",
    "asarray",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "auto",
    "itemgetter",
    "attrgetter",
    "partial",
    "isalnum",
    "lower",
    "fields",
    "get_args",
    "object",
    "type",
    "fromhex",
    "index",
}
ALLOWED_CALLS = DECLARATIONS | CONSTANT_BUILDERS
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def formatted(repository: Repository) -> list[str]:
    """The formatter decides: fewer than ten places are kept from it, each with its reason in the file."""
    places = [
        f"{source.path}:{number}: kept from the formatter"
        for source in repository.python
        for number, line in enumerate(source.text.splitlines(), 1)
        if line.rstrip().endswith(KEPT_FROM_FORMATTER)
    ]
    return places[9:]


def file_lengths(repository: Repository) -> list[str]:
    """Files have at most 400 lines."""
    lengths = {source.path: source.text.count("\n") for source in repository.python}
    return [f"{path}:1: {n} lines, at most {LONGEST_FILE}" for path, n in lengths.items() if n > LONGEST_FILE]


def function_lengths(repository: Repository) -> list[str]:
    """Functions have at most 60 lines."""
    return [
        source.at(node, f"{node.name} has {length} lines, at most {LONGEST_FUNCTION}")
        for source in repository.python
        for node, length in functions(source)
        if length > LONGEST_FUNCTION
    ]


def functions(source: Source) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Every function of a file with its number of lines, decorators not counted."""
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTIONS):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def forbidden_names(repository: Repository) -> list[str]:
    """A name says what is inside: no utils, helpers, misc, common; no versions."""
    found = []
    for path in repository.paths:
        for part in PurePosixPath(path).parts:
            stem = part.split(".")[0].lower()
            if stem in FORBIDDEN_STEMS or FORBIDDEN_WORDS & set(stem.split("_")) or VERSIONED.search(stem):
                found.append(f"{path}:1: {part!r} does not say what is inside")
    return found


def docstrings(repository: Repository) -> list[str]:
    """Every module begins with a docstring; that of a room says its floor."""
    found = []
    for source in repository.python:
        if not source.in_package and not source.text.strip():
            continue
        text = ast.get_docstring(source.tree)
        if not text:
            found.append(f"{source.path}:1: no module docstring")
        elif source.in_package and source.path.count("/") == 3 and source.path.endswith("__init__.py"):
            found += [] if re.search(r"\bfloor\b", text, re.I) else [f"{source.path}:1: docstring names no floor"]
    return found


def work_at_import(repository: Repository) -> list[str]:
    """Importing a module of the package declares things and does nothing."""
    found = []
    for source in repository.package:
        for node in _at_import(source.tree.body):
            found += _work(source, node)
    return found


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes that run at import: not the bodies of functions, not what __main__ and TYPE_CHECKING guard."""
    for statement in body:
        if isinstance(statement, FUNCTIONS):
            arguments = statement.args
            heads = [*statement.decorator_list, *arguments.defaults, *filter(None, arguments.kw_defaults)]
            for head in heads:
                yield from ast.walk(head)
        elif isinstance(statement, ast.ClassDef):
            for head in [*statement.decorator_list, *statement.bases]:
                yield from ast.walk(head)
            yield from _at_import(statement.body)
        elif isinstance(statement, (ast.If, ast.Try)):
            if not (isinstance(statement, ast.If) and _guarded(statement.test)):
                yield from _at_import(statement.body)
            yield from _at_import(statement.orelse)
        else:
            yield from _outside_lambdas(statement)


def _outside_lambdas(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _outside_lambdas(child)


def _guarded(test: ast.expr) -> bool:
    return any(name in ast.dump(test) for name in ("'__main__'", "'TYPE_CHECKING'"))


def _work(source: Source, node: ast.AST) -> list[str]:
    if isinstance(node, (ast.For, ast.While, ast.With, ast.Await)):
        return [source.at(node, f"{type(node).__name__.lower()} statement at import")]
    if not isinstance(node, ast.Call):
        return []
    name = dotted(node.func).split(".")[-1]
    if name in ALLOWED_CALLS or name.lstrip("_")[:1].isupper():
        return []
    return [source.at(node, f"calls {name or 'something'}() at import")]
