"""Rules about text: nothing unfinished, nothing of one machine, no hosts of registries, no dead links.

The words looked for are put together from pieces so that this file does not contain them.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from structure.source_tree import Repository

MARKS = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"])
UNFINISHED = re.compile(rf"\b({MARKS})\b|NotImpl" + "emented")
FOLDERS = "|".join(["wo" + "rk", "ho" + "me", "ro" + "ot", "Us" + "ers"])
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(" + FOLDERS + r")(?![\w-])")
HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.",
    "debian" + ".org",
    "anaconda" + ".org",
    "anaconda" + ".com",
    "download." + "pytorch.org",
    "crates" + ".io",
    "proxy.golang" + ".org",
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def nothing_unfinished(repository: Repository) -> list[str]:
    """The package and the bootstrap contain no marks of unfinished work."""
    texts = {path: text for path, text in repository.texts.items() if path.startswith("src/") or path == "do"}
    return _matches(texts, UNFINISHED, "unfinished")


def no_machine_paths(repository: Repository) -> list[str]:
    """No absolute path of somebody's machine."""
    return _matches(repository.texts, MACHINE_PATH, "path of one machine")


def no_registry_hosts(repository: Repository) -> list[str]:
    """Where packages come from is the user's setting, so no host of a registry is named."""
    return _matches(repository.texts, re.compile("|".join(map(re.escape, HOSTS))), "host of a registry")


def _matches(texts: dict[str, str], pattern: re.Pattern[str], what: str) -> list[str]:
    found = []
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if match := pattern.search(line):
                found.append(f"{path}:{number}: {what}: {match.group(0)!r}")
    return found


def links_lead_somewhere(repository: Repository) -> list[str]:
    """Relative links in Markdown files point to files of the repository."""
    found = []
    for path, text in repository.texts.items():
        if not path.endswith(".md"):
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for target in LINK.findall(line):
                if not _resolves(repository, path, target):
                    found.append(f"{path}:{number}: link to {target}, which does not exist")
    return found


def _resolves(repository: Repository, path: str, target: str) -> bool:
    if re.match(r"[a-z]+:", target) or target.startswith("#"):
        return True
    return (repository.root / PurePosixPath(path).parent / target.split("#")[0]).exists()
