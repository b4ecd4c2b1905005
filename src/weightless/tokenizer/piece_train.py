"""Train a SentencePiece model of the type BPE; what comes out is the content of a `.model` file.

    train_pieces(documents, PieceOptions(vocab_size=1024)) -> PieceTraining      .content  .told()

The rules are SentencePiece's own (trainer_interface.cc, bpe_model_trainer.cc; of version 0.2.3, which chooses from all
pairs; older ones from the most frequent), so that its trainer gives the same pieces in the same order:

    1  each line is a text of its own, normalised (piece_text.py); empty ones, and lines with U+2585, are left out;
       names of marks and bytes ("<s>", "<0x0A>") are boundaries
    2  the most frequent characters that make up `character_coverage` of the text become pieces; others never merge
    3  a word begins at each U+2581; equal words are counted once
    4  the most frequent pair of neighbours becomes a piece, again and again (piece_merge_loop.py)
    5  ids: <pad> <s> </s> <unk> are 0 to 3, bytes (if `byte_fallback`) 4 to 259, merges in order, characters by count

It differs where the text is used up: SentencePiece goes on with pairs that no longer occur, this stops before.  And
which of two pairs that spell the same and are equally frequent is merged first is not said there; here the older one.
Errors: ConfigError for options that cannot be, and for a vocabulary that the marks, bytes and characters do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.tokenizer.bpe_train import LARGEST_LAYOUT, LARGEST_VOCABULARY
from weightless.tokenizer.patterns import PATTERN_CODES
from weightless.tokenizer.piece_layout import characters_of, coded, merge_layout
from weightless.tokenizer.piece_rewrite import word_starts
from weightless.tokenizer.piece_text import Normaliser, charsmap_of
from weightless.tokenizer.piece_write import MARKS, model_content
from weightless.tokenizer.word_counter import BLOCK_BYTES, WordCounter, Words

RESERVED, BOUNDARY = "\u2585", "\x1f"
LEAST_COVERAGE = 0.98
LONGEST_PIECE = 512
_NAMES = re.compile(rb"<pad>|<s>|</s>|<unk>")
_NAMES_AND_BYTES = re.compile(rb"<pad>|<s>|</s>|<unk>|<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class PieceOptions:
    """What decides a vocabulary; the defaults are those of Parameter Golf's models.

    normalisation         nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, or identity (text stays as it is)
    add_dummy_prefix      whether a text gets a first space
    remove_extra_spaces   whether spaces at either end go and runs become one
    split_digits          whether every digit is a piece of its own
    byte_fallback         whether characters without a piece become bytes (else they become <unk>)
    character_coverage    which share of the text's characters gets pieces, 0.98 to 1
    longest_piece         characters that a piece has at most
    """

    vocab_size: int = 1024
    normalisation: str = "nmt_nfkc"
    add_dummy_prefix: bool = False
    remove_extra_spaces: bool = True
    split_digits: bool = True
    byte_fallback: bool = True
    character_coverage: float = 0.9995
    longest_piece: int = 16

    def __post_init__(self) -> None:
        if not self.n_meta < self.vocab_size <= LARGEST_VOCABULARY:
            raise ConfigError(
                f"vocab_size = {self.vocab_size} should be between {self.n_meta + 1} ({len(MARKS)} marks"
                f"{', 256 bytes' if self.byte_fallback else ''} and the characters) and {LARGEST_VOCABULARY}"
            )
        if not LEAST_COVERAGE <= self.character_coverage <= 1:
            raise ConfigError(f"character_coverage = {self.character_coverage} should lie between 0.98 and 1")
        if not 1 <= self.longest_piece <= LONGEST_PIECE:
            raise ConfigError(f"longest_piece = {self.longest_piece} should lie between 1 and {LONGEST_PIECE}")

    @property
    def n_meta(self) -> int:
        """Pieces that are no text: marks and bytes."""
        return len(MARKS) + 256 * self.byte_fallback


@dataclass(frozen=True)
class PieceTraining:
    """The file's content, and what was seen: lines, lines left out, characters with and without a piece, merges."""

    content: bytes
    vocab_size: int
    n_merges: int
    n_characters: int
    n_lines: int
    n_left_out: int
    n_uncovered: int
    n_all_characters: int

    def told(self) -> str:
        """One line of figures."""
        left_out = f", {self.n_left_out:,} lines with U+2585 left out" if self.n_left_out else ""
        share = 100 * (1 - self.n_uncovered / max(1, self.n_all_characters))
        return (
            f"{self.vocab_size:,} pieces: {self.n_merges:,} merges, {self.n_characters:,} characters "
            f"({share:.3f} % of the text's), {self.n_lines:,} lines{left_out}"
        )


