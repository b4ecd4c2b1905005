"""The compiled engine's loop: it calls the compiled twins of a program's operators one after another, by address.

A lowered program is a table of instructions (`operator.Lowered`): the address of a compiled operator, its integer
operands (byte offsets, strides, shapes, formats, addresses of kernels) and float operands.  Weights `W` = (uint8,
float32, uint16) and state `S` = (uint8, float32, uint16, uint32) are views of two flat memories, followed by a log in
the engine that logs; whatever an operator touches is taken through `kernels.numba.memory`, which writes it there.
`registers.py` names the registers.  Every compiled operator is a function

    name(c, f, W, S, R, u, scratch)     c int64 operands, f float64 operands, R registers, u uniforms, scratch float32

in `operators/ROOM/compiled.py` (found and compiled by `linking.py`).  It checks every address that it takes from data
against its table before use, sets R[STATUS] if one points outside, and never raises.
"""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.memory import begin
from weightless.kernels.numba.rows import KERNEL
from weightless.program.flow import BIT, EXITED, NEXT
from weightless.program.registers import EXIT, IN_STATE, N_REGISTERS, N_TRAFFIC, PATH, STATUS, TARGET, TOKEN, T

__all__ = ["IN_STATE", "N_REGISTERS", "N_TRAFFIC", "PATH", "STATUS", "TARGET", "TOKEN", "T", "drive"]


@njit(**KERNEL)
def drive(twins, code, floats, route, spans, W, S, R, u, scratch, tokens, targets, results, traffic, paths):  # type: ignore[no-untyped-def]
    """For every i: feed tokens[i] with the body, then run a head with target targets[i]; `results` takes the outcome.

    `spans` = (first and last instruction of the body, of the head, byte offset of the outcome); an empty body runs
    the head where the engine stands, an empty head only feeds.  `route` says what runs behind each of them (`flow.py`).
    traffic[i] = bytes of data-decided operators, by where; paths[i] = the exits that were taken.
    In a log, operator k of the i-th token is operation i * (operators per token) + k, whether the others run or not.
    """
    n_body = spans[1] - spans[0]
    n_steps = n_body + spans[3] - spans[2]
    for i in range(len(tokens)):
        R[TOKEN], R[TARGET], R[EXIT] = tokens[i], targets[i], 0
        for k in range(N_TRAFFIC):
            R[IN_STATE + k] = 0
        if n_body > 0:
            R[T] += 1
            R[PATH] = 0
        for part in range(2):
            at, end, first = spans[2 * part], spans[2 * part + 1], i * n_steps + part * n_body - spans[2 * part]
            while at < end:
                begin(W, first + at)
                call(twins[at], (code[at], floats[at], W, S, R, u, scratch))
                if R[STATUS] != 0:
                    return
                if R[EXIT] != 0:
                    R[EXIT], R[PATH] = 0, R[PATH] | route[at, BIT]
                    at = route[at, EXITED]
                else:
                    at = route[at, NEXT]
        results[i], paths[i] = S[1][spans[4] // 4], R[PATH]
        for k in range(N_TRAFFIC):
            traffic[i, k] = R[IN_STATE + k]
