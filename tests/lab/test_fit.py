"""From budgets to configurations.

Oracles: brute force over every configuration of a small grid, each costed from its decode program; the size of a file
that `pack` writes; sums by hand in the refusals.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.export.lower import pack
from weightless.lab.fit import Request, costs_of, fit, stored_components
from weightless.models import dense, feather, ngram, scan

POSITIONS = 3  # the headline over few positions: the search is the same, the test is quick


def total(request: Request, config, budget: str) -> float:
    return sum(costs_of(request, config, (budget,))[budget].values())


def keeps(request: Request, config) -> bool:
    return all(total(request, config, budget) <= limit for budget, limit in request.limits.items())


def dense_grid(sizes: int, wider: int, deeper: int, fuller: int):
    """Every configuration of the documented space in increasing order; heads of 64 set the step of d_model."""
    for size in range(1, sizes + 1):
        base, following = dense.Config.at(size, 512), dense.Config.at(size + 1, 512)
        step = {1: 8, 2: 8, 3: 24, 4: 8}[size]
        for d_model in range(base.d_model, min(following.d_model, base.d_model + wider * step), step):
            for n_layers in range(base.n_layers, min(following.n_layers, base.n_layers + deeper) + 1):
                for more in range(fuller):
                    config = dataclasses.replace(base, d_model=d_model, n_layers=n_layers)
                    d_ff = {"d_ff": config.hidden + 8 * more} if more else {}
                    yield dataclasses.replace(config, **d_ff)


@pytest.mark.parametrize(
    "budget",
    [
        {"touched": 400e3},
        *(
            pytest.param(more, marks=pytest.mark.slow)
            for more in ({"stored": 700e3}, {"touched": 1e6, "optimizer": 3.5e6})
        ),
    ],
)
def test_dense_is_the_greatest_of_the_whole_grid(budget):
    request = Request("dense", budget, 512, positions=POSITIONS)
    wanted = [config for config in dense_grid(3, 99, 2, 40) if keeps(request, config)][-1]
    found = fit(request)
    assert found.config == wanted
    assert all(margin >= 0 for margin in found.margins.values())


def test_no_dial_reaches_the_next_size():
    """One byte less than the second size: width and depth of the first go up to, and not beyond, what lies between."""
    request = Request("dense", {"touched": 1.0}, 512, positions=POSITIONS)
    limit = total(request, dense.Config.at(2, 512), "touched") - 1
    request = dataclasses.replace(request, limits={"touched": limit})
    found = fit(request)
    assert found.config == [config for config in dense_grid(1, 99, 1, 20) if keeps(request, config)][-1]
    assert found.config.d_model == 64 + 7 * 8 < dense.Config.at(2, 512).d_model


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("dense", {"touched": 1e6}),
        ("feather", {"touched": 300e3, "stored": 9e6}),
        ("feather", {"stored": 5e6}),
        ("feather", {"optimizer": 9e6}),
        ("ngram", {"touched": 400}),
        ("scan", {"touched": 1e6}),
    ],
)
def test_one_more_of_any_dial_exceeds_a_budget_or_its_bound(name, limits):
    request = Request(name, limits, 4096, positions=POSITIONS)
    found = fit(request)
    assert keeps(request, found.config) and min(found.margins.values()) >= 0
    assert any(dial.stopped_by for dial, _ in found.turned)
    room = {"dense": dense, "feather": feather, "ngram": ngram, "scan": scan}[name]
    size = found.turned[0][0].value + 1
    assert keeps(request, room.Config.at(size, 4096)) and not keeps(request, room.Config.at(size + 1, 4096))
    for dial, config in found.turned[1:]:
        if dial.stopped_by:
            assert not keeps(request, one_more(config, dial.name)), dial.name


def one_more(config, dial: str):
    """The next value of a dial, from the configuration that it led to; later dials stand at 0 there."""
    if dial == "rows":
        return dataclasses.replace(config, rows_2=config.rows_2 + 1024, rows_3=config.rows_3 + 1024)
    d_ff = config.d_ff or config.hidden
    more = {"d_model": config.d_model + 8, "n_layers": config.n_layers + 1, "d_ff": d_ff + 8}
    return dataclasses.replace(config, **{dial: more[dial]})


def test_what_is_set_stays_and_tables_are_left_where_nothing_limits_them():
    fixed = {"n_layers": 3, "table_format": "int8"}
    found = fit(Request("feather", {"touched": 250e3}, 4096, fixed=fixed, positions=POSITIONS))
    assert (found.config.n_layers, found.config.table_format) == (3, "int8")
    assert "n_layers" not in [dial.name for dial, _ in found.turned]
    base = feather.Config.at(found.turned[0][0].value + 1, 4096)
    assert (found.config.rows_2, found.config.rows_3) == (base.rows_2, base.rows_3)


def test_stored_bytes_are_those_of_the_file(tmp_path):
    """Without tokenizer and notes, to the byte: header, padding, description and table included."""
    cases = {
        "dense": (dense, dense.Config(301, 40, 1, n_heads=2, context=9)),
        "feather": (feather, feather.Config(301, 40, 1, 2, 1, 16, 24, context=9, rows_2=97, rows_3=89)),
    }
    for name, (room, config) in cases.items():
        program = room.FAMILY.decode_program(config)
        arrays = {t.name: np.zeros(t.shape, np.float32 if t.kind == "weight" else np.int64) for t in program.stored()}
        pack(tmp_path / name, name, config, arrays)
        assert sum(stored_components(name, config, program).values()) == (tmp_path / name).stat().st_size


def test_impossible_budgets_name_the_component():
    """V D 2 bytes of head: 50,257 x 64 x 2 = 6.43 MB."""
    with pytest.raises(ConfigError, match=r"the head alone takes 6\.43 MB; use a class head .* or a smaller vocab"):
        fit(Request("dense", {"touched": 1e6}, 50_257))
    with pytest.raises(ConfigError, match=r"1 kB stored .* the lookup rows alone takes"):
        fit(Request("feather", {"stored": 1e3}, 4096))
    with pytest.raises(ConfigError, match=r"10 kB of adamw state .* the head alone"):
        fit(Request("feather", {"optimizer": 1e4}, 4096))


def test_a_counted_family_has_no_state():
    assert sum(fit(Request("ngram", {"touched": 400}, 4096, positions=2)).costs["optimizer"].values()) == 0
