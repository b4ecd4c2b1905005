"""Does a script fetch anything while it runs?  Its source is read and never run.

    uses(text) -> [Use]      imports and calls that reach out, of the script and of the code that it carries compressed

A script may carry its code in base85 or base64 of LZMA or zlib; that is opened here as far as it is such, and read as
well.  What is built as it runs (exec of something computed) cannot be seen through, and is said.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from weightless.base.errors import CorruptFileError
from weightless.golf.bundle import long_strings, unpacked_text

MODULES = (
    "socket",
    "ssl",
    "urllib.request",
    "urllib3",
    "http.client",
    "ftplib",
    "smtplib",
    "telnetlib",
    "xmlrpc.client",
    "requests",
    "httpx",
    "aiohttp",
    "websocket",
    "websockets",
    "paramiko",
    "boto3",
    "gdown",
    "huggingface_hub",
    "datasets",
    "wandb",
)
CALLS = (
    "urlopen",
    "urlretrieve",
    "hf_hub_download",
    "snapshot_download",
    "load_dataset",
    "from_pretrained",
    "load_state_dict_from_url",
    "download_url_to_file",
    "create_connection",
)
COMMANDS = ("curl", "wget", "git", "pip", "pip3", "uv", "ssh", "scp", "rsync", "huggingface-cli", "hf", "aws", "gsutil")
RUNNERS = ("run", "call", "check_call", "check_output", "Popen", "system", "popen")
NESTED = 4
"""How deep code within code is opened."""
_SUSPECT = re.compile(
    r"\b(?:" + "|".join(sorted({name.split(".")[0] for name in MODULES} | set(CALLS))) + r")\b"
    r"|[\"' /](?:" + "|".join(COMMANDS) + r")[\"' ]|[^\n]{200}"
)
"""Without such a word and without a line that could carry code, a source need not be parsed."""


@dataclass(frozen=True)
class Use:
    where: str
    what: str


def uses(text: str, name: str, depth: int = 0) -> list[Use]:
    """What reaches out, in order; CorruptFileError where the text is no Python."""
    if depth and not _SUSPECT.search(text):
        return []
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CorruptFileError(f"{name} is no Python that could be read ({type(error).__name__})") from None
    found = [Use(f"{name}:{line}", what) for line, what in sorted(_in_tree(tree))]
    if depth < NESTED:
        for inner, source in _carried(text):
            try:
                found += uses(source, f"{name} > {inner}", depth + 1)
            except CorruptFileError:
                continue  # some other long string
    return found


def unseen(text: str) -> bool:
    """Whether the script runs code that it makes while it runs and that could not be opened here."""
    try:
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    runs = any(isinstance(call.func, ast.Name) and call.func.id in ("exec", "eval") for call in calls)
    return runs and not any(True for _ in _carried(text))


def _carried(text: str) -> Iterator[tuple[str, str]]:
    """(name, source) of the modules that compressed strings hold: a table of files, or one source."""
    for number, value in enumerate(long_strings(text)):
        try:
            content = unpacked_text(value)
        except ValueError:
            continue
        try:
            files = json.loads(content)
        except (ValueError, RecursionError):
            yield f"string {number}", content
            continue
        if isinstance(files, dict):
            yield from ((str(n), s) for n, s in files.items() if isinstance(s, str) and str(n).endswith(".py"))


def _in_tree(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"imports {a.name}") for a in node.names if _reaches(a.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if any(map(_reaches, names)):
                yield node.lineno, f"imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from _in_call(node)


def _reaches(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in MODULES)


def _in_call(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in CALLS:
        yield call.lineno, f"calls {name}"
    literals = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if name in ("import_module", "__import__") and any(map(_reaches, literals)):
        yield call.lineno, f"imports {literals[0]}"
    if name in RUNNERS and call.args:
        words = literals[0].split() if literals else _first_words(call.args[0])
        command = next((word.rpartition("/")[2] for word in words), "")
        if command in COMMANDS:
            yield call.lineno, f"runs {command}"


def _first_words(argument: ast.expr) -> list[str]:
    if not isinstance(argument, ast.List | ast.Tuple):
        return []
    return [e.value for e in argument.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
