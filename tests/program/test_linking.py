"""A program compiles the operators and kernels that it uses, when they are first wanted, and says so.

Oracles: the registry of operators, the formats that `check` allows, addresses that are 0 until a part is linked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from contract.cases import ALL, bench
from numba import types
from some_formats import FEW_BITS, MORE

from weightless.base.errors import CorruptFileError
from weightless.base.format_names import has_integer_product
from weightless.base.progress import told_if_slow
from weightless.models.catalog import family
from weightless.program import companion, linking
from weightless.program.companion import FEWEST
from weightless.program.engine import Engine
from weightless.program.linking import KERNELS, Instructions
from weightless.program.operator import REGISTRY, Kernel
from weightless.program.operators import compiled_twin
from weightless.program.program import HEADS
from weightless.program.warm import in_background, mark_of, smallest_program, warm_as_told

CACHES = ("f32", "bf16", "int8")
STATE_FORMATS = ("f32", "bf16")


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_operator_has_a_compiled_twin_of_one_signature(name):
    parameters = list(inspect.signature(compiled_twin(REGISTRY[name]).py_func).parameters)
    assert parameters == ["c", "f", "W", "S", "R", "u", "scratch"]


def test_every_format_has_its_kernels():
    """Weights come in all formats that a matrix may have, caches in those that `check_cache` lets pass,
    recurrent states in those of `linear_attend`; whole numbers are multiplied in codes of 1, 2, 4 and 8 bits."""
    wanted = dict.fromkeys(("matvec", "decode_row"), {"f32", "bf16", "f16", "int8", "int4"})
    wanted |= dict.fromkeys(("attend", "encode_row"), set(CACHES)) | {"recall_row": set(STATE_FORMATS)}
    wanted["integer_matvec"] = set()
    whole = {"int8", "int4", *filter(has_integer_product, (*FEW_BITS, *MORE))}
    for name, (functions, argument_types) in KERNELS.items():
        assert wanted[name] <= set(functions)
        more = {"integer_matvec": whole}.get(name, set())
        more = {*FEW_BITS, *MORE} if name in ("matvec", "decode_row") else more
        for function in map(functions.__getitem__, wanted[name] | more):
            assert len(inspect.signature(function.py_func).parameters) == len(argument_types)


def test_parts_are_linked_when_they_are_first_wanted():
    b = bench("dense", "tied_mha_swiglu_f32")
    engine = b.engine()
    table = engine._instructions
    rows = {part: table.twins[slice(*table.spans[part])] for part in ("body", *HEADS)}
    assert not any(row.any() for row in rows.values())
    engine.feed(1)
    assert rows["body"].all() and not any(rows[head].any() for head in HEADS)
    engine.score(1)
    assert rows["score"].all() and not rows["sample"].any() and not rows["full"].any()


@pytest.mark.parametrize("case", ALL, ids="-".join)
def test_every_kernel_operand_becomes_an_address(case):
    """Equal kernels have equal addresses, others different ones; numbers stay what they were."""
    b = bench(*case)
    engine = b.engine()
    ops = (*b.program.body, *(op for head in HEADS for op in b.program.heads[head]))
    table = Instructions(b.program)
    table.link(("body", *HEADS), (*engine._memory, engine.registers, engine.uniforms, engine.scratch), "a test")
    addresses: dict[Kernel, int] = {}
    for row, code in zip(b.program.lowered(ops), table.code, strict=True):
        for operand, number in zip(row.ints, code.tolist()):
            wanted = addresses.setdefault(operand, number) if isinstance(operand, Kernel) else operand
            assert number == wanted and (number or not isinstance(operand, Kernel))
    assert len(set(addresses.values())) == len(addresses)


class SlowToCompile:
    """A function that takes a while the first time."""

    def __init__(self):
        self.overloads = {}


def test_what_is_compiled_is_told_and_how_far_it_is(monkeypatch, capsys):
    def address(function, argument_types):
        time.sleep(0.02)
        function.overloads[argument_types] = True
        return 1

    monkeypatch.setattr(linking, "address_of", address)
    monkeypatch.setattr(linking, "told_if_slow", functools.partial(told_if_slow, after=0.0))
    given = (types.int64,)
    functions = {Engine: (SlowToCompile(), given), Kernel("matvec", "f32"): (SlowToCompile(), given)}
    linking._addresses(functions, "dense", None)
    told = capsys.readouterr().err
    assert told.startswith("compiling 1 operator and 1 kernel of dense (once per machine and version of the code), ")
    linking._addresses(functions, "dense", None)
    assert capsys.readouterr().err == ""


FIRST_TOKEN = """
import json
import numpy as np
from weightless.program import companion, linking
from weightless.program.engine import Engine
from weightless.program.program import Program

