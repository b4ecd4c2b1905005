"""Pages that the operating system saw against pages that the log names.  Oracle: the kernel's accessed bits."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject
from contract.cases import ALL

from weightless.audit import pages
from weightless.audit.pages import PagesUnavailableError, visited
from weightless.program.engine import Engine


def available() -> bool:
    try:
        pages._need_system()
    except PagesUnavailableError:
        return False
    return True


linux = pytest.mark.skipif(not available(), reason="this system does not tell which pages were visited")


@linux
@pytest.mark.parametrize("case", ALL, ids="-".join)
def test_pages_visited_are_the_pages_named(case):
    model = subject(*case)
    for t in (1, 2, len(model.tokens)):
        step = visited(model, model.tokens, model.targets, t)
        assert step.difference == "" and step.found == step.predicted
        assert min(step.found.values()) >= 1


@linux
def test_one_page_too_many_is_seen(monkeypatch):
    """An engine that looks at one byte more, on a page of its own, which its log does not name."""
    model = subject("feather", "as_it_comes")
    honest = Engine.score_stream
    unread = np.flatnonzero(~touched_pages(model))

    def curious(self, tokens, targets):
        assert self._memory[0][0][int(unread[0]) * pages.PAGE] >= 0
        return honest(self, tokens, targets)

    monkeypatch.setattr(Engine, "score_stream", curious)
    step = visited(model, model.tokens, model.targets, 3)
    assert "weights: 1 of" in step.difference and "the log names 0 pages, the system saw 1" in step.difference


def touched_pages(model) -> np.ndarray:
    from weightless.audit.addresses import addresses

    named = addresses(model, model.tokens, model.targets, 3).weights
    return np.pad(named, (0, -len(named) % pages.PAGE)).reshape(-1, pages.PAGE).any(axis=1)


@linux
def test_a_page_that_is_not_visited_is_seen(monkeypatch):
    """A log that names a page which nobody visits."""
    model = subject("feather", "as_it_comes")
    unread, honest = np.flatnonzero(~touched_pages(model)), pages.addresses

    def boastful(*arguments):
        found = honest(*arguments)
        found.weights[int(unread[0]) * pages.PAGE] = True
        return found

    monkeypatch.setattr(pages, "addresses", boastful)
    assert "the system saw 0" in visited(model, model.tokens, model.targets, 3).difference


@linux
def test_chunks_of_several_pages(monkeypatch):
    monkeypatch.setattr(pages, "MAX_CHUNKS", 5)
    model = subject("dense", "untied_gqa_silu_f32")
    step = visited(model, model.tokens, model.targets, 7)
    assert step.difference == "" and step.found["weights"] > 5


@pytest.mark.parametrize("missing", ["_SMAPS", "_CLEAR"])
def test_a_system_without_proc_says_so(monkeypatch, tmp_path, missing):
    monkeypatch.setattr(pages, missing, tmp_path / "nowhere" / "smaps")
    model = subject("ngram", "order_2")
    with pytest.raises(PagesUnavailableError, match="No such file"):
        visited(model, model.tokens, model.targets, 1)


def test_larger_pages_are_told(monkeypatch):
    monkeypatch.setattr(pages.mmap, "PAGESIZE", 16384)
    with pytest.raises(PagesUnavailableError, match="16384"):
        visited(subject("ngram", "order_2"), np.array([1]), np.array([1]), 1)
