"""Make one decode program of a neural model and of counts that are mixed node by node: one more input of the mixers.

    body    history once, the body of each part        every head    log p of the classes (`class_full`), then the walk

The walk of the counted part goes through a tree over the classes of the neural part's head (`countmix.tree.Blocks`),
and asks the head at every node (`operators/countmix/beside.py`): in the place of the head's own operators, with the
bytes that they would read.  The head's rows are stored in the order of the tree; its tables of slots are not needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.count_layout import MOST_INPUTS
from weightless.program.compose import COUNTED, HISTORY, NEURAL, prefixed, renamed
from weightless.program.operators.class_head import ClassFull, GroupFull, WordFull
from weightless.program.operators.countmix import CountmixFull, CountmixSample, CountmixScore
from weightless.program.operators.lookup import AcceptToken
from weightless.program.program import HEADS, OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor

WALKS = (CountmixScore, CountmixSample, CountmixFull)


class ClassHead(NamedTuple):
    """A head of classes: its first operator, the rows of classes, groups ("" in two levels) and words, how many groups
    and words go together, and the slot of every token."""

    first: ClassFull
    groups: str
    words: str
    n_groups: int
    n_words: int
    slots: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of a class, and of a group."""
        return (self.n_groups * self.n_words, self.n_words) if self.groups else (self.n_words,)

    @property
    def units(self) -> dict[str, int]:
        """{rows: how many slots each stands for}."""
        levels = {self.first.classes: self.sizes[0], self.groups: self.n_words, self.words: 1}
        return {name: unit for name, unit in levels.items() if name}


def walks(counted: Program) -> bool:
    """Whether the counted part has mixers that take another input."""
    return all(len(counted.heads[head]) == 1 and isinstance(counted.heads[head][0], WALKS) for head in HEADS)


def class_head(neural: Program) -> ClassHead:
    """The head of the neural part; ConfigError when it has no classes."""
    ops = neural.heads["full"]
    if [type(op) for op in ops] not in ([ClassFull, WordFull], [ClassFull, GroupFull, WordFull]):
        told = ", ".join(op.name for op in ops)
        raise ConfigError(
            f"the trained part has a head without classes ({told}), whose probabilities do not fit the nodes of a "
            'tree: give it head = "class" or "class3", or mix it with a table (counted = "ngram")'
        )
    first, *middle, last = ops
    slots = next(op for op in neural.heads["score"] if op.slot_tables()[0]).slot_tables()[0]
    groups, n_groups = (middle[0].groups, middle[0].per_class) if middle else ("", 0)
    return ClassHead(first, groups, last.words, n_groups, last.n_words, slots)


def inside(neural: Program, counted: Program) -> Program:
    """The program of both; ConfigError when they cannot be mixed."""
    if neural.vocab_size != counted.vocab_size:
        raise ConfigError(f"vocabularies of {neural.vocab_size} and {counted.vocab_size} tokens cannot be mixed")
    head, context = class_head(neural), min(neural.context, counted.context)
    parts = ((NEURAL, neural), (COUNTED, counted))
    body = [AcceptToken(HISTORY)]
    body += [renamed(op, part, p) for part, p in parts for op in p.body if not isinstance(op, AcceptToken)]
    first = renamed(head.first, NEURAL, neural)
    heads = {name: (first, _asking(counted, name, head)) for name in HEADS}
    used = {value for op in (*body, first) for value in dataclasses.asdict(op).values() if isinstance(value, str)}
    tensors = _memory(neural, counted, used | {prefixed(NEURAL, name) for name in head.units}, context)
    return Program(neural.vocab_size, context, tensors, tuple(body), heads).validate()


def _asking(counted: Program, name: str, head: ClassHead) -> Any:
    """The walk of the counted part, with the neural head beside the counts."""
    walk = counted.heads[name][0]
    if walk.n_inputs >= MOST_INPUTS:
        raise ConfigError(
            f"{walk.n_inputs} inputs of the counted part leave no room for a neural one: take a context less"
        )
    return dataclasses.replace(
        renamed(walk, COUNTED, counted),
        outcome=walk.outcome,
        above=prefixed(NEURAL, head.first.choice),
        h=prefixed(NEURAL, head.first.h),
        group_rows=prefixed(NEURAL, head.groups) if head.groups else "",
        word_rows=prefixed(NEURAL, head.words),
        n_groups=head.n_groups,
        n_words=head.n_words,
    )


def _memory(neural: Program, counted: Program, used: set[str], context: int) -> tuple[Tensor, ...]:
    """Of the neural part what is `used`; the counted part's mixers with a weight more in every row."""
    walk, found = counted.heads["score"][0], []
    wider = walk.sizes_of_weights(counted.vocab_size, walk.n_inputs + 1)
    for tensor in neural.tensors:
        if tensor.name != HISTORY and prefixed(NEURAL, tensor.name) in used:
            found.append(dataclasses.replace(tensor, name=prefixed(NEURAL, tensor.name)))
    for tensor in counted.tensors:
        rows, columns = tensor.shape
        rows = wider.get(tensor.name, rows)
        if tensor.name not in (HISTORY, OUTCOME, PROBABILITIES):
            found.append(dataclasses.replace(tensor, name=prefixed(COUNTED, tensor.name), shape=(rows, columns)))
    results = [tensor for tensor in counted.tensors if tensor.name in (OUTCOME, PROBABILITIES)]
    found += [*results, Tensor(HISTORY, (1, context), "u32", "activations", "state")]
    return tuple(tensor for kind in (False, True) for tensor in found if (tensor.kind == "state") == kind)


def by_rank(rows: np.ndarray, slots_V: np.ndarray, unit: int) -> np.ndarray:
    """Rows that stand for `unit` slots each, in the order in which their tokens lie in a tree; what pads them stays.

    slots_V: the slot of the token of every rank.
    """
    order = slots_V[::unit] // unit
    return rows[np.concatenate([order, np.arange(len(order), len(rows))])]


def arrays_inside(
    neural: Program, arrays: Mapping[str, np.ndarray], counted: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of `inside` from those of both parts, the head's rows in the order of the tree."""
    head = class_head(neural)
    slots_V = np.asarray(arrays[head.slots]).reshape(-1)[counted["tree.token"][:, 0].astype(np.int64)]
    ordered = {name: by_rank(np.asarray(arrays[name]), slots_V, unit) for name, unit in head.units.items()}
    tables = {name for op in (*neural.heads["score"], *neural.heads["sample"]) for name in op.slot_tables()}
    found = {prefixed(NEURAL, name): a for name, a in ({**arrays, **ordered}).items() if name not in tables}
    return found | {prefixed(COUNTED, name): array for name, array in counted.items()}
