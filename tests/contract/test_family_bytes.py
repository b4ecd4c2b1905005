"""The bytes of every family: formula = log = file, nothing read unseen, nothing logged in vain.

Oracles: the operators' formula, the logging engine, the artifact's section table and the size of the file; for the log
itself, memory that it does not name is destroyed, and memory that it does name is damaged.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import ALL, CASES, TRAINED, Bench, bench, first_ones, packed_bytes

from weightless.artifact.header import HEADER_BYTES, Header
from weightless.audit.counters.agreement import audit, check
from weightless.audit.counters.poison import poison
from weightless.base.errors import ConfigError
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.program import interpreter as vm
from weightless.program.cost import Bytes, formula, is_exact, step_bytes, touched_by_formula
from weightless.program.tensor import align
from weightless.quant.code_rows import decoded_scales
from weightless.quant.formats import decode_rows
from weightless.quant.layout import format_named

STEP = {"f16": 2.0**-11, "bf16": 2.0**-8}  # half a unit in the last place, relative


def over(cases):
    return pytest.mark.parametrize("b", cases, indirect=True, ids=["-".join(case) for case in cases])


@pytest.fixture
def b(request) -> Bench:
    return bench(*request.param)


@pytest.fixture
def packed(b, tmp_path):
    path = tmp_path / "model.wl"
    assert pack(path, b.name, b.config, b.arrays, '{"a": "tokenizer"}', {"seed": 3}) == b.program
    return open_packed(path)


FIRST = dict(reversed(ALL))
FEW = 8


@over(ALL)
def test_5_formula_is_log_at_every_position(request, b, packed):
    """audit() raises at the first byte of difference, per operator and component.  Every position of a family's first
    case; of its other ones the first and last, and some between."""
    name, case = request.node.callspec.params["b"]
    n = b.config.context
    positions = range(1, n + 1) if FIRST[name] == case else sorted({1, 2, *np.linspace(1, n, FEW, dtype=int).tolist()})
    audited = audit(packed, b.tokens, b.targets, positions)
    assert [step.position for step in audited] == list(positions)
    assert check(audited, "bytes")["ok"]
    if is_exact(b.program) and len(positions) < n:
        for step in audited:
            exact = formula(b.program, step.position)
            assert {name: x.T for name, x in step.logged.items()} == {name: x.T for name, x in exact.items()}
    elif is_exact(b.program):
        touched = touched_by_formula(b.program, positions=b.config.context)
        means = {name: float(np.mean([s.logged[name].T for s in audited])) for name in audited[0].logged}
        assert {name: T for name, (T, _, _) in touched.components.items()} == means
    else:
        for step in audited:
            most = formula(b.program, step.position)
            assert all(step.logged[name].T <= most[name].T for name in step.logged)


@pytest.mark.parametrize("b", first_ones(ALL, quick=2), indirect=True)
@pytest.mark.parametrize("head", ["score", "sample", "full"])
def test_5_formula_is_log_for_every_head(b, head):
    """Bytes of every operator of every head, and what the compiled engine counts where the data decides."""
    compiled, logging, tensors = b.engine(), b.audit_engine(), b.program.by_name
    for i, (token, target) in enumerate(zip(b.tokens, b.targets, strict=True)):
        compiled.feed(int(token))
        counted = compiled.registers[vm.IN_STATE :].sum()
        run_head(compiled, head, int(target), i)
        counted += compiled.registers[vm.IN_STATE :].sum()
        logging.feed(int(token))
        run_head(logging, head, int(target), i)
        decided = 0
        for op, log, data in logging.steps:
            want, have = (step_bytes(b.program, [a]) for a in (op.accesses(tensors, i + 1, data), log))
            assert {name: x.T for name, x in have.items()} == {name: x.T for name, x in want.items()}, op.name
            decided += sum(x.T for x in have.values()) if data else 0
        assert counted == decided


def run_head(engine, head: str, target: int, seed: int) -> None:
    if head == "score":
        engine.score(target)
    elif head == "sample":
        engine.sample(np.random.default_rng(seed).random(engine.program.n_uniforms))
    else:
        engine.distribution()


@over(ALL)
def test_5_stored_bytes_are_the_file(b, packed):
    """Sections of the program and of the tokenizer, header, meta and table: nothing else, and nothing missing."""
    entries = packed.artifact.entries
    weights = [entries[tensor.name].nbytes for tensor in b.program.stored()]
    assert [tensor.nbytes for tensor in b.program.stored()] == weights
    stored = packed.stored_bytes()
    assert stored["weights"] == sum(weights) == sum(packed.stored_components().values())
    assert set(entries) == {tensor.name for tensor in b.program.stored()} | {"tokenizer"}
    whole = packed.artifact.path.read_bytes()
    header = Header.unpack(whole[:HEADER_BYTES], len(whole), "model")
    data = sum(align(entry.nbytes) for entry in entries.values())
    assert stored["file"] == len(whole) == HEADER_BYTES + data + header.meta_bytes + header.table_bytes
    assert header.data_bytes == data == len(packed.weights)


@over(ALL)
def test_6_unpacked_within_the_stated_error(b, packed):
    for tensor in b.program.stored():
        view = packed.artifact.view(tensor.name)
        have = decode_rows(view, tensor.format, tensor.shape[1])
        wanted = b.arrays[tensor.name].reshape(tensor.shape)
        if tensor.format in ("f32", "u8", "u16", "u32"):
            assert np.array_equal(have, wanted)
        elif tensor.format in STEP:
            assert (np.abs(have - wanted) <= STEP[tensor.format] * np.abs(wanted) + 2.0**-25).all()
        else:
            fmt, cols = format_named(tensor.format), tensor.shape[1]
            scale = np.repeat(decoded_scales(view, fmt, cols), fmt.group_size(cols), axis=1)[:, :cols]
            beyond = np.abs(wanted) - (fmt.levels - 1) / 2 * scale  # a clip, or the largest code of a rounded scale
            assert (np.abs(have - wanted) <= np.maximum(scale / 2, beyond) * 1.0001 + 1e-7).all()


@over(ALL)
def test_8_packing_twice_gives_the_same_file(b, packed, tmp_path):
    pack(tmp_path / "again.wl", b.name, b.config, b.arrays, '{"a": "tokenizer"}', {"seed": 3})
    assert (tmp_path / "again.wl").read_bytes() == packed.artifact.path.read_bytes()
    from_file, by_hand = (engine.score_stream(b.tokens, b.targets) for engine in (packed.engine(True), b.engine()))
    assert np.array_equal(from_file, by_hand)


@over(TRAINED)
def test_11_sampling_costs_what_scoring_costs(b):
    for t in (1, 2, b.config.context):
        scored, sampled = (sum(formula(b.program, t, head).values(), Bytes()) for head in ("score", "sample"))
        assert (scored.T, scored.U) == (sampled.T, sampled.U)


@over(ALL)
def test_12_the_log_is_complete_and_tight(b):
    """What the log does not name is destroyed: not one bit changes.  What it names is damaged: the step changes.

    `audit.poison` says which bytes may change without effect (a binary search's probes, fill bytes …).
    """
    found = poison(b, b.tokens, b.targets, (1, 2, 7, b.config.context), trials=150)
    assert found.complete, found.leaks
    assert found.tight and found.n_trials == 150, found.unchanged
    assert found.unread_bytes > 0


@over(ALL)
def test_12_poisoned_state_changes_nothing(b):
    clean, poisoned = b.engine(poison=False), b.engine(poison=True)
    assert (poisoned.S == 0xFF).all()
    assert np.array_equal(clean.score_stream(b.tokens, b.targets), poisoned.score_stream(b.tokens, b.targets))
    poisoned.reset()
    assert (poisoned.S == 0xFF).all()


def test_a_pack_that_does_not_fit_is_refused(tmp_path):
    b = bench("dense", "tied_mha_swiglu_f32")
    for name, arrays in {
        "left over": b.arrays | {"head": b.arrays["embed"]},
        "missing": {name: a for name, a in b.arrays.items() if name != "final_norm"},
        "shape": b.arrays | {"embed": b.arrays["embed"][:-1]},
    }.items():
        with pytest.raises(ConfigError, match="tensor"):
            pack(tmp_path / name, "dense", b.config, arrays)
        assert not (tmp_path / name).exists()


def test_the_hand_built_weights_are_the_packed_ones(tmp_path):
    """The suite's own packing and the exporter's agree, up to the 0xFF that the suite leaves between rows."""
    for name, case in [("feather", "as_it_comes"), ("ngram", "order_3")]:
        b = bench(name, case)
        pack(tmp_path / name, name, b.config, b.arrays)
        zeros = packed_bytes(b.program, b.arrays)
        for offset, tensor in b.program.layout.places.values():
            if tensor.kind != "state":
                rows = zeros[offset : offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
                rows[:, tensor.row_bytes :] = 0
                zeros[offset + tensor.nbytes : align(offset + tensor.nbytes)] = 0
        assert np.array_equal(open_packed(tmp_path / name).weights, zeros)


def test_cases_cover_both_kinds_of_cost():
    assert {is_exact(bench(name, case).program) for name, case in ALL} == {True, False}
    assert {name for name, _ in ALL} == set(CASES)
