"""A machine that cannot hold the tables of a count is told before anything is made.  Oracle: the tables' arithmetic."""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError
from weightless.base.memory import memory
from weightless.data.text import fables
from weightless.lab import checks
from weightless.lab.corpora import prepared
from weightless.lab.recipe import DataRecipe, ModelRecipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=60_000)))
    return prepared(DataRecipe(text.as_posix(), vocab_size=300), folder / "data", show_progress=False, workers=1)


@pytest.mark.parametrize("model", ["countmix", "mixture"])
def test_too_little_memory_is_told_with_a_remedy(corpus, model, monkeypatch):
    config = {"counted": "countmix", "neural": "feather"} if model == "mixture" else {}
    recipe = ModelRecipe("mine", model, config=config, train={"num_steps": 1} if config else {})
    monkeypatch.setattr(checks, "memory", lambda: 10**6)
    with pytest.raises(ConfigError, match=r"'mine'.* takes 510 MB of memory, this machine has 1 MB: lower tables_gb"):
        checks.check_on_text(recipe, corpus)


def test_this_machine_has_some_memory():
    found = memory()
    assert found is None or found > 10**8
