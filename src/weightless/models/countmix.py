"""Countmix: what a dozen contexts have counted, mixed node by node on the way through a tree over tokens.

PAQ's idea (Mahoney 2005), learned in one pass over the text and then frozen; only the counts of the window it is in go
on.  `ops/count_mixing.py` has the equations, `program/operators/countmix/reading.py` is the page to follow, and
docs/count_mixing.md the chapter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.saved_work import SavedWork
from weightless.countmix.arranging import arranged
from weightless.countmix.shape import Shape
from weightless.models.catalog import Counted
from weightless.ops.context_hashes import context_parts
from weightless.ops.count_layout import (
    LINE,
    MAPS,
    MAX_VOCAB,
    MIXERS,
    MOST_INPUTS,
    NEAR_PAIRS,
    TOKEN,
    WINDOW_SLOT,
    map_sizes,
    mixer_bytes,
    tree_line,
)
from weightless.ops.count_mixing import MAX_DEPTH, N_GROUPS
from weightless.program.cached import WindowCache
from weightless.program.operators.countmix import CountmixFull, CountmixSample, CountmixScore, CountmixWindow
from weightless.program.operators.lookup import AcceptToken
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor

if TYPE_CHECKING:
    from weightless.countmix.counting import Beside

HELD_OUT_SHARE = 0.1
SLOTS_PER_POSITION = 8


@dataclass(frozen=True)
class Config(WindowCache):
    """Contexts are named as in `ops/context_hashes.py`: o3 (three last tokens), t2 (the second last), w01 (words)."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus.  At most 65,536."""
    context: int = 512
    """Longest window, in tokens, below 65,536."""
    dense: tuple[str, ...] = ("w0", "w01", "t2", "o1", "o2")
    """Contexts that keep counts of tree nodes, the surest last: their confidence chooses weights."""
    lists: tuple[str, ...] = ("o3", "o4", "o5")
    """Contexts that keep the tokens that followed, the longest last."""
    window: tuple[str, ...] = ("w0", "o1", "o2", "o3")
    """Contexts whose followers are counted in the window itself."""
    mixers: tuple[str, ...] = MIXERS
    """What chooses the weights: depth, node, confidence, input, token."""
    stored_mb: float = 500.0
    """Most that the artifact may take, in megabytes of 10^6 bytes; as much is kept as there is room for."""
    tables_gb: float = 6.5
    """Most memory that the tables may take while counting, in gigabytes of 10^9 bytes; in less, rarer contexts go."""
    followers: int = 7
    """Tokens that a slot of the window holds, 1 to 9."""
    held_out: int = 1_000_000
    """About so many training tokens, in whole documents, tune the mixers before they are counted; at most a tenth."""
    root: int = 0
    """The tree's first node (filled in by counting)."""
    node_lines: tuple[int, ...] = ()
    """Lines of 64 bytes of every dense context and group of levels (filled in by counting)."""
    list_lines: tuple[int, ...] = ()
    """Lines of every list (filled in by counting)."""
    node_bits: int = 0
    """Bits of a hash that choose a line of nodes (filled in by counting)."""
    list_bits: int = 0
    """Bits of a hash that choose a line of a list (filled in by counting)."""

    def __post_init__(self) -> None:
        if not 2 <= self.vocab_size <= MAX_VOCAB or not 1 <= self.context < MAX_VOCAB:
            raise ConfigError(
                f"vocab_size = {self.vocab_size} and context = {self.context}: a tree has 2 to {MAX_VOCAB} tokens, a "
                f"window 1 to {MAX_VOCAB - 1} positions"
            )
        for name in ("dense", "lists", "window"):
            names = getattr(self, name)
            for context in names:
                context_parts(context)
            if len(set(names)) < len(names):
                raise ConfigError(f"{name} = {list(names)} names a context twice")
        if len(self.dense) > 8:
            raise ConfigError(f"{len(self.dense)} dense contexts are more than 8")
        if self.shape.n_inputs > MOST_INPUTS:
            raise ConfigError(f"{len(self.shape.contexts)} contexts are more than {MOST_INPUTS - 3}")
        if not self.mixers or list(self.mixers) != [name for name in MIXERS if name in self.mixers]:
            raise ConfigError(f"mixers = {list(self.mixers)} should be some of {list(MIXERS)}, in this order")
        self.check_cache(self.context)
        if not 1 <= self.followers <= 9:
            raise ConfigError(f"followers = {self.followers} is not in 1..9")
        if not 0 < self.stored_mb < 1e5 or self.held_out < 0:
            raise ConfigError(f"stored_mb = {self.stored_mb:g} and held_out = {self.held_out} should be above 0")
        if not 0.001 <= self.tables_gb < 1e4:
            raise ConfigError(f"tables_gb = {self.tables_gb:g} is not in 0.001..10000")

    @property
    def shape(self) -> Shape:
        n_slots = 1 << (SLOTS_PER_POSITION * self.context - 1).bit_length()
        return Shape(self.dense, self.lists, self.window, self.mixers, self.context, n_slots, self.followers)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: megabytes, four times as many with each step."""
        return Config(vocab_size=vocab_size, stored_mb=4.0 * 4.0**size)


def count(
    config: Config,
    tokens: np.ndarray,
    show_progress: bool = False,
    token_bytes: Sequence[bytes] | None = None,
    saved: SavedWork | None = None,
    beside: Beside | None = None,
) -> tuple[Config, dict[str, np.ndarray]]:
    """Count the training tokens: (the configuration with its sizes, the packed arrays by tensor name).

    With a trained model `beside` the mixers have an input more, and the arrays a weight more in every row.
    """
    from weightless.countmix.counting import Request, count_text

    n_held = _n_held(config, tokens)
    shape = config.shape._replace(beside=beside is not None)
    request = Request(shape, config.vocab_size, int(config.stored_mb * 1e6), n_held, config.tables_gb * 1e9)
    found = count_text(request, tokens, token_bytes, show_progress, saved, beside)
    config = dataclasses.replace(
        config,
        root=found.root,
        node_lines=tuple(found.node_lines),
        list_lines=tuple(found.list_lines),
        node_bits=found.bits[0],
        list_bits=found.bits[1],
    )
    return config, found.arrays


def counted_first(config: Config, tokens: Any, token_bytes: Sequence[bytes] | None = None) -> np.ndarray:
    """The tokens that are counted before the mixers are tuned on the others: what a model beside may learn from."""
    text = arranged(tokens, token_bytes, _n_held(config, tokens))
    return text[: len(text) - text.n_last]


def _n_held(config: Config, tokens: Any) -> int:
    return min(config.held_out, int(HELD_OUT_SHARE * len(tokens)))


def memory(config: Config, n_tokens: int) -> int:
    """Bytes that counting so many tokens takes: the tables, and what is packed of them."""
    shape = config.shape
    return shape.table_bytes(shape.table_bits(n_tokens, config.tables_gb * 1e9)) + int(config.stored_mb * 1e6)


def decode_program(config: Config) -> Program:
    """The window's counts in the body, a walk in every head; without sizes, the bound that the budget sets."""
    c, shape = _sized(config), config.shape
    window = {
        "history": "history",
        "words": "words" if shape.has_words else "",
        "hashes": "window.hashes",
        "slots": "window.slots",
        "pairs": "window.pairs",
        "window": " ".join(c.window),
        "n_slots": shape.n_slots,
        "n_followers": c.followers,
    }
    path = {
        "tree": "tree.nodes",
        "rank": "tree.rank",
        "root": c.root,
        "token": "tree.token",
        "nodes": "counts.nodes",
        "lists": "counts.lists",
        "dense": " ".join(c.dense),
        "listed": " ".join(c.lists),
        "node_lines": " ".join(map(str, c.node_lines)),
        "list_lines": " ".join(map(str, c.list_lines)),
        "node_bits": c.node_bits,
        "list_bits": c.list_bits,
        "dense_map": "maps.dense",
        "list_map": "maps.lists",
        "pair_map": "maps.pairs",
        "mixers": " ".join(c.mixers),
        **{f"mix_{name}": f"mix.{name}" if name in c.mixers else "" for name in MIXERS if name != "node"},
        "mix_last": "mix.last",
    }
    fields: dict[str, Any] = {**window, **path}
    heads = {
        "score": (CountmixScore(**fields, outcome=OUTCOME),),
        "sample": (CountmixSample(**fields, outcome=OUTCOME),),
        "full": (CountmixFull(**fields, outcome=PROBABILITIES),),
    }
    body = (AcceptToken("history"), CountmixWindow(**window, records="tokens.records"))
    return Program(c.vocab_size, c.context, tuple(_memory(c, shape)), body, heads).validate()


