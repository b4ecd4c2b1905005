"""One small finished run, shared by the tests of the command line: fables, three families, three training steps."""

from __future__ import annotations

import pytest

from weightless.cli.main import main
from weightless.data.text import fables

RECIPE = """
name = "small"

[data]
source = "{text}"
vocab_size = 320

[eval]
tokens = 700

[sample]
prompt = "Once"
max_tokens = 8

[[model]]
name = "dense"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 64 }}
train = {{ num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 256 }}

[[model]]
name = "feather"
family = "feather"
config = {{ d_model = 40, n_layers = 1, n_heads = 1, d_head = 16, d_ff = 24, context = 64, rows_2 = 97, rows_3 = 89 }}
train = {{ num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 256, qat_start = 0.5 }}

[[model]]
name = "ngram"
family = "ngram"
config = {{ order = 3, context = 64 }}
"""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """(folder of the run, its recipe file, its text file)."""
    folder = tmp_path_factory.mktemp("small")
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=3, n_bytes=120_000)))
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE.format(text=text.as_posix()))
    assert main(["run", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run", recipe, text
