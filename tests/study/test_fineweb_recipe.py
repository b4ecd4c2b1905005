"""The recipe for FineWeb-Edu: it loads, its header says what the ledger counts, and a shrunk one trains.

Oracles: the ledger; of a tiny run the loss of a uniform guess, which is above it, and the checks of its artifact.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest

from weightless.lab.accounting import family_model
from weightless.lab.corpora import prepared
from weightless.lab.fit import stored_components
from weightless.lab.recipe import DataRecipe, EvalRecipe, load_recipe
from weightless.lab.run import run
from weightless.program.cost import touched_by_formula

PATH = Path(__file__).resolve().parents[2] / "recipes" / "weightless_fineweb.toml"
SMALL = {
    "d_model": 48,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
    "d_head": 16,
    "d_ff": 24,
    "n_experts": 4,
    "d_shared": 24,
    "context": 32,
    "rows_2": 256,
    "rows_3": 256,
}
SHORT = {
    "num_steps": 12,
    "batch_size": 2,
    "grad_accumulation": 2,
    "muon_momentum_warmup": 3,
    "eval_every": 6,
    "eval_tokens": 256,
    "device": "cpu",
    "threads": 1,
}


def test_header_says_what_the_ledger_counts():
    recipe, text = load_recipe(PATH), PATH.read_text(encoding="utf-8")
    (model,) = recipe.model
    config = model.build_config(recipe.data.vocab_size)
    training = model.build_training(config, 0)
    found = family_model(model.family, config)
    touched = touched_by_formula(found.program)
    assert f"{touched.T.mean / 1e6:.1f} MB touched" in text
    for component in ("experts", "attention"):
        assert f"{touched.components[component][0] / 1e6:.1f} of them {component}" in text or re.search(
            rf"and {touched.components[component][0] / 1e6:.1f} {component}", text
        )
    assert f"{sum(stored_components(model.family, config, found.program).values()) / 1e6:.0f} MB stored" in text
    n_parameters = sum(weight.parameters for weight in found.weights)
    assert f"{n_parameters / 1e6:,.0f} M parameters" in text
    assert training is not None and training.num_steps is not None
    tokens = training.num_steps * training.positions_per_step
    assert f"--tokens {tokens}" in text and math.isclose(tokens / 1.31e9, 4, rel_tol=2e-3)
    flops = sum(found.forward_flops(config.context, False).values()) / config.context
    assert f"{flops / 1e6:.0f} M FLOPs per token" in text and f"{3 * flops * tokens:.3g}".replace("+", "") in text
    hours = 3 * flops * tokens / (989e12 * 0.3) / 3600
    assert f"{hours:.1f} H100-hours" in text


@pytest.mark.slow
def test_a_shrunk_one_trains_from_a_prepared_corpus(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n<|endoftext|>\n".join(f"the fox number {i} ran {i * 7 % 13} times home" * 5 for i in range(200)))
    prepared(DataRecipe(text.as_posix(), vocab_size=300), tmp_path / "fineweb_edu")
    recipe = load_recipe(PATH)
    (model,) = recipe.model
    model = dataclasses.replace(model, config={**model.config, **SMALL}, train={**model.train, **SHORT})
    data = DataRecipe((tmp_path / "fineweb_edu").as_posix(), vocab_size=300)
    small = dataclasses.replace(recipe, model=(model,), data=data, eval=EvalRecipe(128))
    run(small, tmp_path / "run", "weightless run weightless_fineweb")
    (made,) = json.loads((tmp_path / "run" / "summary.json").read_text())["models"]
    assert made["nats_per_token"] < math.log(300) and all(check["ok"] for check in made["checks"])
    assert made["tokens_seen"] == 12 * 2 * 2 * 32
