"""What a tokenizer does beside cutting words and merging: how other people's differ from ours.  Ours do nothing of it.

    normaliser "nfc"   the ids are those of the canonical composition of the text (Unicode's NFC: "e" and a combining
                       acute accent become "é").  Names of special tokens are found first, and each stretch between two
                       of them is composed alone.  Decoding gives the composed text back, so byte tables say `rewrites`
                       and kept_text.py counts what has changed.  Bytes that are no UTF-8 stay as they are
    whole_words        a word that is a token is that token, whatever the merges would make of it (Llama 3)
    text_tokens        tokens that are found in a text as special ones are, and are text: their bytes count, and they
                       are found also where special tokens have no meaning ("<think>")
    mark               the special token before every document, where it is not <|endoftext|>; others' software puts it
                       there by itself

Code points that this Python's Unicode does not know yet are never composed.  Errors: ConfigError.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.tokenizer.patterns import check_special_tokens

NFC = "nfc"


@dataclass(frozen=True)
class Rules:
    """See above; the defaults are what our own tokenizers do."""

    normaliser: str = ""
    whole_words: bool = False
    text_tokens: tuple[str, ...] = ()
    mark: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text_tokens", tuple(check_special_tokens(self.text_tokens)))
        if self.normaliser not in ("", NFC):
            raise ConfigError(f"unknown normaliser {self.normaliser!r:.60}: only {NFC!r} is known")

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON values."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if value}

    @classmethod
    def read(cls, values: Any) -> Rules:
        """The inverse of `plain`; ConfigError for what it would not write."""
        kinds = {"normaliser": str, "whole_words": bool, "text_tokens": list, "mark": str}
        assert set(kinds) == {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or not values:
            raise ConfigError(f"rules should be an object that says something, not {values!r:.60}")
        for key, value in values.items():
            if key not in kinds or type(value) is not kinds[key] or not value:
                raise ConfigError(f"rules say {str(key)!r:.40} = {value!r:.60}, which means nothing here")
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**given)

    def check(self, ordinary: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
        """ConfigError for names that the vocabulary has not."""
        for name in self.text_tokens:
            if name in special_tokens or name.encode() not in ordinary:
                raise ConfigError(f"the token of text {name!r} is special, or not in the vocabulary")
        if self.mark and self.mark not in special_tokens:
            raise ConfigError(f"the mark of documents {self.mark!r} is no special token")


OURS = Rules()


def composed(text: bytes) -> bytes:
    """NFC of a byte string; what is no UTF-8 stays."""
    if text.isascii():
        return text
    characters = text.decode("utf-8", "surrogateescape")
    if unicodedata.is_normalized("NFC", characters):
        return text
    return unicodedata.normalize("NFC", characters).encode("utf-8", "surrogateescape")


def composed_between(text: bytes, found: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The text with every stretch between the special tokens `found` int64 [k, 3] composed, and where they are then."""
    if composed(text) is text:  # composing the whole would change nothing, and so it is for its parts
        return text, found
    pieces, moved, at, size = [], found.copy(), 0, 0
    for k, (start, end, _) in enumerate(found.tolist()):
        pieces += [composed(text[at:start]), text[start:end]]
        size += len(pieces[-2])
        moved[k, :2] = size, size + end - start
        size, at = size + end - start, end
    return b"".join([*pieces, composed(text[at:])]), moved


def stable(classes: np.ndarray, other: int) -> np.ndarray:
    """Classes of characters in which those that NFC replaces count as `other`: no place to cut a stream behind them."""
    out = classes.copy()
    for code in np.flatnonzero(classes != other).tolist():
        if not unicodedata.is_normalized("NFC", chr(code)):
            out[code] = other
    return out
