"""Where and from what a run was made: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weightless.base.cores import cores


def machine() -> dict[str, Any]:
    """What a reader needs to judge a timing: processor, cores, memory, versions, load."""
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "numba")},
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "threads": {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE") if name in os.environ},
    }


def commit(source: Path | None = None) -> str:
    """The commit that this very source stands in, with "+changes" when it was changed since.

    "unknown" where no repository holds `source` (this file): an installation inside the folder of another project is
    none of that project's commits.
    """
    source = (source or Path(__file__)).resolve()
    try:
        _git(source.parent, "ls-files", "--error-unmatch", "--", source.name)
        head = _git(source.parent, "rev-parse", "--short=12", "HEAD")
        changed = _git(source.parent, "status", "--porcelain", "--", str(source.parents[1]), ":/recipes")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    own = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    run = subprocess.run(
        ["git", *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=10, check=True
    )
    return run.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
