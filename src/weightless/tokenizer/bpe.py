"""The tokenizer: text to ids by ranked merges, ids to text.

    Tokenizer(vocab, merges, special_tokens, pattern, rules)     encode decode encode_array encode_iterable encode_batch
    Tokenizer.train(inputs, vocab_size)                   save load to_json from_json sha256

`vocab` maps every id 0..n-1 to its bytes and holds the 256 single bytes; `merges` are pairs of bytes in order of rank.
Special tokens are recognised by `encode` (leftmost, longest first) and become one id; `encode_ordinary_array` treats
them as plain text.  Text is str or bytes; bytes need not be UTF-8 (patterns.py says what malformed bytes are).
decode_bytes(encode(x)) == x for all bytes x.  Ids are identical to tiktoken's; the twin is reference.encode.
Tokenizers of other people may do more (`rules`, see rules.py); one that normalises gives the normalised text back.
Errors: ConfigError for a vocabulary that contradicts itself and for unknown ids, CorruptFileError from `load`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_write
from weightless.tokenizer import storage
from weightless.tokenizer.bpe_train import LARGEST_VOCABULARY, train_bpe
from weightless.tokenizer.byte_table import ByteTable, table_of_bytes
from weightless.tokenizer.light_encode import LIGHT_BYTES, LightEncoder
from weightless.tokenizer.patterns import END_OF_TEXT, check_special_tokens, pattern_code, text_bytes
from weightless.tokenizer.rules import OURS, Rules
from weightless.tokenizer.streaming import StreamDecoder, encode_chunks

if TYPE_CHECKING:
    from weightless.tokenizer.encoder import Encoder


class Tokenizer:
    """A byte-level BPE tokenizer.  Instances do not change, and threads may share one."""

    file_name = "tokenizer.json"

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | Mapping[str, int] | None = None,
        pattern: str = "gpt2",
        rules: Rules = OURS,
    ) -> None:
        """`special_tokens` are strings (found in the vocabulary, or added behind it) or a mapping to ids."""
        pattern_code(pattern)
        self.pattern, self.rules = pattern, rules
        self.merges = tuple((bytes(a), bytes(b)) for a, b in merges)
        self.token_bytes, self.special_tokens = _with_specials(vocab, special_tokens, self.merges)
        special_ids = set(self.special_tokens.values())
        self._ids = _ids_of_bytes(self.token_bytes, special_ids, self.merges, not rules.whole_words)
        rules.check(self._ids, self.special_tokens)

    @classmethod
    def train(
        cls,
        inputs: Any,
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        *,
        pattern: str = "gpt2",
        **options: Any,
    ) -> Tokenizer:
        """Train byte-level BPE on `inputs` and return the tokenizer.

        inputs           a path, several paths, or byte strings; each file and each byte string is one document, read as
                         bytes
        vocab_size       tokens in all: 256 bytes, the special tokens, and merges
        special_tokens   strings that become one id each, are hard boundaries and are not counted
        pattern          how text is cut before merging: "gpt2", "gpt4", "qwen2", "starcoder" or "none"
        options          ties ("greatest", or "hf": as Hugging Face breaks them), n_workers (None: one),
                         show_progress

        Fewer tokens come back when the text has no pair left to merge.  Raises ConfigError for sizes, patterns and
        special tokens that cannot be, WeightlessError for a file that cannot be read.
        """
        vocab, merges = train_bpe(inputs, vocab_size, special_tokens, pattern=pattern, **options)
        return cls(vocab, merges, special_tokens, pattern)

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes rebuild tables and caches from the content (copying, spawned data workers)."""
        return Tokenizer, (self.vocab, self.merges, self.special_tokens, self.pattern, self.rules)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special tokens included."""
        return len(self.token_bytes)

    @property
    def vocab(self) -> dict[int, bytes]:
        """Bytes of every id, special tokens included."""
        return dict(enumerate(self.token_bytes))

    @property
    def end_of_text(self) -> int | None:
        """Id of the mark before every document: <|endoftext|> unless the rules name another; None when it is none."""
        return self.special_tokens.get(self.rules.mark or END_OF_TEXT)

    @property
    def byte_table(self) -> ByteTable:
        """Bytes of text behind every id; special tokens stand for none."""
        return self._byte_table

    @cached_property
    def _byte_table(self) -> ByteTable:
        return table_of_bytes(self.token_bytes, self.special_tokens.values(), rewrites=bool(self.rules.normaliser))

    @property
    def dtype(self) -> np.dtype:
        """uint16 when every id fits, else uint32."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @cached_property
    def _light(self) -> LightEncoder:
        return LightEncoder(self._ids, self.merges, self.special_tokens, self.pattern, self.dtype, self.rules)

    def _takes_light(self, n_bytes: int) -> bool:
        """Whether a text is encoded without compiled code: as long as this process has none, and texts are short."""
        loaded = "weightless.tokenizer.encoder" in sys.modules
        return not loaded and n_bytes <= LIGHT_BYTES and self._light.takes(n_bytes)

    @cached_property
    def _encoder(self) -> Encoder:
        from weightless.tokenizer.compiling import ENCODING, helper
        from weightless.tokenizer.encoder import Encoder  # numba only when something is encoded

        helper().wait_for(ENCODING)
        code = pattern_code(self.pattern)
        return Encoder(self._ids, self.merges, self.special_tokens, code, self.dtype, self.rules)

    def encode(self, text: str | bytes) -> list[int]:
        """Ids of a text, special tokens recognised."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str | bytes) -> np.ndarray:
        """The same as an array of `dtype`."""
        return self._encode(text_bytes(text), with_special=True)

    def encode_ordinary_array(self, text: str | bytes) -> np.ndarray:
        """Ids of a text in which special tokens have no meaning."""
        return self._encode(text_bytes(text), with_special=False)

    def _encode(self, content: bytes, with_special: bool = True) -> np.ndarray:
        return (self._light if self._takes_light(len(content)) else self._encoder).encode(content, with_special)

    def encode_iterable(self, chunks: Iterable[str | bytes]) -> Iterator[int]:
        """Ids of the joined chunks, in memory that does not grow (except with text that holds no place to cut)."""
        for ids in encode_chunks(self._encode, lambda pending: self._encoder.safe_cut(pending), chunks):
            yield from ids.tolist()

    def encode_batch(self, texts: Sequence[str | bytes], n_workers: int = 1) -> list[np.ndarray]:
        """encode_array of every text, on `n_workers` threads."""
        if n_workers < 1:
            raise ConfigError(f"n_workers = {n_workers} should be at least 1")
        if n_workers == 1 or len(texts) < 2 or self._takes_light(sum(map(len, texts))):
            return [self.encode_array(text) for text in texts]
        from concurrent.futures import ThreadPoolExecutor

        self._encoder  # noqa: B018  (built once, before the threads ask for it)
        with ThreadPoolExecutor(n_workers) as pool:
            runs = pool.map(lambda run: [self.encode_array(text) for text in run], _runs(texts, 8 * n_workers))
            return [ids for run in runs for ids in run]

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Text of the ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        """Bytes of the ids, exactly; ConfigError for an id outside the vocabulary."""
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        try:
            if numbers and min(numbers) >= 0:
                return b"".join(map(self.token_bytes.__getitem__, numbers))
        except (IndexError, TypeError):
            pass
        wrong = [i for i in numbers if not isinstance(i, (int, np.integer)) or not 0 <= i < self.vocab_size]
        if wrong:
            raise ConfigError(f"{wrong[0]!r} is no token id; ids are whole numbers below {self.vocab_size}")
        return b""

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that takes one id at a time and never emits half a character."""
        return StreamDecoder(self.token_bytes)

    @property
    def sha256(self) -> str:
        """Hex hash of the canonical content; two tokenizers with equal hashes encode alike."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        """Hex SHA-256 of the canonical content (pattern, merges, ids, special tokens, rules where there are any)."""
        return storage.content_sha256(self._content())

    def _content(self) -> dict[str, Any]:
        return storage.content(self.token_bytes, self.merges, self.special_tokens, self.pattern, self.rules)

    def to_json(self) -> str:
        """The tokenizer as readable JSON (see storage.py)."""
        return storage.to_text(self._content())

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "tokenizer JSON") -> Tokenizer:
        """Read `to_json`; CorruptFileError says what is wrong and in which file (`where`)."""
        tokens, merges, specials, pattern, rules = storage.from_text(text, where)
        try:
            return cls(dict(enumerate(tokens)), merges, specials, pattern, rules)
        except ConfigError as error:
            raise CorruptFileError(f"{where}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, atomically."""
        atomic_write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read what `save` wrote; WeightlessError when missing, CorruptFileError when damaged."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
        return cls.from_json(content, str(path))


