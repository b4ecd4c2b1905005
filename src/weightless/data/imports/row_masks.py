"""Which positions of padded rows are text: masks of data sets, and which of their two values means "keep".

    attention_mask   1 = a token, 0 = padding                        (the convention of Hugging Face tokenizers)
    loss_mask        1 = a target, 0 = not; only a masked tail is padding
    pad_mask         both meanings are in use; `polarity` finds out which one the rows have

How `polarity` decides, from the first rows that are read: in a row with both values, padding is the run that repeats
one id while the other run does not, and every such row votes.  Where no row has both values nothing was padded, so
the value met is that of text (a row that repeats one single id gives no vote).  Votes that contradict each other, or
none, are refused: the user then says which it is (`mask_means`).

`kept` turns a mask into booleans and refuses what no stream of tokens can hold: values that are not 0 and 1, and
masked positions in the middle of a row, since dropping those would join words that never stood side by side.

Shapes: `ids` and `mask` are flat over the rows of a block, `ends` are the positions where the rows end.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError

MASKS = ("pad_mask", "attention_mask", "loss_mask")
MEANINGS = ("auto", "keep", "pad")


def polarity(name: str, means: str, ids: np.ndarray, mask: np.ndarray, ends: np.ndarray, where: str) -> int:
    """The value (0 or 1) that marks text; `means` says what a 1 means: keep, pad, or auto."""
    if means != "auto":
        return int(means == "keep")
    if name != "pad_mask":
        return 1
    mixed, uniform = _votes(ids, mask != 0, ends)
    votes = mixed or uniform
    if len(votes) == 1:
        return votes.pop()
    why = "its rows contradict each other" if votes else "no row shows it"
    raise ConfigError(
        f"{where}: whether a 1 in {name} means text or padding cannot be told ({why}): "
        "say --mask_means keep or --mask_means pad"
    )


def _votes(ids: np.ndarray, mask: np.ndarray, ends: np.ndarray) -> tuple[set[int], set[int]]:
    """Values of text by the rows that have both values, and by those that have one."""
    mixed: set[int] = set()
    uniform: set[int] = set()
    start = 0
    for end in ends.tolist():
        row, flags, start = ids[start:end], mask[start:end], end
        if not len(row):
            continue
        changes = np.flatnonzero(flags[1:] != flags[:-1]) + 1
        if not len(changes) and not _repeats(row):
            uniform.add(int(flags[0]))
        if len(changes) == 1:
            head, tail = _repeats(row[: changes[0]]), _repeats(row[changes[0] :])
            if head != tail:
                mixed.add(int(flags[-1] if head else flags[0]))
    return mixed, uniform


def _repeats(ids: np.ndarray) -> bool:
    return len(ids) > 1 and bool((ids == ids[0]).all())


def kept(name: str, mask: np.ndarray, ends: np.ndarray, text: int, where: str, row: int = 0) -> np.ndarray:
    """Booleans, True = text; CorruptFileError for a mask that is none.  `row` is the number of the first row."""
    bad = np.flatnonzero((mask != 0) & (mask != 1))
    if len(bad):
        at = row + int(np.searchsorted(ends, bad[0], side="right"))
        raise CorruptFileError(f"{where}, row {at}: {name} holds {mask[bad[0]]}; a mask is made of 0 and 1")
    keep = mask == text
    step = np.diff(keep.astype(np.int8), prepend=np.int8(0))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    step[starts[starts < len(step)]] = 0
    changes = np.concatenate((np.zeros(1, np.int64), np.cumsum(step != 0)))
    rises = np.concatenate((np.zeros(1, np.int64), np.cumsum(step > 0)))
    holes = changes[ends] - changes[starts] > 1
    if name == "loss_mask":
        holes |= rises[ends] - rises[starts] > 0  # what comes before the first target is context, not padding
    if holes.any():
        at = row + int(np.flatnonzero(holes)[0])
        raise CorruptFileError(
            f"{where}, row {at}: {name} hides positions that are no padding at the end or the "
            "beginning of the row; a stream of tokens cannot leave them out"
        )
    return keep
