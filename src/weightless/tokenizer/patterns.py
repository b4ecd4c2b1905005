r"""Pre-tokenisation patterns, the byte alphabet, classes of characters: the facts that readable and fast code share.

    "gpt2"   '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    "gpt4"   cl100k as first published (what Hugging Face and llama.cpp run, and Llama 3); tiktoken's later form differs
             from it only where a text ends in whitespace that contains a newline
    "qwen2"  cl100k with every digit a word of its own (Qwen 2, 2.5 and 3)
    "starcoder"  every digit is cut out first, and what is left of the text goes through GPT-2's pattern piece by piece
             (StarCoder, SmolLM): said in one pattern, a digit ends a text
    "none"   no pattern: the bytes between two special tokens are one word

Malformed bytes: text is a byte string and need not be UTF-8.  A byte that begins no valid sequence (stray continuation,
overlong form, surrogate, beyond U+10FFFF, truncated) is one character that is neither letter, number nor whitespace.
That is what Python's `surrogateescape` error handler makes of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from weightless.base.errors import ConfigError, nearest

_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": _CL100K % r"\p{N}{1,3}",
    "qwen2": _CL100K % r"\p{N}",
    "starcoder": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
    "none": "",
}
PATTERN_CODES = {"gpt2": 0, "gpt4": 1, "none": 2, "qwen2": 3, "starcoder": 4}
OTHER, LETTER, NUMBER, SPACE = 0, 1, 2, 3
END_OF_TEXT = "<|endoftext|>"
N_CODE_POINTS = 0x110000


def pattern_code(pattern: str) -> int:
    """The number the kernels know a pattern by; ConfigError for an unknown name."""
    if pattern not in PATTERN_CODES:
        raise ConfigError(f"unknown pre-tokenisation pattern {pattern!r}: {nearest(str(pattern), PATTERN_CODES)}")
    return PATTERN_CODES[pattern]


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray:
    """uint8 [0x110000]: class of every code point, asked of the `regex` package (so the two cannot disagree)."""
    import regex

    every = np.arange(N_CODE_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    classes = np.zeros(N_CODE_POINTS, dtype=np.uint8)
    for code, pattern in ((LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+")):
        for match in regex.finditer(pattern, every):
            classes[match.start() : match.end()] = code
    return classes


@lru_cache(maxsize=1)
def byte_characters() -> tuple[str, ...]:
    """GPT-2's printable stand-in of each byte: itself when visible in Latin-1, else the next code point from 256 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    characters, hidden = [], 0
    for byte in range(256):
        characters.append(chr(byte) if byte in visible else chr(256 + hidden))
        hidden += byte not in visible
    return tuple(characters)


@lru_cache(maxsize=1)
def character_bytes() -> dict[str, int]:
    """The inverse of `byte_characters`."""
    return {character: byte for byte, character in enumerate(byte_characters())}


def to_visible(token: bytes) -> str:
    """A token as GPT-2's files write it: b' the' -> 'Ġthe'."""
    characters = byte_characters()
    return "".join(characters[byte] for byte in token)


def from_visible(text: str) -> bytes:
    """The inverse of `to_visible`; KeyError on a character that stands for no byte."""
    table = character_bytes()
    return bytes([table[character] for character in text])


def text_bytes(text: str | bytes) -> bytes:
    """UTF-8 of a str; surrogate pairs are joined and lone surrogates become U+FFFD, as tiktoken does; bytes stay."""
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise ConfigError(f"text to encode should be str or bytes, not {type(text).__name__}")


def check_special_tokens(special_tokens: object) -> list[str]:
    """The special tokens as a list of distinct, non-empty, encodable strings, or ConfigError."""
    if isinstance(special_tokens, (str, bytes)):
        raise ConfigError(f"special_tokens should be a list of strings, not the single {special_tokens!r}")
    found = list(special_tokens)  # type: ignore[call-overload]
    for token in found:
        if not isinstance(token, str) or not token:
            raise ConfigError(f"special token {token!r} should be a non-empty string")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise ConfigError(f"special token {token!r} holds a surrogate, which no text can contain")
    if len(set(found)) != len(found):
        raise ConfigError(f"special tokens are repeated: {found!r}")
    return found
