"""A packed model in Python: weightless.open("model.wl").

Every method calls what the command line calls: generate is `weightless generate`, score is `weightless eval --text`,
ledger is `weightless count`.  A text is a str; a Path names a file or folder that holds it.  Each call has an engine
of its own over the shared, read-only weights, so that several threads may call one model.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.api.results import Continuation, Distribution, Ledger, Score
from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, WeightlessError
from weightless.decode.sampling import Sampling
from weightless.export.packed import Packed, open_packed

if TYPE_CHECKING:
    from weightless.evals.text_tokens import TextTokens

Text = str | bytes | Path | Sequence[str | bytes]


def open(path: str | PathLike[str], *, verify: bool = True) -> Model:
    """The packed model (.wl) at a path; with `verify` every byte of it is held to its checksum first.

    WeightlessError when there is no such file, CorruptFileError when it is damaged or no model.
    """
    if not isinstance(path, (str, PathLike)):
        raise ConfigError(f"open({path!r}): give the path of a packed model (.wl)")
    return Model(open_packed(fspath(path), verify))


class Model:
    """A packed model.  In a `with` block it is closed at the end, which lets go of the mapped file."""

    def __init__(self, packed: Packed) -> None:
        self._packed: Packed | None = packed
        self.path = str(packed.artifact.path)

    @property
    def packed(self) -> Packed:
        """What the rooms of the house work with; WeightlessError once the model is closed."""
        if self._packed is None:
            raise WeightlessError(f"{self.path} was closed: open it again")
        return self._packed

    @property
    def name(self) -> str:
        """Of the file, or of its folder where the file is called model.wl."""
        path = Path(self.path)
        return path.resolve().parent.name if path.name == "model.wl" else path.stem

    @property
    def family(self) -> str:
        return self.packed.family

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned or counted."""
        from weightless.program.cost import n_parameters

        return n_parameters(self.packed.program)

    @property
    def stored_bytes(self) -> dict[str, int]:
        """{"file": all of it, "weights": tensors, "tokenizer": its section}."""
        return self.packed.stored_bytes()

    @property
    def vocab_size(self) -> int:
        return self.packed.program.vocab_size

    @property
    def context(self) -> int:
        """Tokens that the model can look at."""
        return self.packed.program.context

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens in it are recognised."""
        from weightless.decode.generate import prompt_ids

        return prompt_ids(self.packed, _prompt(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no UTF-8 come as U+FFFD.  ConfigError for what is no id of the vocabulary."""
        numbers, n = list(ids), self.vocab_size
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < n:
                raise ConfigError(f"{number!r:.60} is no token: give ids from 0 to {n - 1}")
        return self.packed.tokenizer.decode([int(number) for number in numbers])

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_p: float = 0.95,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        past_end: bool = False,
    ) -> Continuation:
        """Continue a prompt, as `weightless generate` with the same options does; "" begins a document.

        temperature 0 takes the likeliest token; top_p, top_k and min_p cut the tail; `stop` ends the text before any of
        these strings; `past_end` goes on after <|endoftext|>.  ConfigError for values that cannot be.
        """
        from weightless.decode.generate import generate

        sampling = _sampling(temperature, top_p, top_k, min_p, repetition_penalty, stop, seed, max_tokens, not past_end)
        return Continuation(**generate(self.packed, _prompt(prompt), sampling))

    def stream(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        temperature: float = 0.8,
        top_p: float = 0.95,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        past_end: bool = False,
    ) -> Iterator[str]:
        """The text of `generate` with the same arguments, in pieces as they come; whole characters only."""
        from weightless.decode.generate import prompt_ids, text_stream, token_stream

        sampling = _sampling(temperature, top_p, top_k, min_p, repetition_penalty, stop, seed, max_tokens, not past_end)
        packed = self.packed
        tokens = token_stream(packed, prompt_ids(packed, _prompt(prompt)), sampling)
        return (piece for _, piece in text_stream(packed, tokens, sampling) if piece)

    def next_token(
        self,
        prompt: str = "",
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
    ) -> Distribution:
        """What the next token after a prompt is drawn from; the model's own distribution unless it is bent."""
        from weightless.decode.generate import document_ids, prompt_ids
        from weightless.decode.prefill import Prefill

        sampling = _sampling(temperature, top_p, top_k, min_p, repetition_penalty)
        packed = self.packed
        ids = document_ids(packed, prompt_ids(packed, _prompt(prompt)))
        if not ids:
            raise ConfigError("nothing to continue: this model has no mark that begins a text, so give a prompt")
        engine, context = packed.engine(), packed.program.context
        Prefill(engine).feed(ids if len(ids) <= context else ids[-max(1, context // 2) :])
        p = engine.distribution()
        bent = p.astype(np.float64) if sampling.is_plain else sampling.distribution(p, ids)
        return Distribution(bent, self.encode, self.decode)

    def score(self, text: Text, *, tokens: int = 0, stride: int = 0, threads: int = 0, path: str = "auto") -> Score:
        """The held-out loss on a text, a list of texts, or the file or folder that a Path names.

        A text is one document, scored after <|endoftext|>; a file is cut into documents as `weightless eval --text`
        does.  About so many `tokens` are scored, spread evenly (0: all); windows of the context begin every `stride`
        tokens (0: side by side); `path` is stepped, blocked or auto.
        """
        from weightless.evals.bits_per_byte import evaluate
        from weightless.evals.scoring import check_path

        check_path(path)
        if path == "batched":
            raise ConfigError("path 'batched' scores with PyTorch: weightless eval --path batched, from a shell")
        asked = {"tokens": tokens, "stride": stride, "threads": threads}
        for name, value in asked.items():
            if type(value) is not int or value < 0:
                raise ConfigError(f"{name} = {value!r} should be a whole number, at least 0")
        packed = self.packed
        if stride > packed.program.context:
            raise ConfigError(f"stride = {stride} is larger than the model's context of {packed.program.context}")
        found = self._tokens(text)
        special = list(packed.tokenizer.special_tokens.values())
        refused = found.kept.refused
        result = evaluate(
            packed,
            found.ids,
            packed.tokenizer.token_bytes,
            special,
            stride or None,
            tokens,
            threads or None,
            refused=refused,
            path=path,
        )
        return Score(result.nats, result.n_tokens, result.n_bytes, result.token_nats, refused, result.to_plain())

    def ledger(
        self, text: Text | None = None, *, head: str = "score", positions: int = 512, tokens: int = 2048
    ) -> Ledger:
        """Bytes touched per next token, as `weightless count` says; with a text, measured on it (`--text`).

        `head` is score or sample (mode S) or full (mode F), `positions` the mean's last position, `tokens` how much of
        the text is measured (0: all).
        """
        from weightless.cli.count import Count, check, counted
        from weightless.cli.count_subjects import of_packed

        named = str(text) if isinstance(text, Path) else ""
        given = {"head": head, "positions": positions, "tokens": tokens}
        options = from_dict(Count, {"what": self.path, "text": named, **given})
        check(options)
        measured = None
        if text is not None and not named:
            found = self._tokens(text)
            measured = found.ids, f"a text of {len(found.ids):,} tokens"
        return Ledger(counted(of_packed(self.packed, self.path), options, measured))

    def close(self) -> None:
        """Let go of the file; what was answered before stays."""
        self._packed = None

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._packed is None:
            return f"<Model {self.path}, closed>"
        size = f"{self.n_parameters:,} parameters, {self.stored_bytes['file']:,} bytes"
        return f"<Model {self.name}: {self.family}, {size}, context {self.context}, vocabulary {self.vocab_size:,}>"

    def _tokens(self, text: Text) -> TextTokens:
        """A text in the model's tokens, each document after <|endoftext|>."""
        from weightless.data.text.sources import open_source
        from weightless.evals.text_tokens import text_tokens

        if isinstance(text, Path):
            return text_tokens(self.packed, open_source(text))
        documents = [text] if isinstance(text, (str, bytes)) else text
        if not isinstance(documents, Sequence):
            raise ConfigError(f"{text!r:.60} is no text: give a str, a list of them, or the Path of a file")
        return text_tokens(self.packed, [_document(document) for document in documents])


def _sampling(
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    repetition_penalty: float,
    stop: str | Sequence[str] = (),
    seed: int = 0,
    max_tokens: int = 0,
    stop_at_end: bool = True,
) -> Sampling:
    """Checked as the command line checks them, types included."""
    values: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "max_tokens": max_tokens,
        "stop_at_end": stop_at_end,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": (stop,) if isinstance(stop, str) else stop,
    }
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return from_dict(Sampling, plain)


def _prompt(text: str) -> str:
    """A text that can be written as bytes; bytes that are no UTF-8 may stand in it as Python holds them (PEP 383)."""
    if not isinstance(text, str):
        raise ConfigError(f"{text!r:.60} is no text: give a str")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigError(f"the text holds a lone surrogate at character {error.start}: that is no Unicode") from None
    return text


def _document(text: str | builtins.bytes) -> builtins.bytes:
    """A document as the bytes of a file would hold it."""
    return text if isinstance(text, bytes) else _prompt(text).encode("utf-8", "surrogateescape")