def _runs(texts: Sequence[str | bytes], n: int) -> Iterator[Sequence[str | bytes]]:
    """Neighbouring texts in about n runs of equal size: handing over a short text takes longer than encoding it."""
    wanted = sum(map(len, texts)) / n
    begin = held = 0
    for end, text in enumerate(texts, 1):
        held += len(text)
        if held >= wanted or end == len(texts):
            yield texts[begin:end]
            begin, held = end, 0


def _with_specials(
    vocab: Mapping[int, bytes],
    special_tokens: Sequence[str] | Mapping[str, int] | None,
    merges: Sequence[tuple[bytes, bytes]],
) -> tuple[list[bytes], dict[str, int]]:
    """(bytes of every id, id of every special token); special tokens that the vocabulary lacks are added behind it."""
    if set(vocab) != set(range(len(vocab))):
        raise ConfigError(f"the ids of the vocabulary should be 0..{len(vocab) - 1} without gaps")
    tokens = [bytes(vocab[i]) for i in range(len(vocab))]
    names = check_special_tokens(special_tokens or ())
    if isinstance(special_tokens, Mapping):
        given = {name: special_tokens[name] for name in names}
        for name, i in given.items():
            if not 0 <= i < len(tokens) or tokens[i] != name.encode():
                raise ConfigError(f"special token {name!r} has id {i}, which is another token or none")
    else:
        ordinary = {bytes([byte]) for byte in range(256)} | {a + b for a, b in merges}
        places: dict[bytes, list[int]] = {}
        for i, token in enumerate(tokens):
            places.setdefault(token, []).append(i)
        given = {}
        for name in names:
            found = places.get(name.encode(), [])
            # A special token may spell like an ordinary one, which then keeps its first id.
            if len(found) > (name.encode() in ordinary):
                given[name] = found[-1]
            else:
                given[name] = len(tokens)
                tokens.append(name.encode())
    if max(len(tokens), 257 + len(merges)) > LARGEST_VOCABULARY:
        raise ConfigError(f"{len(tokens)} tokens and {len(merges)} merges are more than {LARGEST_VOCABULARY} of either")
    return tokens, given


