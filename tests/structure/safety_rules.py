"""Rules about safety: nothing that runs what a file contains, nothing that swallows every error."""

from __future__ import annotations

import ast

from structure.import_rules import imports
from structure.source_tree import Repository, dotted

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
STRING_RUNNERS = {"eval", "exec", "compile"}


def no_pickle(repository: Repository) -> list[str]:
    """No format that can run code when it is read: pickle and its kin, np.load(allow_pickle), torch.load."""
    found = []
    for source in repository.package:
        for node, target in imports(source):
            if target and target[0] in UNSAFE_MODULES:
                found.append(source.at(node, f"imports {target[0]}: files are data, never code"))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call):
                found += [source.at(node, problem) for problem in _unsafe_load(node)]
    return found


def _unsafe_load(call: ast.Call) -> list[str]:
    keywords = {word.arg: word.value for word in call.keywords}
    problems = []
    if dotted(call.func) == "torch.load" and not _is_constant(keywords.get("weights_only"), True):
        problems.append("torch.load without weights_only=True")
    if "allow_pickle" in keywords and not _is_constant(keywords["allow_pickle"], False):
        problems.append("allow_pickle")
    return problems


def _is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def no_code_from_strings(repository: Repository) -> list[str]:
    """No eval, exec or compile of strings."""
    return [
        source.at(node, f"{node.func.id}() of a string")
        for source in repository.package
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STRING_RUNNERS
    ]


def no_bare_except(repository: Repository) -> list[str]:
    """An except clause names what it expects."""
    return [
        source.at(node, "bare except swallows even an interrupt")
        for source in repository.python
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]


def no_shell(repository: Repository) -> list[str]:
    """No command line is put together as a string for a shell."""
    found = []
    for source in repository.package:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call):
                continue
            shell = any(word.arg == "shell" and not _is_constant(word.value, False) for word in node.keywords)
            if shell or dotted(node.func) in ("os.system", "os.popen"):
                found.append(source.at(node, "starts a shell; give the arguments as a list"))
    return found
