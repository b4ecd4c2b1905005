"""The poison test by hand: what it must find, and what it may leave out (over all families: tests/contract)."""

from __future__ import annotations

import numpy as np
import pytest
from audit.small_subjects import subject

from weightless.audit.counters import poison as room
from weightless.audit.counters.addresses import Replay, addresses
from weightless.audit.counters.poison import poison, spared_bytes
from weightless.base.errors import CorruptFileError
from weightless.program.arena import Arena


def test_addresses_are_what_was_read_before_it_was_written():
    """Position 1 of a dense model: no cache row is read before it is written, every weight is read."""
    model = subject("dense", "tied_mha_swiglu_f32")
    found = addresses(model, model.tokens, model.targets, 1)
    assert not found.state_read.any() and found.state_written.any()
    stored = sum(t.nbytes for t in model.program.stored())
    assert found.weights.sum() == stored
    later = addresses(model, model.tokens, model.targets, 5)
    row = model.program.by_name["kv.0"].row_bytes
    assert later.state_read.sum() == 4 * row * model.config.n_layers


def test_a_replay_repeats_itself_and_leaves_the_model_alone():
    model = subject("feather", "as_it_comes")
    before = model.weights.copy()
    found = addresses(model, model.tokens, model.targets, 4)
    replay = Replay(model, found.before, int(model.tokens[3]), int(model.targets[3]), 4)
    engine = model.engine()
    assert replay.run()[0] == replay.run()[0] == engine.score_stream(model.tokens[:4], model.targets[:4])[3]
    replay.weights[:] = 0xFF
    with pytest.raises(CorruptFileError):  # no id is 0xFFFF
        replay.run()
    assert np.array_equal(model.weights, before)


def forgetful(monkeypatch, name: str, write: bool) -> None:
    """An arena whose log leaves out one tensor's reads, or its writes."""
    note = Arena._note

    def partly(self, tensor, first, n, write=write):
        if not (tensor.name == name and write == wanted):
            note(self, tensor, first, n, write)

    wanted = write
    monkeypatch.setattr(Arena, "_note", partly)


@pytest.mark.parametrize("name", ["block.0.up", "final_norm", "kv.0", "embed"])
def test_a_read_that_is_not_logged_leaks(monkeypatch, name):
    forgetful(monkeypatch, name, write=False)
    model = subject("dense", "untied_mqa_relu2_bf16")
    found = poison(model, model.tokens, model.targets, (5,), trials=1)
    assert not found.complete and "poisoned" in found.leaks[0] and found.n_trials == 0


def test_a_write_that_is_not_logged_leaks(monkeypatch):
    forgetful(monkeypatch, "kv.0", write=True)
    model = subject("dense", "untied_mqa_relu2_bf16")
    found = poison(model, model.tokens, model.targets, (5,), trials=1)
    assert any("written that the log does not name, first in 'kv.0'" in leak for leak in found.leaks)


def test_a_log_that_names_too_much_is_loose(monkeypatch):
    """Every class is said to be read: damage outside the target's class changes nothing."""
    note = Arena._note

    def boastful(self, tensor, first, n, write):
        if tensor.name == "words" and not write:
            first, n = 0, tensor.shape[0]
        note(self, tensor, first, n, write)

    monkeypatch.setattr(Arena, "_note", boastful)
    model = subject("feather", "all_f32")
    found = poison(model, model.tokens, model.targets, (5,), trials=200)
    assert found.complete and not found.tight
    assert all(where.endswith("words") for where in found.unchanged)


def test_what_is_spared_is_spared_for_a_reason():
    """By hand: 3 slots behind a vocabulary of 301 in 18 classes of 17; one fill byte per odd row of 45 int8 codes."""
    feather, layout = subject("feather", "as_it_comes"), subject("feather", "as_it_comes").program.layout
    offset, words = layout.places["words"]
    masks = spared_bytes(feather.program)
    n_slots = words.shape[0] - feather.config.vocab_size
    assert masks["slots without word"].sum() == n_slots * words.row_stride > 0
    assert not masks["slots without word"][: offset + feather.config.vocab_size * words.row_stride].any()
    dense = subject("dense", "tied_mqa_swiglu_int8")
    down = dense.program.by_name["block.0.down"]
    assert spared_bytes(dense.program)["fill bytes"].sum() == 2 * down.shape[0] and down.shape[1] == 45
    relu = subject("dense", "untied_mqa_relu2_bf16")
    assert spared_bytes(relu.program)["silent units"].sum() == sum(
        t.nbytes for t in relu.program.stored() if t.component == "feed-forward" and "norm" not in t.name
    )


def test_fill_bytes_really_do_not_matter():
    """What is spared may change: all of it at once, and the step writes the same."""
    for case in (("dense", "tied_mqa_swiglu_int8"), ("feather", "as_it_comes")):
        model = subject(*case)
        found = addresses(model, model.tokens, model.targets, 6)
        replay = Replay(model, found.before, int(model.tokens[5]), int(model.targets[5]), 6)
        truth, after = replay.run()
        after = after.copy()
        masks = spared_bytes(model.program)
        spared = (masks["fill bytes"] | masks["slots without word"])[: len(replay.weights)]
        assert spared.any()
        replay.weights[spared] ^= 0x5A
        nats, left = replay.run()
        assert nats == truth and np.array_equal(left, after)


def test_blocks_lie_within_lines_and_cover_what_may_be_damaged():
    model = subject("ngram", "order_3")
    found = addresses(model, model.tokens, model.targets, 7)
    blocks = room._blocks(found, {})
    sizes = {name: sum(len(at) for memory, at in blocks if memory == name) for name in ("weights", "state")}
    assert sizes == {"weights": found.weights.sum(), "state": found.state_read.sum()}
    assert all(at[0] // 64 == at[-1] // 64 for _, at in blocks)
