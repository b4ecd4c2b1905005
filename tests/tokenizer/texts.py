"""Texts that break tokenizers: all planes, malformed UTF-8, whitespace of every kind, contractions, special tokens."""

from __future__ import annotations

import random

FRAGMENTS = [
    "'s",
    "'S",
    "'ll",
    "'LL",
    "'l",
    "'re",
    "'ve",
    "'\u017f",
    "'d",
    "'m",
    "'t",
    "''",
    " '",
    " '",
    "\r\n",
    "\n\n",
    "\n ",
    " \n",
    "   ",
    "\t",
    "\xa0",
    "\u2003",
    "\u3000",
    "\x85",
    "\u2028",
    "abc",
    "ABC",
    " the",
    " The",
    "don't",
    "1",
    "12",
    " 345",
    "6789",
    "\u0661\u0662",
    "\xb2",
    "\u2167",
    "!",
    "?!",
    " ...",
    "\u2014",
    "\xe9",
    "\xdf",
    "\u65e5\u672c\u8a9e",
    "\u0628\u0627",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469",
    "\u0301",
    "e\u0301",
    "\ufffd",
    "\ufeff",
    "\x00",
    "\x1c",
    "\x7f",
    "_",
    "-",
    "x" * 20,
    "supercalifragilistic",
    "=" * 70,
]
MALFORMED = [
    b"\x80",
    b"\xbf\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc3",
    b"\xe2\x82",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff\xfe",
    b"\xc3a",
    b"\xe2\x82a",
    b"\xf0\x9f a",
]
SPECIALS = ["<|endoftext|>", "<|end|>", "<|endoftext|><|endoftext|>", "\u00e9\u00e9", "text"]


def random_character(rng: random.Random) -> str:
    """Any scalar value: half of them from the planes in use."""
    while True:
        code = rng.randrange(rng.choice((0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000)))
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def random_text(rng: random.Random, n: int, specials: tuple[str, ...] = ()) -> str:
    """n pieces: fragments, characters of all planes, special tokens (whole, doubled, or cut short)."""
    pieces = []
    for _ in range(n):
        kind = rng.random()
        if kind < 0.55:
            pieces.append(rng.choice(FRAGMENTS))
        elif kind < 0.9 or not specials:
            pieces.append(random_character(rng))
        else:
            token = rng.choice(specials)
            pieces.append(rng.choice((token, token, token * 2, token[:-1], token[1:])))
    return "".join(pieces)


def random_bytes(rng: random.Random, n: int, specials: tuple[str, ...] = ()) -> bytes:
    """The same with malformed sequences strewn in."""
    pieces = []
    for _ in range(n):
        pieces.append(rng.choice(MALFORMED) if rng.random() < 0.3 else random_text(rng, 1, specials).encode())
    return b"".join(pieces)
