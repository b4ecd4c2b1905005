"""Numba scanner: where words end, where special tokens stand, where a stream may be cut.  Twin: reference.words.

All functions work on a read-only uint8 buffer of UTF-8 (malformed bytes allowed, see patterns.py) and a table `classes`
uint8 [0x110000] of OTHER, LETTER, NUMBER, SPACE.  Positions are int64 offsets into the buffer; ends are exclusive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from weightless.base.compiled import njit
from weightless.tokenizer.patterns import LETTER, NUMBER, OTHER, SPACE

# Reference counts of arrays passed between small functions cost two thirds of the time; a kernel that allocates nothing
# needs none (and numba refuses to compile one that does allocate).
KERNEL: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "no_cfunc_wrapper": True}
# What only kernels call: without the code by which Python calls it, it compiles a third faster.
INNER: dict[str, Any] = {**KERNEL, "no_cpython_wrapper": True}
# What several patterns share and every word goes through: a call of its own would cost about as much as its work.
INLINED: dict[str, Any] = {**INNER, "forceinline": True}
# As np.int64, so that numba does not compile a function again for each constant it is called with.
GPT2, GPT4 = np.int64(0), np.int64(1)
ONE_DIGIT, THREE_DIGITS = np.int64(1), np.int64(3)
EVERY = np.uint64(0x0101010101010101)
SIGNS, LOWER = np.uint64(0x80) * EVERY, np.uint64(0x20) * EVERY
FROM_A, BEYOND_Z = np.uint64(0x80 - ord("a")) * EVERY, np.uint64(0x7F - ord("z")) * EVERY
APOSTROPHE, BLANK, NEWLINE, RETURN = 0x27, 0x20, 0x0A, 0x0D
S, D, M, T, L, V, R, E = b"sdmtlvre"


def as_type(code: int) -> tuple[int, ...]:
    """The pattern of patterns.py with that number as the kernels want it: as the length of a tuple.

    Lengths belong to types, so only the branch of that pattern is compiled.
    """
    return (0,) * (code + 1)


@intrinsic
def load_u64(typing_context, array, index):
    """Eight bytes of a uint8 array as one little-endian integer, without alignment; the caller checks the bounds."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(array, types.intp), generate


@intrinsic
def prefetch(typing_context, array, index):
    """Ask the cache for the line of array[index], without waiting."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(ask, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def trailing_zeros(typing_context, bits):
    """Number of zero bits below the lowest one of a uint64 (64 when there is none)."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@njit(**INNER)
def character(text, i, end, classes):
    """4 * length + class of the character at i; a malformed byte has length 1 and class OTHER."""
    first = np.int64(text[i])
    if first < 0x80:
        return 4 + np.int64(classes[first])
    if first < 0xC2 or first > 0xF4 or i + 1 >= end:
        return 4 + OTHER
    second = np.int64(text[i + 1])
    if second & 0xC0 != 0x80:
        return 4 + OTHER
    if first < 0xE0:
        return 8 + np.int64(classes[(first & 0x1F) << 6 | (second & 0x3F)])
    if i + 2 >= end or np.int64(text[i + 2]) & 0xC0 != 0x80:
        return 4 + OTHER
    third = np.int64(text[i + 2]) & 0x3F
    if first < 0xF0:
        code = (first & 0x0F) << 12 | (second & 0x3F) << 6 | third
        if code < 0x800 or 0xD800 <= code <= 0xDFFF:
            return 4 + OTHER
        return 12 + np.int64(classes[code])
    if i + 3 >= end or np.int64(text[i + 3]) & 0xC0 != 0x80:
        return 4 + OTHER
    code = (first & 0x07) << 18 | (second & 0x3F) << 12 | third << 6 | (np.int64(text[i + 3]) & 0x3F)
    if code < 0x10000 or code > 0x10FFFF:
        return 4 + OTHER
    return 16 + np.int64(classes[code])


@njit(**INNER)
def ascii_letters(text, i):
    """How many of the eight bytes from i on are A-Z or a-z before the first that is not."""
    eight = load_u64(text, i)  # pyright: ignore[reportCallIssue]
    lower = (eight | LOWER) & ~SIGNS
    letters = (lower + FROM_A) & ~(lower + BEYOND_Z) & ~eight & SIGNS
    return np.int64(trailing_zeros(letters ^ SIGNS) >> np.uint64(3))


@njit(**INNER)
def run_end(text, i, end, classes, kind):
    """End of the run of characters of one class that begins at i (possibly i itself)."""
    while i < end:
        if kind == LETTER and i + 8 <= end:  # eight at a time: most of a text, and loop exits are hard to predict
            n = ascii_letters(text, i)
            i += n
            if n == 8:
                continue
            if text[i] < 0x80:
                return i
        byte = text[i]
        if byte < 0x80:
            if classes[byte] != kind:
                return i
            i += 1
        else:
            found = character(text, i, end, classes)
            if found & 3 != kind:
                return i
            i += found >> 2
    return i


@njit(**INLINED)
def contraction_end(text, i, end, pattern):
    """End of 's 'd 'm 't 'll 've 're at i (an apostrophe), or i if there is none; cl100k takes any case."""
    if i + 1 >= end:
        return i
    a = np.int64(text[i + 1])
    b = np.int64(text[i + 2]) if i + 2 < end else np.int64(0)
    if pattern == GPT4:
        if a == 0xC5 and b == 0xBF:
            return i + 3
        a = a | 0x20 if 0x41 <= a <= 0x5A else a
        b = b | 0x20 if 0x41 <= b <= 0x5A else b
    if a == S or a == D or a == M or a == T:
        return i + 2
    if (a == L and b == L) or ((a == V or a == R) and b == E):
        return i + 3
    return i


