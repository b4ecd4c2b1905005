"""What going through the same blocks again costs: T for every pass, U, parameters and stored bytes once.

Oracle: dense models of the same widths, as deep as the passes make it, and as large as the blocks are.
"""

from __future__ import annotations

import dataclasses

import pytest

from weightless.base.errors import ConfigError
from weightless.lab.accounting import family_model
from weightless.models import dense, recurrent
from weightless.program.cost import flops, n_parameters, touched_by_formula

CONFIG = recurrent.Config(301, 72, 2, 3, 1, 2, n_heads=4, n_kv_heads=2, d_ff=45, context=63)
WEIGHTS = ("attention", "feed-forward")


def flat(n_layers: int) -> dense.Config:
    """Dense blocks of the same widths."""
    same = {
        name: getattr(CONFIG, name) for name in ("vocab_size", "d_model", "n_heads", "n_kv_heads", "d_ff", "context")
    }
    return dense.Config(**same, n_layers=n_layers)


def components(program) -> dict[str, tuple[float, float, float]]:
    return dict(touched_by_formula(program).components)


def test_traffic_is_that_of_the_deep_model_and_distinct_weights_are_those_of_the_large_one():
    program = recurrent.FAMILY.decode_program(CONFIG)
    here = components(program)
    deep, large = (components(dense.FAMILY.decode_program(flat(n))) for n in (1 + 2 * 3 + 2, 1 + 2 + 2))
    for name in WEIGHTS:
        assert here[name][0] == deep[name][0] and here[name][1] == large[name][1], name
        assert here[name][0] == pytest.approx(here[name][1] * 9 / 5, rel=1e-12), "9 blocks of which 5 are distinct"
    assert here["kv cache"] == deep["kv cache"], "every pass has a cache of its own"
    row, stream = 2 * CONFIG.d_model, 4 * CONFIG.d_model
    assert here["iteration rows"][:2] == (3 * row, 3 * row)
    assert here["activations"][0] == deep["activations"][0] + 3 * 2 * stream, (
        "the stream in and out, where a row is added"
    )
    stored = {name: sum(t.nbytes for t in program.stored() if t.component == name) for name in WEIGHTS}
    assert all(stored[name] == here[name][1] for name in WEIGHTS)


def test_parameters_are_counted_once_and_work_once_per_pass():
    program = recurrent.FAMILY.decode_program(CONFIG)
    deep, large = (dense.FAMILY.decode_program(flat(n)) for n in (9, 5))
    rows = CONFIG.passes * CONFIG.d_model
    assert n_parameters(program) == n_parameters(large) + rows
    assert flops(program) == flops(deep) + rows  # one addition per number of a row


def test_training_keeps_what_the_deep_model_keeps():
    """Adding a row keeps nothing: its gradient is the sum of what comes back."""
    here, deep = (family_model(name, config) for name, config in (("recurrent", CONFIG), ("dense", flat(9))))
    assert sum(a.nbytes for a in here.activations(63)) == sum(a.nbytes for a in deep.activations(63))


def test_a_single_pass_is_the_flat_model():
    one = dataclasses.replace(CONFIG, passes=1, iteration=False)
    program, large = recurrent.FAMILY.decode_program(one), dense.FAMILY.decode_program(flat(5))
    assert components(program) == components(large) and n_parameters(program) == n_parameters(large)


def test_exits_stand_between_blocks_and_between_passes():
    """1 prelude block, 3 passes, 2 coda blocks: five places; a token that leaves first skips 8 of 9 blocks."""
    early = dataclasses.replace(CONFIG, exit_after=(1, 2, 4), exit_threshold=0.5)
    tests = [op.name for op in recurrent.FAMILY.decode_program(early).body].count("exit_test")
    assert tests == 3
    for wrong in ((6,), (0,), (2, 1)):
        with pytest.raises(ConfigError, match="blocks from 1 to 5"):
            dataclasses.replace(CONFIG, exit_after=wrong)
