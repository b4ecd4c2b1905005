"""A model that is being served: its name, engines that are used again and again, and what a draw touched.  Floor 10.

Every text that is written at the moment has an engine of its own over the same weights (its state is what a sequence
needs: 19 kB for an n-gram model, 1 MB for a transformer of 512 positions), so nobody's numbers depend on anybody else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weightless.base.errors import ConfigError
from weightless.decode.generate import Cost, continuation, document_ids, end_ids
from weightless.decode.prefill import FEWEST_FED, Prefill
from weightless.decode.sampling import Sampling
from weightless.export.packed import Packed, open_packed
from weightless.program.cost import fixed_bytes
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine
from weightless.serve.refusals import Refusal

LONGEST_NAME = 100


@dataclass
class Served:
    """`name` is what requests call it; its place on the disk is told to nobody."""

    name: str
    packed: Packed
    created: int = 0
    ends: frozenset[int] = frozenset()
    _free: list[tuple[Engine, Prefill]] = field(default_factory=list, init=False)
    _decoded: Decoded | None = field(default=None, init=False)
    _fixed: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, init=False)
    _bytes: dict[int, bytes] = field(default_factory=dict, init=False)

    @property
    def context(self) -> int:
        """Tokens that the model looks at, at most."""
        return self.packed.program.context

    @property
    def state_bytes(self) -> int:
        """Memory that each text takes while it is written."""
        return self.packed.program.layout.state_bytes

    def take(self) -> tuple[Engine, Prefill]:
        """An engine that nobody uses, and what feeds it."""
        if self._free:
            return self._free.pop()
        if self._decoded is None:
            self._decoded = Decoded(self.packed.program.layout, self.packed.weights)
        engine = self.packed.engine()
        return engine, Prefill(engine, decoded=self._decoded)

    def give_back(self, taken: tuple[Engine, Prefill]) -> None:
        """The next text resets it."""
        self._free.append(taken)

    def ids(self, prompt: str | Sequence[int]) -> list[int]:
        """Tokens of a prompt, the mark that begins a document before them; Refusal for what the model cannot take.

        Ids are taken as they are: when they begin with that mark, no second one comes before it.
        """
        from weightless.decode.generate import prompt_ids

        if isinstance(prompt, str):
            ids = document_ids(self.packed, prompt_ids(self.packed, prompt))
        else:
            vocab = self.packed.program.vocab_size
            if wrong := [token for token in prompt if not 0 <= token < vocab]:
                told = f"token id {str(wrong[0])[:40]} is outside the vocabulary of {vocab} of {self.name}"
                raise Refusal(400, told, param="prompt")
            is_marked = bool(prompt) and prompt[0] == self.packed.tokenizer.end_of_text
            ids = list(prompt) if is_marked else document_ids(self.packed, list(prompt))
        if not ids:
            raise Refusal(400, f"{self.name} needs a prompt of at least one token", param="prompt")
        if len(ids) > self.context:
            told = f"{len(ids)} tokens (the one that begins a document counted) exceed the context of {self.context}"
            raise Refusal(400, f"the prompt's {told} of {self.name}", param="prompt", code="context_length_exceeded")
        return ids

    def n_marks(self, prompt: str | Sequence[int]) -> int:
        """How many of `ids` stand before the prompt's own tokens."""
        mark = self.packed.tokenizer.end_of_text
        return int(mark is not None and (isinstance(prompt, str) or prompt[:1] != (mark,)))

    def bytes_of(self, token: int) -> bytes:
        """What a token writes."""
        if token not in self._bytes:
            self._bytes[token] = self.packed.tokenizer.decode_bytes([token])
        return self._bytes[token]

    def touched(self, head: str, costs: Sequence[Cost]) -> int:
        """Bytes touched by these draws: what shapes decide at each position, and what the engine counted."""
        total = 0
        for position, decided, path in costs:
            if (head, path) not in self._fixed:
                positions = np.arange(1, self.context + 1)
                columns = fixed_bytes(self.packed.program, head, positions, np.full(self.context, path))
                self._fixed[head, path] = np.add.reduce([*columns.values(), np.zeros(self.context, np.int64)])
            total += int(self._fixed[head, path][position - 1]) + decided
        return total

    def warm_up(self) -> None:
        """Compile or load all that a request needs, and check that text goes in and comes out."""
        taken = self.take()
        ids = document_ids(self.packed, [*self.packed.tokenizer.encode("a")] * FEWEST_FED)[: self.context]
        for sampling in (Sampling(1, 1, max_tokens=1), Sampling(0, max_tokens=1)):
            costs: list[Cost] = []
            for _ in continuation(*taken, ids, sampling, (), costs):
                pass
            self.touched(sampling.mode, costs)
        self.give_back(taken)


def open_models(paths: Sequence[str], names: Sequence[str] = ()) -> dict[str, Served]:
    """{name: model}; ConfigError when two have one name, or names and files do not pair off."""
    if names and len(names) != len(paths):
        raise ConfigError(f"--names gives {len(names)} names for {len(paths)} models: give one for each")
    found: dict[str, Served] = {}
    for i, path in enumerate(paths):
        name = names[i] if names else _name_of(Path(path))
        if name in found:
            raise ConfigError(f"two models would be called {name!r}: tell them apart by --names, one for each")
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise ConfigError(f"{name!r} is no name for a model: 1 to {LONGEST_NAME} letters; give --names")
        packed = open_packed(path)
        packed.tokenizer  # noqa: B018  a model without one is told of now, not at the first request
        found[name] = Served(name, packed, int(os.stat(packed.artifact.path).st_mtime), end_ids(packed))
    return found


def _name_of(path: Path) -> str:
    """The file's name; a run leaves models as …/feather/model.wl, which are called by their folder."""
    path = path.absolute()
    return path.parent.name if path.stem == "model" and path.parent.name else path.stem
