"""A tokenizer simple enough to be its own oracle: one token per byte, <|endoftext|> = 256."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np

from weightless.tokenizer.byte_table import ByteTable, table_of_bytes


class ByteTokenizer:
    file_name = "tokenizer.json"

    def __init__(self, vocab_size: int = 257, seconds_per_document: float = 0.0) -> None:
        self.vocab_size, self.end_of_text = vocab_size, 256
        self.sha256 = hashlib.sha256(str(vocab_size).encode()).hexdigest()
        self.seconds_per_document = seconds_per_document
        self.n_encoded = 0

    def encode_ordinary_array(self, text: str | bytes) -> np.ndarray:
        time.sleep(self.seconds_per_document)
        self.n_encoded += 1
        content = text.encode() if isinstance(text, str) else text
        return np.frombuffer(content, np.uint8).astype(np.uint16)

    def decode_bytes(self, ids) -> bytes:
        return b"".join(b"<|endoftext|>" if i == 256 else bytes([i]) for i in ids)

    @property
    def byte_table(self) -> ByteTable:
        return table_of_bytes(self.token_bytes, [256])

    @property
    def token_bytes(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)] + [b"<|endoftext|>"]

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps({"vocab_size": self.vocab_size}))


def stream_of(documents: list[bytes]) -> np.ndarray:
    """What the shards of these documents must hold."""
    return np.concatenate([np.array([256, *document], np.uint16) for document in documents])
