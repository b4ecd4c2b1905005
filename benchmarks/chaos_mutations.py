"""Damage for files: accidents to bytes, odd values in JSON and TOML, and forgeries whose checksums are right again.

    damaged(content, rng, other)         accidents: bit flips, wrong bytes, cuts, growth, swapped blocks, huge lengths
    odd_json(text, rng)                  keys gone, doubled or of other types, NaN, depth, huge numbers
    FORGERIES[...]                       formats that carry checksums: damage behind them, checksums repaired

Everything is drawn from the generator that is handed in.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
import re
import struct
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import tomli_w

ODD_NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    63,
    64,
    65,
    255,
    256,
    300,
    1023,
    2**15,
    2**16 - 1,
    2**16,
    2**24,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**48,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
    0.0,
    -0.0,
    0.5,
    -1.5,
    1e-310,
    1e30,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
]
ODD_TEXTS = [
    "",
    " ",
    "x",
    "..",
    "../../x",
    "/",
    "\0",
    "é" * 300,
    "\ud800",
    "\n",
    "NaN",
    "f32",
    "int4",
    "u16",
    "dense",
    "step_1",
    "step_²",
    "<|endoftext|>",
    "a b",
    "Ġ",
]
LENGTHS = [0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def flip_bits(content: bytes, rng: random.Random, other: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def change_bytes(content: bytes, rng: random.Random, other: bytes) -> bytes:
    out, at, n = bytearray(content), rng.randrange(len(content)), rng.choice([1, 1, 2, 4, 16, 64])
    fill = rng.choice([rng.randbytes(n), b"\0" * n, b"\xff" * n, b" " * n, b"\n" * n, b'"' * n])
    out[at : at + n] = fill[: len(out) - at]
    return bytes(out)


def cut_short(content: bytes, rng: random.Random, other: bytes) -> bytes:
    return content[: rng.choice([rng.randrange(len(content)), len(content) - 1, rng.randrange(min(200, len(content)))])]


def cut_out(content: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice([1, 2, 4, 8, 64, 1024]) :]


def grown(content: bytes, rng: random.Random, other: bytes) -> bytes:
    at, n = rng.choice([len(content), rng.randrange(len(content) + 1)]), rng.choice([1, 2, 8, 64, 4096])
    return content[:at] + rng.choice([rng.randbytes(n), b"\0" * n, content[:n], b"\n"]) + content[at:]


def swapped_blocks(content: bytes, rng: random.Random, other: bytes) -> bytes:
    n = rng.choice([1, 4, 16, 64, 512])
    a, b = sorted(rng.randrange(max(1, len(content) - n)) for _ in range(2))
    if b < a + n:
        return content[:a] + content[a : a + n] * 2 + content[a + n :]
    return content[:a] + content[b : b + n] + content[a + n : b] + content[a : a + n] + content[b + n :]


def huge_length(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """A number of 4 or 8 bytes, near the start or the end (where formats keep lengths), set to an extreme."""
    width, order = rng.choice([4, 8, 2]), rng.choice(["little", "little", "big"])
    place = rng.choice([rng.randrange(32), rng.randrange(256), len(content) - 1 - rng.randrange(64)]) // 4 * 4
    at = max(0, min(place, len(content) - width))
    value = rng.choice([*LENGTHS, len(content), len(content) + 1]) % 2 ** (8 * width)
    return content[:at] + value.to_bytes(width, order) + content[at + width :]


def spliced(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """The start of one file, the rest of another of the same kind."""
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def other_number(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """A run of digits replaced."""
    runs = [match.span() for match in re.finditer(rb"-?\d+", content[:100_000])]
    if not runs:
        return flip_bits(content, rng, other)
    start, end = rng.choice(runs)
    return content[:start] + str(_plain_odd(rng)).encode() + content[end:]


def other_line(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """A line gone, doubled, moved or empty."""
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    rng.choice(
        [
            lambda: lines.pop(i),
            lambda: lines.insert(j, lines[i]),
            lambda: lines.__setitem__(i, b""),
            lambda: lines.__setitem__(i, lines[j]),
            lambda: lines.insert(i, rng.randbytes(9)),
        ]
    )()
    return b"\n".join(lines)


ACCIDENTS: list[Callable[[bytes, random.Random, bytes], bytes]] = [
    flip_bits,
    change_bytes,
    cut_short,
    cut_out,
    grown,
    swapped_blocks,
    huge_length,
    spliced,
    other_number,
    other_line,
]


def damaged(content: bytes, rng: random.Random, other: bytes) -> tuple[str, bytes]:
    """(name of the accident, what it left); `other` is another file of the same kind."""
    if not content:
        return "grown", rng.randbytes(9)
    accident = rng.choice(ACCIDENTS)
    return accident.__name__, accident(content, rng, other)


def _plain_odd(rng: random.Random) -> Any:
    value = rng.choice(ODD_NUMBERS)
    return value if not isinstance(value, int) or rng.random() < 0.5 else value + rng.choice([-1, 0, 1])


def odd_value(rng: random.Random) -> Any:
    """A number, text, truth, nothing, list or table that nobody expects."""
    odd = rng.choice([None, True, False, [], {}, [[]], [1, 2], {"x": 1}, [None]])
    return rng.choice([_plain_odd(rng), _plain_odd(rng), rng.choice(ODD_TEXTS), odd])


def _containers(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (dict, list)) and item:
            yield item
            stack += item.values() if isinstance(item, dict) else item[:200]


def odd_tree(value: Any, rng: random.Random) -> Any:
    """A copy with one to three changes: a value odd, nudged or from elsewhere; a part gone, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_containers(value))
        if not places:
            return odd_value(rng)
        _change(rng.choice(places), places, rng)
    return value


