"""A machine that cannot hold the tables of a count is told before anything is made.  Oracle: the tables' arithmetic."""

from __future__ import annotations

import pytest
from lab.fables_corpus import corpus_of_fables

from weightless.base.errors import ConfigError
from weightless.base.memory import memory
from weightless.lab import checks
from weightless.lab.recipe import ModelRecipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of_fables(tmp_path_factory.mktemp("corpus"), n_bytes=60_000)


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
