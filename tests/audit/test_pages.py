"""Pages that the operating system saw against pages that the log names.  Oracle: the kernel's accessed bits."""

from __future__ import annotations

import mmap
import os
import re

import numpy as np
import pytest
from audit.small_subjects import subject
from contract.cases import ALL, first_ones

from weightless.audit.counters import pages, verify
from weightless.audit.counters.pages import PagesUnavailableError, visited
from weightless.kernels.numba.packed import MATVEC
from weightless.kernels.numba.rows import views
from weightless.program.engine import Engine
from weightless.quant.formats import encode_rows


def available() -> bool:
    try:
        pages._need_system()
    except PagesUnavailableError:
        return False
    return True


linux = pytest.mark.skipif(not available(), reason="this system does not tell which pages were visited")


@linux
@pytest.mark.parametrize("case", first_ones(ALL, quick=2))
def test_pages_visited_are_the_pages_named(case):
    model = subject(*case)
    for t in (1, 2, len(model.tokens)):
        step = visited(model, model.tokens, model.targets, t)
        assert step.difference == ""
        assert all(1 <= n <= step.found[key] <= n + 1 for key, n in step.predicted.items())  # one more at an edge


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


@linux
@pytest.mark.parametrize("weight_format", ["int8", "int4", "bf16", "f32"])
def test_rows_behind_the_last_are_not_asked_for(weight_format):
    """Oracle: the system.  A block of rows that ends before its page does leaves the next page alone (an expert of
    many), and one that ends with its page may at most touch the edge of the next."""
    rows = encode_rows(np.ones((12, 128), np.float32), weight_format)
    out, x = np.zeros(12, np.float32), np.ones(128, np.float32)
    for gap in (0, pages.EDGE, 1600):
        memory, first = pages._Memory(np.zeros(5 * pages.PAGE, np.uint8)), 3 * pages.PAGE - gap - rows.size
        memory.bytes[first : first + rows.size] = rows.reshape(-1)
        product = (views(memory.bytes), first, rows.shape[1], 12, 128, x, out)
        for _ in range(2):  # once to compile
            pages._CLEAR.write_text("1")
            memory.forget()
            MATVEC[weight_format](*product)
        touched = np.zeros(memory.n_bytes, dtype=bool)
        touched[first : first + rows.size] = True
        least, most = memory.predicted(touched)
        found = memory.found(dict(pages._referenced()))
        assert (least <= found).all() and (found <= most).all(), (gap, found)
        assert most.sum() - least.sum() == (gap == 0)


@linux
def test_a_mapped_file_whose_name_is_no_text_hides_no_page(tmp_path):
    """Oracle: the pages counted without such a file."""
    model = subject("feather", "as_it_comes")
    before = visited(model, model.tokens, model.targets, 3)
    path = os.fsencode(tmp_path) + b"/m\xefx"
    with open(path, "wb") as file:
        file.write(bytes(pages.PAGE))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert visited(model, model.tokens, model.targets, 3) == before


def touched_pages(model) -> np.ndarray:
    from weightless.audit.counters.addresses import addresses

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
@pytest.mark.parametrize("wrong", ["a page too many", "a page too few"])
@pytest.mark.parametrize("times", [1, 6])
def test_a_disturbed_measurement_is_repeated_and_told(monkeypatch, wrong, times):
    """A system that others use: so many measurements show a page nobody names, or miss one; then one is undisturbed."""
    model = subject("feather", "as_it_comes")
    touched = touched_pages(model)
    page, left, honest = int(np.flatnonzero(touched == (wrong == "a page too few"))[0]), [times], pages._Memory.found

    def disturbed(self, referenced):
        found = honest(self, referenced)
        if len(found) == len(touched) and left[0]:  # the weights
            left[0] -= 1
            found[page] = 1 - found[page]
        return found

    monkeypatch.setattr(pages._Memory, "found", disturbed)
    monkeypatch.setattr(pages, "FIRST_PAUSE", 1e-5)
    step = visited(model, model.tokens, model.targets, 3)
    assert step.difference == "" and step.found == step.predicted and step.repeats >= times
    left[0] = times
    counter = verify._pages(model, (3,))
    told = re.search(r"\((\d+) disturbed measurements? repeated\)", counter.detail)
    assert counter.verdict == verify.AGREES and told is not None and int(told[1]) >= times  # more if others disturb it


@linux
def test_what_always_differs_is_measured_so_often_and_told(monkeypatch):
    monkeypatch.setattr(pages._Memory, "found", lambda self, referenced: np.full(len(self.bytes) // pages.PAGE, 7))
    monkeypatch.setattr(pages, "FIRST_PAUSE", 1e-5)
    step = visited(subject("feather", "as_it_comes"), np.array([1, 2, 3]), np.array([2, 3, 4]), 3)
    assert step.repeats == pages.ATTEMPTS - 1
    assert step.difference.endswith(f"and none of {pages.ATTEMPTS} measurements agreed")


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