@njit(**INLINED)
def blank_run_end(text, i, end, classes, pattern):
    r"""End of the whitespace word at i: `\s*[\r\n]+` (cl100k only), `\s+(?!\S)`, `\s+` in this order."""
    at, last, after_newline = i, i, i
    while at < end:
        found = character(text, at, end, classes)
        if found & 3 != SPACE:
            break
        last = at
        at += found >> 2
        if text[last] == NEWLINE or text[last] == RETURN:
            after_newline = at
    if pattern == GPT4 and after_newline > i:
        return after_newline
    if at == end or last == i:
        return at
    return last


@njit(**INLINED)
def gpt2_end(text, i, end, classes):
    """End of the word at i under GPT-2's pattern."""
    if text[i] == APOSTROPHE:
        to = contraction_end(text, i, end, GPT2)
        if to > i:
            return to
    found = character(text, i, end, classes)
    kind = found & 3
    if kind != SPACE:
        return run_end(text, i + (found >> 2), end, classes, kind)
    if text[i] == BLANK and i + 1 < end:
        after = character(text, i + 1, end, classes)
        if after & 3 != SPACE:
            return run_end(text, i + 1 + (after >> 2), end, classes, after & 3)
    return blank_run_end(text, i, end, classes, GPT2)


@njit(**INNER)
def starcoder_end(text, i, end, classes):
    """End of the word at i where digits are cut out before GPT-2's pattern: no word reaches over one."""
    found = character(text, i, end, classes)
    if found & 3 == NUMBER:
        return i + (found >> 2)
    to = gpt2_end(text, i, end, classes)
    if found & 3 == SPACE:  # white space before a digit is white space at the end of a text
        run = run_end(text, i, end, classes, np.int64(SPACE))
        if run < end and character(text, run, end, classes) & 3 == NUMBER:
            return run
    return to


@njit(**INNER)
def gpt4_end(text, i, end, classes, most_digits):
    """End of the word at i under cl100k's pattern (words of three digits at most), or Qwen's (of one)."""
    if text[i] == APOSTROPHE:
        to = contraction_end(text, i, end, GPT4)
        if to > i:
            return to
    found = character(text, i, end, classes)
    kind, at = found & 3, i + (found >> 2)
    if kind == LETTER:
        return run_end(text, at, end, classes, np.int64(LETTER))
    if kind == NUMBER:
        for _ in range(most_digits - 1):
            after = character(text, at, end, classes) if at < end else np.int64(SPACE)
            if after & 3 != NUMBER:
                return at
            at += after >> 2
        return at
    is_newline = text[i] == NEWLINE or text[i] == RETURN
    after = (character(text, at, end, classes) & 3) if at < end else np.int64(SPACE)
    if after == LETTER and not is_newline:
        return run_end(text, at, end, classes, np.int64(LETTER))
    if kind == OTHER or (text[i] == BLANK and after == OTHER):
        at = run_end(text, at, end, classes, np.int64(OTHER))
        while at < end and (text[at] == NEWLINE or text[at] == RETURN):
            at += 1
        return at
    return blank_run_end(text, i, end, classes, GPT4)


@njit(**INNER)
def word_end(text, i, end, classes, pattern):
    """End of the word that begins at i < end; `pattern` as `as_type` gives it."""
    if len(pattern) == 1:
        return gpt2_end(text, i, end, classes)
    if len(pattern) == 2:
        return gpt4_end(text, i, end, classes, THREE_DIGITS)
    if len(pattern) == 4:
        return gpt4_end(text, i, end, classes, ONE_DIGIT)
    if len(pattern) == 5:
        return starcoder_end(text, i, end, classes)
    return end


@njit(**KERNEL)
def find_special(text, limit, begins, flat, offsets, found):
    """Special tokens starting below `limit`, leftmost first, into found [k, 3] = (start, end, number).

    `begins` uint8 [256] marks first bytes; token t is flat[offsets[t]:offsets[t + 1]], longest first.
    Returns (how many, position reached), which is `limit` or beyond unless `found` is full.
    """
    n, i = 0, 0
    while i < limit:
        if not begins[text[i]]:
            i += 1
            continue
        token, length = -1, np.int64(0)
        for t in range(offsets.size - 1):
            length = offsets[t + 1] - offsets[t]
            if i + length <= text.size and _same(text, i, flat, offsets[t], length):
                token = t
                break
        if token < 0:
            i += 1
            continue
        if n == found.shape[0]:
            return n, i
        found[n, 0], found[n, 1], found[n, 2] = i, i + length, token
        n += 1
        i += length
    return n, i


@njit(**INNER)
def _same(text, i, flat, j, length):
    for k in range(length):
        if text[i + k] != flat[j + k]:
            return False
    return True


@njit(**KERNEL)
def last_safe_cut(text, low, high, classes, limit):
    """Largest position p in (low, high] where a letter or number ends and another class begins, or `low` if none.

    There every pattern ends a word, and nothing before p looks beyond it.  `high` leaves at least four bytes behind it,
    so that the character at p is whole.  Only bytes below `limit` may begin what is cut off (256: all).
    """
    p = high
    while p > low:
        if np.int64(text[p]) & 0xC0 != 0x80 and np.int64(text[p]) < limit:
            q = p - 1
            while q > low and p - q < 4 and np.int64(text[q]) & 0xC0 == 0x80:
                q -= 1
            before = character(text, q, p, classes)
            kind = before & 3
            if (
                q + (before >> 2) == p
                and (kind == LETTER or kind == NUMBER)
                and (character(text, p, text.size, classes) & 3 != kind)
            ):
                return p
        p -= 1
    return low
