"""Make one decode program of two: a mixture that scores, samples and sums over both parts.

    body    history once, the body of each part, then the gate: a class of the context, from the counted part's ranges
    score   both scores, mixed as probabilities      sample   both draws, one of them chosen      full   both, mixed

Tensors take the part's name as a prefix ("neural.block.0.qkv"), except the history of tokens, which both read; lines
of the ledger keep their names, and equal names add up.  The parts are programs, so any two families can be mixed, as
long as one of them knows how well the context is known: a Kneser-Ney model or a suffix array.  Counts that have mixers
of their own take a neural model as one more input instead (`compose_inside.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from weightless.base.errors import ConfigError
from weightless.program.operators.lookup import AcceptToken
from weightless.program.operators.mixing import (
    CHOICE,
    GateByList,
    GateByMatch,
    MixFull,
    MixSample,
    MixScore,
    gate_class,
)
from weightless.program.operators.ngram import NgramContext
from weightless.program.operators.suffix import SuffixExtend
from weightless.program.program import OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Tensor

NEURAL, COUNTED = "neural", "counted"
HISTORY, GATE, WEIGHTS = "history", "gate", "mixing.weights"
MANY = 2**31  # more followers than any size class begins with


def prefixed(part: str, name: str) -> str:
    """The name that a part's tensor has in the mixture."""
    return name if name == HISTORY else f"{part}.{name}"


def n_classes(counted: Program) -> int:
    """Rows of the weights: one per class of context that the counted program's gate tells apart."""
    return 1 + max((gate_class(op.level, MANY) for op in _contexts(counted)), default=0)


def mixture(neural: Program, counted: Program) -> Program:
    """The program of w p_neural + (1 - w) p_counted; ConfigError when the parts cannot be mixed."""
    if neural.vocab_size != counted.vocab_size:
        raise ConfigError(f"vocabularies of {neural.vocab_size} and {counted.vocab_size} tokens cannot be mixed")
    contexts = _contexts(counted)
    if not contexts:
        raise ConfigError("the counted part looks at no context, so there is nothing to choose a weight by")
    if isinstance(contexts[0], NgramContext) and contexts[-1].level >= CHOICE:
        raise ConfigError(f"a mixture holds n-grams of order {CHOICE} at most: one random number chooses the part")
    parts = ((NEURAL, neural), (COUNTED, counted))
    context = min(neural.context, counted.context)
    body = [AcceptToken(HISTORY)]
    body += [renamed(op, part, p) for part, p in parts for op in p.body if not isinstance(op, AcceptToken)]
    heads = {
        head: (*(renamed(op, part, p) for part, p in parts for op in p.heads[head]), mix)
        for head, mix in _mixes().items()
    }
    return Program(
        neural.vocab_size, context, _memory(neural, counted, context), (*body, *_gates(counted)), heads
    ).validate()


def _contexts(counted: Program) -> list[Any]:
    """The operators that find out how well the context is known, shortest context first."""
    found = [op for op in counted.body if isinstance(op, NgramContext | SuffixExtend)]
    return sorted(found, key=lambda op: op.level)


def _gates(counted: Program) -> list[Any]:
    contexts = [renamed(op, COUNTED, counted) for op in _contexts(counted)]
    if isinstance(contexts[0], SuffixExtend):
        return [GateByMatch(contexts[0].matched, contexts[0].found, GATE)]
    return [GateByList(op.found, GATE, op.level) for op in contexts]


def _mixes() -> dict[str, Any]:
    one, two = prefixed(NEURAL, OUTCOME), prefixed(COUNTED, OUTCOME)
    p_one, p_two = prefixed(NEURAL, PROBABILITIES), prefixed(COUNTED, PROBABILITIES)
    return {
        "score": MixScore(one, two, GATE, WEIGHTS, OUTCOME),
        "sample": MixSample(one, two, GATE, WEIGHTS, OUTCOME),
        "full": MixFull(p_one, p_two, GATE, WEIGHTS, PROBABILITIES),
    }


def renamed(op: Any, part: str, program: Program) -> Any:
    """The operator over the part's tensors under their names in the mixture."""
    names = {f.name: getattr(op, f.name) for f in dataclasses.fields(op) if isinstance(getattr(op, f.name), str)}
    return dataclasses.replace(
        op, **{field: prefixed(part, name) for field, name in names.items() if name in program.by_name}
    )


def _memory(neural: Program, counted: Program, context: int) -> tuple[Tensor, ...]:
    stored, state = [], []
    for part, program in ((NEURAL, neural), (COUNTED, counted)):
        for tensor in program.tensors:
            if tensor.name != HISTORY:
                renamed = dataclasses.replace(tensor, name=prefixed(part, tensor.name))
                (state if tensor.kind == "state" else stored).append(renamed)
    stored.append(Tensor(WEIGHTS, (n_classes(counted), 1), "f32", "mixing", "constant"))
    state += [
        Tensor(GATE, (1, 1), "u32", "activations", "state"),
        Tensor(OUTCOME, (1, 1), "f32", "activations", "state"),
        Tensor(PROBABILITIES, (1, neural.vocab_size), "f32", "logits", "state"),
        Tensor(HISTORY, (1, context), "u32", "activations", "state"),
    ]
    return (*stored, *state)
