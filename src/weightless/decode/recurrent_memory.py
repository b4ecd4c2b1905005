"""What recurrences remember of many sequences: the states after the last token, and within the last step those that a
sequence can still return to.

A state cannot be cut back as a cache can, so there are snapshots: after a step whose tokens are a tree, one per node;
after a step of tokens one behind the other, one before the first and one after the last.  `keep` returns to one of
them.  States are arrays [rows, columns] as the program lays them out; nobody changes one in place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weightless.base.errors import ConfigError

States = dict[str, np.ndarray]


class RecurrentMemory:
    """Snapshots by sequence and place: the number of a token in the order of feeding, from 0."""

    def __init__(self) -> None:
        self._places: dict[int, dict[int, States]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all snapshots."""
        snapshots = (states for places in self._places.values() for states in places.values())
        return sum(array.nbytes for states in snapshots for array in states.values())

    def last(self, sequence: int) -> States:
        """What the newest token left; empty before the first."""
        places = self._places.get(sequence, {})
        return places[max(places)] if places else {}

    def leave(self, sequence: int, snapshots: Mapping[int, States]) -> None:
        """After a step: its snapshots by place, beside the one from before it; nothing for programs without states."""
        if snapshots and any(snapshots.values()):
            places = self._places.setdefault(sequence, {})
            before = {max(places): self.last(sequence)} if places else {}
            self._places[sequence] = {**before, **snapshots}

    def fork(self, sequence: int, twin: int) -> None:
        """A copy that goes its own way."""
        if sequence in self._places:
            self._places[twin] = dict(self._places[sequence])

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        self._places.pop(sequence, None)

    def keep(self, sequence: int, last: int, length: int) -> None:
        """Return to what the token at place `last` left, now the last of `length`; ConfigError when that is gone."""
        if sequence not in self._places:
            return
        found = self._places[sequence].get(last)
        if found is None:
            raise ConfigError(
                f"the recurrent state after token {last} of sequence {sequence} is gone: feed tokens that may be taken "
                "back with parents, as a tree"
            )
        self._places[sequence] = {length - 1: found}
