"""Two small models with a tokenizer, and one server of both for all tests of this folder."""

from __future__ import annotations

import pytest
from contract.cases import bench
from contract.configurations.shared import V

from weightless.data.text import fables
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.tokenizer import Tokenizer

MADE = {"dense": "tied_mha_swiglu_f32", "ngram": "order_4"}


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """{name: path of an artifact}: weights of no training, a tokenizer of fables."""
    folder = tmp_path_factory.mktemp("a_place_to_hide")
    tokenizer = Tokenizer.train(list(fables.documents(seed=1, n_bytes=30_000)), V).to_json()
    found = {}
    for name, case in MADE.items():
        made = bench(name, case)
        found[name] = folder / f"{name}.wl"
        pack(found[name], made.name, made.config, made.arrays, tokenizer)
    return found


@pytest.fixture(scope="session")
def packed(shelf):
    return {name: open_packed(path) for name, path in shelf.items()}


@pytest.fixture(scope="session")
def port(shelf):
    """Of a server with four places and room for eight to wait, which waits for nobody long."""
    from serve.small_server import running

    from weightless.serve import completions, guards, server

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "HEADER_SECONDS", 0.4)
        patched.setattr(guards, "BODY_SECONDS", 0.4)
        patched.setattr(completions, "WRITE_SECONDS", 2.0)
        with running([str(path) for path in shelf.values()]) as found:
            yield found