def train_pieces(
    documents: Iterable[bytes],
    options: PieceOptions,
    *,
    charsmap: bytes | None = None,
    show_progress: bool = False,
) -> PieceTraining:
    """A model of the documents' lines.

    charsmap is the table of `options.normalisation` (piece_text.charsmap_of); None asks the package `sentencepiece`
    for it.  ConfigError when it is not to be had, or when the vocabulary has no room for what it must hold.
    """
    table = charsmap_of(options.normalisation) if charsmap is None else charsmap
    normaliser = Normaliser(table, options.add_dummy_prefix, options.remove_extra_spaces)
    seen = _Seen(normaliser, options.byte_fallback)
    with progress("counting words", None, "B") if show_progress else nullcontext() as tick:
        for block in blocks(documents):
            seen.add(block)
            if tick is not None:
                tick(len(block))
    words = seen.counter.words()
    characters, n_all = _required(words, options)
    room = options.vocab_size - options.n_meta - len(characters)
    if not n_all:
        raise ConfigError("the text holds no line to train on")
    if room < 0:
        raise ConfigError(
            f"vocab_size = {options.vocab_size} has no room for {options.n_meta} marks and bytes and the "
            f"{len(characters):,} characters that make up {100 * options.character_coverage:g} % of the text: at least "
            f"{options.vocab_size - room:,}, or a lower character_coverage"
        )
    layout = coded(words, [c for c, _ in characters], options.split_digits)
    if len(layout.text) > LARGEST_LAYOUT:
        raise ConfigError(f"the distinct words have {len(layout.text):,} characters, more than 2^31: use a part")
    pieces = merge_layout(layout, room, options.longest_piece)
    content = model_content(pieces, [c for c, _ in characters], options, normaliser.charsmap)
    covered = sum(n for _, n in characters)
    return PieceTraining(
        content,
        options.n_meta + len(pieces) + len(characters),
        len(pieces),
        len(characters),
        seen.n_lines,
        seen.n_left_out,
        n_all - covered,
        n_all,
    )


class _Seen:
    """Words of normalised lines with their counts; a word that begins a line begins with the line end before it."""

    def __init__(self, normaliser: Normaliser, byte_fallback: bool) -> None:
        self.normaliser, self.names = normaliser, _NAMES_AND_BYTES if byte_fallback else _NAMES
        self.counter = WordCounter(PATTERN_CODES["none"])
        self.n_lines = self.n_left_out = 0

    def add(self, block: bytes) -> None:
        """Count the words of the lines of a block, which ends with a line."""
        block = block.decode("utf-8", "replace").encode()
        if RESERVED.encode() in block:
            lines = block.split(b"\n")
            kept = [line for line in lines if RESERVED.encode() not in line]
            self.n_left_out += len(lines) - len(kept)
            block = b"\n".join(kept)
        self.n_lines += sum(map(bool, block.split(b"\n")))
        text = self.normaliser.apply_lines(block)
        if b"<" in text:
            text = self.names.sub(BOUNDARY.encode(), text)
        array = np.frombuffer(text, np.uint8)
        starts = np.empty(len(array) + 1, np.int64)
        n = word_starts(array, starts)
        starts[n] = len(array)
        if n:
            self.counter.add(Words(array, starts[: n + 1], np.ones(n, np.int64)))


def blocks(documents: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of documents, in blocks of about half a megabyte."""
    waiting: list[bytes] = []
    size = 0
    for document in documents:
        at = 0
        while at <= len(document):
            cut = document.find(b"\n", at + BLOCK_BYTES) + 1 or len(document) + 1
            waiting += [document[at:cut], b"" if cut <= len(document) else b"\n"]
            size, at = size + cut - at, cut
            if size >= BLOCK_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _required(words: Words, options: PieceOptions) -> tuple[list[tuple[str, int]], int]:
    """((character, count) of those that get pieces, most frequent first; how many characters the text has).

    The share is compared in float32, as SentencePiece does; the boundary takes part in it, but gets no piece.
    """
    points, weights, _ = characters_of(words)
    counts = np.bincount(points, weights, minlength=ord("\n") + 1)
    counts[[0, ord("\n")]] = 0  # NUL is passed over, and lines hold no line end
    used = np.flatnonzero(counts)
    ranked = used[np.lexsort((used, -counts[used]))]
    n_all, taken, found = int(counts.sum()), 0, []
    for point in ranked.tolist():
        if np.float32(taken / n_all) >= np.float32(options.character_coverage):
            break
        taken += int(counts[point])
        if chr(point) != BOUNDARY:
            found.append((chr(point), int(counts[point])))
    return found, n_all
