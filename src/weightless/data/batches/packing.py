"""How a stream of documents is cut into windows of `context` positions, and what stands at every position.

    StreamWindows     windows side by side across documents: nothing is wasted, documents are cut anywhere
    DocumentWindows   whole documents packed together: each begins inside a window, and padding fills the rest

A document is its <|endoftext|> id and the tokens up to the next one.  Every position's target is the token that follows
it in the stream, so the last token of a document predicts <|endoftext|>, in both packings; a window therefore needs
`context` + 1 tokens of a piece of text.  After the last token of the stream <|endoftext|> is due too, in
DocumentWindows: there every token of the corpus is an input once per epoch, and its successor a target.

Packing is best-fit decreasing (Johnson 1973; Ding et al. 2024, 2404.10830): documents longer than the context are first
split into pieces of `context`; then, from the longest piece down, each goes where it leaves the least room.  At most
11/9 of the fewest possible windows, and in practice few wasted positions, which are the only padding anywhere: input
<|endoftext|>, target IGNORED, a document of its own.  Equal lengths are placed together, so the work is
O(pieces log pieces + context^2) in NumPy; what is kept are 12 bytes per piece and 8 per window.

With scores, pieces are sorted by the score of their document, cut into up to 64 groups, and packed group by group, so
that a window holds documents of like score and an order of windows is an order of documents.

Error: ConfigError when there is not one window.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for

IGNORED = -1
"""The target of a position that is neither learned from nor counted."""
MOST_GROUPS, SMALLEST_GROUP = 64, 256


class Batch(NamedTuple):
    """int64 [B, T] each; `document_BT` numbers the documents of a row from 0, and is None where nobody asked."""

    inputs_BT: np.ndarray
    targets_BT: np.ndarray
    document_BT: np.ndarray | None = None


class StreamWindows:
    """Window w of epoch e is tokens phase_e + w * context and the `context` after it.

    phase_e is drawn afresh for every epoch, so that over the epochs every token but the first becomes a target, and
    window edges fall everywhere.
    """

    def __init__(self, tokens: Any, context: int, seed: int, end_of_text: int | None = None) -> None:
        if len(tokens) < context + 1:
            raise ConfigError(
                f"the text has {len(tokens)} tokens, but one window of context {context} needs {context + 1}; "
                "use a longer text or a shorter context"
            )
        self.tokens, self.context, self.seed, self.end_of_text = tokens, context, seed, end_of_text
        n_targets = len(tokens) - 1
        self.n_starts = n_targets - context + 1
        self.n_windows = max(1, self.n_starts // context)
        self.slack = n_targets - self.n_windows * context  # by how much the phase of an epoch can move its windows
        self.wasted_share = 0.0

    @property
    def description(self) -> str:
        return f"stream: {self.n_windows:,} windows of {self.context} positions, none wasted"

    def phase(self, epoch: int) -> int:
        return int(rng_for(self.seed, "phase", epoch).integers(0, self.slack + 1))

    def starts(self, epoch: int, windows: np.ndarray) -> np.ndarray:
        """int64 offsets of these windows of one epoch."""
        return self.phase(epoch) + windows * self.context

    def rows_at(self, starts_B: np.ndarray) -> Batch:
        """The windows at these offsets; documents are told apart when `end_of_text` is known."""
        length = self.context + 1
        rows = np.empty((len(starts_B), length), np.int64)
        for row, start in zip(rows, starts_B.tolist(), strict=True):
            row[:] = self.tokens[start : start + length]
        inputs_BT = rows[:, :-1]
        document_BT = None if self.end_of_text is None else np.cumsum(inputs_BT == self.end_of_text, axis=1)
        return Batch(inputs_BT, rows[:, 1:], document_BT)

    def rows(self, epoch: int, windows: np.ndarray) -> Batch:
        return self.rows_at(self.starts(epoch, windows))

    def window_scores(self, epoch: int, document_starts: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Mean score over the positions of every window, each position having the score of its document."""
        edges = self.phase(epoch) + np.arange(self.n_windows + 1) * self.context
        total = np.concatenate([[0.0], np.cumsum(scores * np.diff(document_starts))])
        at = np.searchsorted(document_starts, edges, side="right") - 1
        at = np.minimum(at, len(scores) - 1)
        upto = total[at] + scores[at] * (edges - document_starts[at])
        return np.diff(upto) / self.context


