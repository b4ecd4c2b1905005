"""Right solutions of another hand pass every check."""

from __future__ import annotations

import pytest
from deck import honest_solutions
from deck.trying import card_of, outcomes, own, written


@pytest.mark.parametrize("name", ["flash_attention", "flash_attention_bwd", "dflash_verify"])
def test_it_passes(name, tmp_path):
    folder = written(tmp_path / "theirs", getattr(honest_solutions, name.upper()))
    found = outcomes(card_of(name), folder, own(name, tmp_path / "ours"), 1, to_the_end=True)
    assert [one for one in found if one.status != "PASS"] == []