asked, functions, own_process, address_of = [], [], companion.own_process, linking.address_of
linking.address_of = lambda *given: functions.append(given[0]) or address_of(*given)
companion.own_process = lambda *given: asked.append(own_process(*given)) or asked[-1]
companion.is_one_idle = lambda: True
program = Program.from_plain(json.load(open("program.json")))
Engine(program, np.zeros(program.layout.weight_bytes, dtype=np.uint8)).feed(1)
compiled = sum(len(function.stats.cache_misses) for function in functions)
print(json.dumps([[process.returncode for process in asked], len(functions), compiled]))
"""


def first_token(folder):
    """[exit codes of companions, functions linked, functions compiled here] of one token fed in a fresh process."""
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kept")}
    command = [sys.executable, "-P", "-c", FIRST_TOKEN]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow  # it compiles a model anew, twenty seconds of a core
def test_a_second_process_compiles_from_the_other_end(tmp_path):
    """With an empty cache some functions need only be loaded here, although the folder that all is started in holds a
    module of a well-known name; with a full one nobody is asked."""
    (tmp_path / "program.json").write_text(json.dumps(bench("dense", "tied_mha_swiglu_f32").program.to_plain()))
    (tmp_path / "dataclasses.py").write_text("raise SystemExit('imported from the working folder')")
    codes, n_functions, n_compiled = first_token(tmp_path)
    assert len(codes) == 1 and codes[0] in (0, -signal.SIGKILL)
    assert FEWEST < n_compiled < n_functions, "the companion compiled nothing in time"
    assert first_token(tmp_path) == [[], n_functions, 0]


def test_where_no_process_can_be_had_everything_is_compiled_here(monkeypatch):
    def refused(*_, **__):
        raise BlockingIOError("no more processes")

    class Compiled:
        stats = SimpleNamespace(cache_misses={"these types": 1})

    monkeypatch.setattr(companion.subprocess, "Popen", refused)
    monkeypatch.setattr(companion, "is_one_idle", lambda: True)
    with companion.Companion(smallest_program(), logged=False) as helper:
        helper.after(Compiled, FEWEST)
    assert in_background({}) is None


def test_what_is_compiled_is_known_by_operators_and_formats():
    """Sizes are operands; another format is another kernel."""
    marks = {
        name: mark_of(bench("dense", name).program)
        for name in ("tied_mha_swiglu_f32", "untied_mqa_relu2_bf16", "exits_after_two_blocks")
    }
    assert len(set(marks.values())) == 3
    other = dataclasses.replace(bench("dense", "tied_mha_swiglu_f32").config, d_model=64, n_heads=2, context=8)
    assert mark_of(family("dense").decode_program(other)) == marks["tied_mha_swiglu_f32"]


def test_a_process_in_the_background_compiles_the_programs_that_it_is_told():
    """It ends well, and is not needed again; what is no program told by name is refused."""
    mark_of(smallest_program()).unlink(missing_ok=True)
    process = in_background({"smallest": smallest_program()})
    assert process is not None and process.wait(timeout=120) == 0
    assert in_background({"smallest": smallest_program()}) is None
    with pytest.raises(CorruptFileError):
        warm_as_told(json.dumps({"smallest": {}}))
