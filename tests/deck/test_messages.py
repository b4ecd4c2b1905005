"""Messages between grader and worker: what cannot cross is named, and bytes that are no message are refused.

Oracle: values and bytes written by hand.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from weightless.deck.syscall_filter import filter_program
from weightless.deck.worker import LARGEST_TREE, Unfit, described, pack, unpack


def nothing(_):
    return None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1 << 65, "an integer of 66 bits"),
        ("x" * (LARGEST_TREE + 1), "a text of"),
        ({1: 2}, "keys are not all str"),
        ({1, 2}, "class set"),
        (np.array(["a"]), "dtype <U1"),
        (np.zeros(2, dtype="M8[s]"), "dtype"),
        (np.broadcast_to(np.float32(0), (1 << 40,)), "arrays of"),
        (1j, "class complex"),
    ],
)
def test_what_does_not_cross_is_named(value, told):
    with pytest.raises(Unfit, match=told):
        pack(value, nothing)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (b"[]", 0),
        (b"{", 0),
        (b"\xff", 0),
        (b'{"value":1}', 0),
        (b'{"value":1,"arrays":[["<f8",[2]]]}', 8),
        (b'{"value":1,"arrays":[["|O",[1]]]}', 8),
        (b'{"value":1,"arrays":[["<f8",[-1]]]}', 8),
        (b'{"value":1,"arrays":[["<f8",[1e3]]]}', 8000),
        (b'{"value":1,"arrays":[["<f8",[true]]]}', 8),
        (b'{"value":1,"arrays":[[["<f8"],[1]]]}', 8),
        (b'{"value":1,"arrays":[["<f8",[' + b"1," * 40 + b"1]]]}", 8),
        (b'{"value":' + b"9" * 5000 + b',"arrays":[]}', 0),
        (b'{"value":' + b"[" * 100_000 + b',"arrays":[]}', 0),
    ],
)
def test_messages_that_are_none_are_refused(text, length):
    with pytest.raises(Unfit):
        described(text, length)


@pytest.mark.parametrize(
    "tree", ['["a",0]', '["a",-1]', '["a",true]', '["x"]', "[]", '["h","0"]', '[["l"],1]', '["h",0]']
)
def test_trees_that_are_none_are_refused(tree):
    def restore(tag, number):
        raise Unfit("only the grader makes it")

    with pytest.raises(Unfit):
        unpack(f'{{"value":{tree},"arrays":[]}}'.encode(), [], restore)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_is_a_program_whose_jumps_stay_inside(machine):
    steps = list(struct.iter_unpack("=HBBI", filter_program(machine)))
    assert 40 < len(steps) < 4096 and steps[-1] == (6, 0, 0, 0x7FFF0000)
    for at, (code, if_true, if_false, _) in enumerate(steps):
        if code & 7 == 5:
            assert at + 1 + max(if_true, if_false) < len(steps)
    assert filter_program("vax") == b""
