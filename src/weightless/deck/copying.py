"""A submission as files that can be handed over: regular, few, small, inside its folder.  Floor 9.

What a folder holds is written by strangers.  Symbolic links, devices, pipes and names that would leave the folder are
not followed but refused with a line that names them; the copy is what is hashed, searched and shown to the worker.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from weightless.base.units import human_bytes
from weightless.deck.outcome import Failed

MOST_FILES = 500
LARGEST_FILE = 64 << 20
LARGEST_PYTHON = 2 << 20
LARGEST_FOLDER = 256 << 20
DEPLOYED = frozenset({"PROMPT.md", "INTERFACE.md", "train_data.txt"})
"""What `deck deploy` puts into a folder, which is nobody's answer; nor are hidden files and byte code."""
_LEFT_OUT = frozenset({"__pycache__", "node_modules"})


def submitted(folder: Path) -> list[Path]:
    """Files of a submission, relative and sorted; empty when nothing was handed in.  Raises Failed with CONTRACT.

    Names of links and special files count as handed in, so that they are told of and not passed over.
    """
    found: list[Path] = []
    if folder.is_symlink():
        raise Failed("CONTRACT", f"{shown(folder.name)} is a symbolic link; hand in the folder itself")
    if not folder.is_dir():
        return found
    for place, folders, names in os.walk(folder, followlinks=False):
        here = Path(place)
        kept = [n for n in folders if not n.startswith(".") and (n not in _LEFT_OUT or (here / n).is_symlink())]
        folders[:] = sorted(kept)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in [*names, *links]:
            path = (here / name).relative_to(folder)
            if not name.startswith(".") and not name.endswith(".pyc") and str(path) not in DEPLOYED:
                found.append(path)
        if len(found) > MOST_FILES:
            raise Failed("CONTRACT", f"more than {MOST_FILES} files; hand in the solution only")
    return sorted(found)


def copy_submission(folder: Path, into: Path) -> dict[str, str]:
    """Copy the files of a submission; their SHA-256 by name.  Raises Failed with CONTRACT for what cannot be taken."""
    hashes, total = {}, 0
    for path in submitted(folder):
        content = _content(folder / path, str(path))
        total += len(content)
        if total > LARGEST_FOLDER:
            raise Failed("CONTRACT", f"more than {human_bytes(LARGEST_FOLDER)} of files; hand in the solution only")
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        hashes[shown(path.as_posix())] = hashlib.sha256(content).hexdigest()
    readable_by_all(into)
    return hashes


def readable_by_all(folder: Path) -> None:
    """The worker runs as another user: it may read, and nobody may write."""
    for place, _, names in os.walk(folder):
        for name in names:
            os.chmod(Path(place) / name, 0o444)
        os.chmod(place, 0o755)


def _content(path: Path, name: str) -> bytes:
    """The bytes of a regular file, opened without following a link at its end."""
    told = shown(name, 100)
    if path.is_symlink():
        raise Failed("CONTRACT", f"{told} is a symbolic link; hand in the file itself")
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Failed("CONTRACT", f"{told} cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Failed("CONTRACT", f"{told} is no regular file")
        most = LARGEST_PYTHON if path.suffix == ".py" else LARGEST_FILE
        if about.st_size > most:
            raise Failed("CONTRACT", f"{told} has {human_bytes(about.st_size)}, at most {human_bytes(most)}")
        return file.read(most)


def shown(text: str, longest: int = 400) -> str:
    """A stranger's text on one line without what would move a terminal's cursor."""
    text = text[: 4 * longest]
    line = " ".join(re.sub(r"[^\S\n]+", " ", text).split("\n"))
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= longest else line[: longest - 2] + " …"


def hash_of(files: dict[str, str]) -> str:
    """One SHA-256 for named contents, given theirs."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode(errors="surrogatepass")).hexdigest()


def hash_folder(folder: Path, pattern: str = "*") -> str:
    """The same of the files of a folder of our own."""
    files = [path for path in folder.rglob(pattern) if path.is_file() and "__pycache__" not in path.parts]
    return hash_of({p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