def _ids_of_bytes(
    tokens: Sequence[bytes], special_ids: set[int], merges: Sequence[tuple[bytes, bytes]], in_order: bool
) -> dict[bytes, int]:
    """Id of every ordinary token; ConfigError when one is listed twice, a byte is missing or a merge is no token.

    `in_order`: the parts of a merge are made by merges before it.  Where words are looked up whole, files list every
    way to make a token where its own rank stands, and any two tokens may be the parts.
    """
    ids: dict[bytes, int] = {}
    for i, token in enumerate(tokens):
        if i in special_ids:
            continue
        if not token or token in ids:
            raise ConfigError(f"token {i} is {'empty' if not token else f'{token!r}, as token {ids[token]} is'}")
        ids[token] = i
    made = {bytes([byte]) for byte in range(256)}
    if missing := sorted(made - ids.keys()):
        shown = ", ".join(repr(byte)[1:] for byte in missing[:8]) + (" …" if len(missing) > 8 else "")
        raise ConfigError(
            f"the vocabulary lacks {len(missing)} of the 256 single bytes ({shown}): text that holds "
            "them could not come back"
        )
    known = made if in_order else ids
    for rank, (a, b) in enumerate(merges):
        if a not in known or b not in known:
            why = "made by no earlier merge" if in_order else "no token"
            raise ConfigError(f"merge {rank} joins {a!r} and {b!r}, of which one is {why}")
        if a + b not in ids:
            raise ConfigError(f"merge {rank} makes {a + b!r}, which is not in the vocabulary")
        made.add(a + b)
    return ids