def _change(target: Any, places: list[Any], rng: random.Random) -> None:
    key = rng.choice(list(target)) if isinstance(target, dict) else rng.randrange(len(target))
    act, old = rng.random(), target[key]
    if act < 0.35:
        target[key] = odd_value(rng)
    elif act < 0.5 and type(old) in (int, float):
        target[key] = old + rng.choice([-64, -2, -1, 1, 2, 64, 2**20]) if rng.random() < 0.8 else _as_float(old)
    elif act < 0.65:
        there = rng.choice(places)
        target[key] = copy.deepcopy(rng.choice(list(there.values()) if isinstance(there, dict) else there))
    elif act < 0.8:
        del target[key]
    elif isinstance(target, list):
        target.insert(rng.randrange(len(target) + 1), copy.deepcopy(old))
    else:
        target[rng.choice(ODD_TEXTS) if rng.random() < 0.5 else key[:-1]] = target.pop(key)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an earlier change made an integer of it that no float holds
        return math.inf


def odd_json(text: bytes, rng: random.Random, other: bytes = b"") -> tuple[str, bytes]:
    """(what was done, JSON text): an odd tree, or text that no tree can say."""
    act = rng.random()
    if act < 0.8:
        return "odd tree", json.dumps(odd_tree(json.loads(text), rng)).encode()
    keys = [match.span() for match in re.finditer(rb'"[\w.|<>-]+": *', text[:200_000])]
    start, end = rng.choice(keys) if keys else (0, 0)
    if act < 0.88:
        return "doubled key", text[:start] + text[start:end] + b"1, " + text[start:]
    deep = rng.choice([b"[", b'{"a":']) * rng.choice([50, 900, 100_000])
    value = rng.choice([deep, b"1e999", b"-1e999", b"NaN", b"9" * 5000, b"1" * 300, b'"\\ud800"', b"0x10", b"'a'", b""])
    return "odd text", text[:end] + value + text[end + rng.choice([0, 1]) :]


def odd_toml(text: bytes, rng: random.Random, other: bytes = b"") -> tuple[str, bytes]:
    """(what was done, TOML text): an odd tree, where TOML can say it, or an odd value in the text."""
    if rng.random() < 0.2:
        starts = [match.end() for match in re.finditer(rb"= *", text)]
        at = rng.choice(starts)
        deep = rng.choice([b"[", b"{a="]) * rng.choice([50, 900, 20_000])
        value = rng.choice([deep, b"nan", b"-inf", b"9" * 5000, b"1e999", b"1979-05-27", b"'", b'"""', b"0x1G"])
        return "odd text", text[:at] + value + text[at + rng.choice([0, 1]) :]
    tree = odd_tree(tomllib.loads(text.decode()), rng)
    try:
        return "odd tree", tomli_w.dumps(tree).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):
        return damaged(text, rng, text)


HEADER = struct.Struct("<8sII4Q32s32s")


def forged_artifact(content: bytes, rng: random.Random, other: bytes) -> tuple[str, bytes]:
    """Description, table or data of an artifact changed; lengths and checksums made to fit."""
    magic, version, n_head, _, n_data, n_meta, n_table, _, _ = HEADER.unpack(content[: HEADER.size])
    data, rest = content[128 : 128 + n_data], content[128 + n_data :]
    meta, table = rest[:n_meta], rest[n_meta:]
    act = rng.random()
    if act < 0.5:
        done, meta = odd_json(meta, rng)
        done = f"description: {done}"
    elif act < 0.6:
        done, table = odd_json(table, rng)
        done = f"table: {done}"
    elif act < 0.65:
        done, meta = damaged(meta, rng, meta)
        done = f"description: {done}"
    else:
        done, data, table = _forged_data(data, json.loads(table), rng)
    lengths = 128 + len(data) + len(meta) + len(table), len(data), len(meta), len(table)
    digests = hashlib.sha256(meta).digest(), hashlib.sha256(table).digest()
    head = HEADER.pack(magic, version, n_head, *lengths, *digests)
    return done, head + hashlib.sha256(head).digest()[:16] + data + meta + table


def _forged_data(data: bytes, rows: list[dict[str, Any]], rng: random.Random) -> tuple[str, bytes, bytes]:
    """One section with other bytes of the same number, and its checksum in the table."""
    row = rng.choice([row for row in rows if row["nbytes"]])
    start, end = row["offset"], row["offset"] + row["nbytes"]
    done, section = damaged(data[start:end], rng, data)
    section = section[: end - start].ljust(end - start, b"\xff")
    data = data[:start] + section + data[end:]
    row["sha256"] = hashlib.sha256(section).hexdigest()
    return f"section: {done}", data, json.dumps(rows).encode()


def forged_tokenizer(content: bytes, rng: random.Random, other: bytes) -> tuple[str, bytes]:
    """Our tokenizer with an odd tree and the right hash of it."""
    tree = odd_tree(json.loads(content), rng)
    if isinstance(tree, dict):
        rest = {key: value for key, value in tree.items() if key != "sha256"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        tree = {**rest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return "odd tree", json.dumps(tree).encode()


def forged_safetensors(content: bytes, rng: random.Random, other: bytes) -> tuple[str, bytes]:
    """The header of a safetensors file with an odd tree, its length made to fit; or its numbers changed."""
    n = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3:
        done, data = damaged(content[8 + n :], rng, content)
        return f"numbers: {done}", content[: 8 + n] + data[: len(content) - 8 - n].ljust(len(content) - 8 - n, b"\xff")
    done, head = odd_json(content[8 : 8 + n], rng)
    head += b" " * (-len(head) % 8)
    return f"header: {done}", len(head).to_bytes(8, "little") + head + content[8 + n :]
