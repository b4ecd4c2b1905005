"""Which files an import reads, and whether they are those of before.  Oracle: the ids themselves."""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import WeightlessError
from weightless.data.imports.import_tokens import import_tokens
from weightless.data.imports.row_sets import Reading, open_rows


def imported(source, out):
    return import_tokens(open_rows(str(source), Reading(100)), out, "t", validation="none", show_progress=False)


def test_files_of_one_name_in_several_folders_are_all_read(tmp_path):
    """Links are followed, hidden files are not read."""
    for folder, first in (("a", 10), ("b", 20)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        np.arange(first, first + 5, dtype=np.uint16).tofile(tmp_path / "in" / folder / "train.bin")
    (tmp_path / "elsewhere").mkdir()
    np.arange(30, 35, dtype=np.uint16).tofile(tmp_path / "elsewhere" / "train.bin")
    np.arange(40, 45, dtype=np.uint16).tofile(tmp_path / "elsewhere" / ".hidden.bin")
    (tmp_path / "in" / "c").symlink_to(tmp_path / "elsewhere")
    found = imported(tmp_path / "in", tmp_path / "out")
    assert np.asarray(found.tokens("train")[:]).tolist() == [*range(10, 15), *range(20, 25), *range(30, 35)]


def test_a_source_whose_middle_has_changed_is_another(tmp_path):
    """Of the same size, with the same time and the same ends."""
    (tmp_path / "in").mkdir()
    ids = np.zeros(3 << 20, np.uint16)
    ids.tofile(tmp_path / "in" / "train.bin")
    imported(tmp_path / "in", tmp_path / "out")
    imported(tmp_path / "in", tmp_path / "out")
    ids[len(ids) // 2] = 1
    ids.tofile(tmp_path / "in" / "train.bin")
    with pytest.raises(WeightlessError, match="changed since"):
        imported(tmp_path / "in", tmp_path / "out")