def _sized(c: Config) -> Config:
    """The same with lines, where nothing was counted: the budget, shared evenly."""
    if c.root:
        return c
    n = max(1, N_GROUPS * len(c.dense) + len(c.lists))
    lines = max(1, int(c.stored_mb * 1e6) // LINE // n)
    return dataclasses.replace(
        c,
        root=c.vocab_size // 2,
        node_lines=(lines,) * (N_GROUPS * len(c.dense)),
        list_lines=(lines,) * len(c.lists),
        node_bits=20,
        list_bits=20,
    )


def _memory(c: Config, shape: Shape) -> list[Tensor]:
    """Tables, maps, weights and the tree apart in the ledger; the window's counts are state."""
    n_lists, vocab_size = len(c.lists) + len(c.window), c.vocab_size
    maps = zip(MAPS, map_sizes(len(c.dense), n_lists), strict=True)
    tensors = [
        Tensor("tree.nodes", (tree_line(shape.n_inputs) * vocab_size, 1), "u8", "tree", "constant"),
        Tensor("tree.rank", (vocab_size, 1), "u16", "tree", "constant"),
        Tensor("tree.token", (vocab_size, 1), "u16", "tree", "constant"),
        Tensor("tokens.records", (TOKEN * vocab_size, 1), "u8", "tree", "constant"),
        Tensor("counts.nodes", (LINE * max(1, sum(c.node_lines)), 1), "u8", "counts", "constant"),
        Tensor("counts.lists", (LINE * max(1, sum(c.list_lines)), 1), "u8", "counts", "constant"),
        *(Tensor(name, (size, 1), "u8", "maps", "weight") for name, size in maps),
        Tensor("mix.last", (MAX_DEPTH * len(c.mixers), 1), "u8", "mixers", "weight"),
    ]
    for name in c.mixers:
        if name != "node":
            size = mixer_bytes(name, len(c.lists), vocab_size, shape.n_inputs)
            tensors.append(Tensor(f"mix.{name}", (size, 1), "u8", "mixers", "weight"))
    if shape.has_words:
        tensors.append(Tensor("words", (1, 3), "u32", "activations", "state"))
    n_window = max(1, len(c.window) * shape.n_slots) * WINDOW_SLOT
    tensors += [
        Tensor("window.hashes", (1, max(1, len(c.window) * c.context)), "u32", "window counts", "state"),
        Tensor("window.slots", (n_window, 1), "u8", "window counts", "state"),
        Tensor("window.pairs", (2 * (NEAR_PAIRS + vocab_size), 1), "u8", "window counts", "state"),
        Tensor(OUTCOME, (1, 1), "f32", "activations", "state"),
        Tensor(PROBABILITIES, (1, vocab_size), "f32", "logits", "state"),
        Tensor("history", (1, c.context), "u32", "activations", "state"),
    ]
    return tensors


FROM_TEXT = ("root", "node_lines", "list_lines", "node_bits", "list_bits")
FAMILY = Counted(
    Config, count, decode_program, FROM_TEXT, reads_text=True, is_saved=True, mixes=counted_first, memory=memory
)