class DocumentWindows:
    """Window w is the pieces first[w] .. first[w+1], in the order of the stream; the rest is padding."""

    def __init__(
        self,
        tokens: Any,
        context: int,
        end_of_text: int,
        document_starts: np.ndarray,
        scores: np.ndarray | None = None,
        with_documents: bool = False,
    ) -> None:
        if not len(tokens):
            raise ConfigError("the text has no tokens, so there is nothing to pack; use a longer text")
        self.tokens, self.context, self.end_of_text = tokens, context, end_of_text
        self.with_documents, self.n_documents = with_documents, len(document_starts) - 1
        starts, lengths, owners = _pieces(document_starts, context)
        window_of = np.empty(len(starts), np.int32)
        self.n_windows = 0
        for group in _groups(owners, scores):
            windows = best_fit_decreasing(lengths[group], context)
            window_of[group] = windows + self.n_windows
            self.n_windows += int(windows.max()) + 1
        by_window = np.argsort(window_of, kind="stable")
        self.first = np.concatenate([[0], np.cumsum(np.bincount(window_of, minlength=self.n_windows))])
        self.starts, self.lengths = starts[by_window], lengths[by_window]
        self._owners = owners[by_window] if scores is not None else None
        self.wasted_share = 1.0 - len(tokens) / (self.n_windows * context)

    @property
    def description(self) -> str:
        shape = f"{self.n_documents:,} documents in {self.n_windows:,} windows of {self.context} positions"
        return f"documents: {shape}, {self.wasted_share:.2%} of them wasted"

    def rows(self, epoch: int, windows: np.ndarray) -> Batch:
        """The same in every epoch: only the order differs."""
        n_rows, n_pieces = len(windows), self.first[windows + 1] - self.first[windows]
        pieces = _ranges(self.first[windows], n_pieces)
        row_of = np.repeat(np.arange(n_rows), n_pieces)
        number = _ranges(np.zeros(n_rows, np.int64), n_pieces)
        lengths = self.lengths[pieces].astype(np.int64)
        before = np.cumsum(lengths) - lengths
        column = before - before[np.cumsum(n_pieces) - n_pieces][row_of]
        place, source = _ranges(row_of * self.context + column, lengths), _ranges(self.starts[pieces], lengths)
        inputs = np.full(n_rows * self.context, self.end_of_text, np.int64)
        targets = np.full(n_rows * self.context, IGNORED, np.int64)
        inputs[place] = self.tokens[source]
        after = source + 1
        at_end = after == len(self.tokens)
        targets[place] = np.where(at_end, self.end_of_text, self.tokens[np.where(at_end, 0, after)])
        document_BT = None
        if self.with_documents:
            document = np.repeat(n_pieces, self.context)
            document[place] = np.repeat(number, lengths)
            document_BT = document.reshape(n_rows, self.context)
        return Batch(inputs.reshape(n_rows, -1), targets.reshape(n_rows, -1), document_BT)

    def window_scores(self, epoch: int, document_starts: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Mean score over the positions of every window that are not padding."""
        if self._owners is None:
            raise ConfigError("these windows were packed without scores; give the scores when packing")
        filled = np.add.reduceat(self.lengths.astype(np.float64), self.first[:-1])
        return np.add.reduceat(scores[self._owners] * self.lengths, self.first[:-1]) / filled


def document_starts(tokens: Any, end_of_text: int) -> np.ndarray:
    """int64 [documents + 1]: where documents begin, and the length of the stream.

    What precedes the first <|endoftext|> is a document as well.
    """
    block = 1 << 22
    found = [np.zeros(1, np.int64)] if len(tokens) and int(tokens[0]) != end_of_text else []
    for base in range(0, len(tokens), block):
        found.append(np.flatnonzero(np.asarray(tokens[base : base + block]) == end_of_text) + base)
    return np.concatenate([*found, [len(tokens)]]).astype(np.int64)


def best_fit_decreasing(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """int32 bin of every item (1 <= length <= capacity): the longest first, each where it leaves the least room.

    Bins are numbered as they are opened.  Of c bins with the least sufficient room r, items of one length l fill one
    after the other with floor(r / l) each: the same as placing them one by one.
    """
    order, counts = np.argsort(-lengths.astype(np.int64), kind="stable"), np.bincount(lengths, minlength=capacity + 1)
    bins, n_bins, at = np.empty(len(lengths), np.int32), 0, 0
    open_bins: list[list[np.ndarray]] = [[] for _ in range(capacity + 1)]  # by the room that is left
    is_open = np.zeros(capacity + 1, bool)
    for length in np.flatnonzero(counts)[::-1].tolist():
        end = at + int(counts[length])
        rooms = (np.flatnonzero(is_open[length:capacity]) + length).tolist()
        for room in [*rooms, capacity]:
            if at == end:
                break
            each = room // length
            n_wanted = -(-(end - at) // each)
            if room == capacity:
                available = np.arange(n_bins, n_bins + n_wanted, dtype=np.int32)
                n_bins += n_wanted
            else:
                available = np.concatenate(open_bins[room])
            used = available[:n_wanted]
            fill = np.repeat(used, each)[: end - at]
            bins[order[at : at + len(fill)]] = fill
            at += len(fill)
            in_last = len(fill) - (len(used) - 1) * each
            if room < capacity:
                open_bins[room], is_open[room] = [available[n_wanted:]], n_wanted < len(available)
            for left, some in ((room - each * length, used[:-1]), (room - in_last * length, used[-1:])):
                if left and len(some):
                    open_bins[left].append(some)
                    is_open[left] = True
    return bins


def _pieces(document_starts: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start int64, length int32, document) of every piece; only the last piece of a document is short."""
    n_pieces = -(-np.diff(document_starts) // context)
    owners = np.repeat(np.arange(len(n_pieces)), n_pieces)
    starts = _ranges(np.zeros(len(n_pieces), np.int64), n_pieces) * context + document_starts[owners]
    return starts, np.minimum(document_starts[owners + 1] - starts, context).astype(np.int32), owners


def _groups(owners: np.ndarray, scores: np.ndarray | None) -> list[np.ndarray]:
    """All pieces, or parts of like score of at least 256 pieces."""
    if scores is None:
        return [np.arange(len(owners))]
    n_groups = max(1, min(MOST_GROUPS, len(owners) // SMALLEST_GROUP))
    return [np.sort(group) for group in np.array_split(np.argsort(scores[owners], kind="stable"), n_groups)]


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start .. start + length - 1 of every pair, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
