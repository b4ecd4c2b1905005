"""The recorded commit is that of a repository which holds the source, not of any folder above it.  Oracle: git."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from weightless.lab import environment
from weightless.lab.environment import commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path):
    """(the repository, the source inside it, which git does not know yet)."""
    source = tmp_path / "env" / "weightless" / "lab" / "environment.py"
    source.parent.mkdir(parents=True)
    shutil.copy(environment.__file__, source)
    (tmp_path / "README").write_text("another project\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "README")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    return tmp_path, source


@pytest.mark.parametrize("ignored", [True, False])
def test_the_commit_of_another_project_is_not_ours(project, ignored):
    folder, source = project
    if ignored:
        (folder / ".gitignore").write_text("env/\n")
    assert commit(source) == "unknown"


def test_the_commit_that_holds_the_source_is_recorded_with_its_state(project, monkeypatch):
    folder, source = project
    git(folder, "add", "env")
    git(folder, "commit", "-q", "-m", "ours")
    head = git(folder, "rev-parse", "--short=12", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit(source) == head
    (folder / "README").write_text("not ours\n")
    assert commit(source) == head
    (source.parents[1] / "new.py").write_text("")
    assert commit(source) == f"{head}+changes"
