"""SentencePiece model files built by hand, byte by byte, so that a test needs no package to make one."""

from __future__ import annotations

import struct
from collections.abc import Sequence

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
FIRST = [("<pad>", CONTROL), ("<s>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]
BYTES = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
SOME = [("▁", NORMAL), ("a", NORMAL), ("▁the", NORMAL), ("日本", NORMAL), ("▁▁x▁y", USER_DEFINED), ("old", UNUSED)]
FLAGS = {3: 2, 35: 1, 41: 1, 42: 2, 43: 0}


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def flags(values: dict[int, int]) -> bytes:
    return b"".join(varint(number << 3) + varint(value) for number, value in values.items())


def piece(text: str | bytes, kind: int, score: float = -1.0) -> bytes:
    content = message(1, text.encode() if isinstance(text, str) else text)
    return message(1, content + varint(2 << 3 | 5) + struct.pack("<f", score) + flags({3: kind}))


def model_file(
    pieces: Sequence[tuple[str, int]] = (*FIRST, *BYTES, *SOME),
    trainer: dict[int, int] | None = None,
    normalizer: dict[int, int] | None = None,
) -> bytes:
    body = b"".join(piece(text, kind) for text, kind in pieces)
    spec = message(1, b"nmt_nfkc") + flags(normalizer or {})
    return body + message(2, flags(FLAGS if trainer is None else trainer)) + message(3, spec)
