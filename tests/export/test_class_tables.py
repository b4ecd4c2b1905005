"""Opening an artifact whose class head scores by one table and draws by another.  Oracle: the two are permutations."""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import bench

from weightless.base.errors import CorruptFileError
from weightless.export.lower import pack
from weightless.export.packed import open_packed

FAULTS = {
    "two tokens in one slot": lambda slots, tokens: (slots, np.concatenate([tokens[:1], tokens[:1], tokens[2:]])),
    "another order": lambda slots, tokens: (slots, np.roll(tokens, 1)),
    "two tokens swapped": lambda slots, tokens: (slots[[1, 0, *range(2, len(slots))]], tokens),
    "an id outside": lambda slots, tokens: (slots, np.where(tokens == 5, len(tokens), tokens)),
    "a slot behind the vocabulary": lambda slots, tokens: (np.where(slots == 5, len(slots), slots), tokens),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tables_that_are_not_inverse_are_refused(tmp_path, fault):
    b = bench("feather", "square_vocabulary")
    names = ("slot_of_token", "token_of_slot")
    changed = dict(zip(names, FAULTS[fault](*(b.arrays[name] for name in names)), strict=True))
    path = tmp_path / "model.wl"
    pack(path, b.name, b.config, b.arrays)
    assert open_packed(path).program == b.program
    pack(path, b.name, b.config, b.arrays | changed)
    with pytest.raises(CorruptFileError, match="not inverse to each other") as caught:
        open_packed(path)
    assert "\n" not in str(caught.value)
