"""Verify a tree of drafted tokens with one forward pass of the target model (after SpecInfer, Miao et al. 2023).

A tree hangs below the last prompt token: node i has token tree_tokens[i] and parent tree_parents[i] < i, or -1 when it
follows the prompt directly.  One pass over [prompt | tree] with a mask in which a node sees the prompt, its ancestors
and itself gives, at every node, the target's distribution after the path to it.  A node stands at P + depth - 1 (depth
1 for a child of the prompt), not at P + i: siblings share a position.

Acceptance walks down, from the last prompt token.  The logits AT a place predict its CHILDREN:
    greedy     w = argmax there.  Is there a child with token w?  Accept it and go there.  Otherwise emit w and stop.
    sampling   p = softmax(logits / temperature) there.  Try the children in turn: accept child x with probability p(x),
               else take x out, p <- norm(p without x).  All refused: draw the new token from what is left of p.
               With `draft_probs` (children drawn without replacement from q): accept with min(1, p(x) / q(x)), else
               p <- norm(max(p - q, 0)), q <- norm(q without x).
Either way the tokens are distributed exactly as the target alone would produce them, and there is always one new token
beyond the accepted ones.  Siblings with equal tokens are one place: the walk goes on below all of them.

Traps.  Judging node i by its own logits (they predict what follows it); stopping at the first refused sibling (the next
may be right); positions by index.  Each gives other text than the target on nearly every random tree.
Cost: one forward pass of P + N tokens (N with a cache), a mask of (P + N)^2 booleans, O(N) to walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.decode.sampling import tempered
from weightless.ops.arguments import real_number, whole_number, whole_numbers

DRAFT_TOLERANCE = 1e-2
"""How far from 1 a row of draft probabilities may add up: 50,000 of them in float16 or bfloat16 do to half of it."""

TargetModel = Callable[[list[int], np.ndarray, np.ndarray], np.ndarray]


def build_tree_mask(prompt_len: int, tree_parents: Sequence[int]) -> np.ndarray:
    """bool (P + N, P + N): which of P prompt tokens and N drafted ones each of them may attend to, True = may.

    prompt_len     P, at least 1
    tree_parents   one per drafted token: the index of an earlier one, or -1 for a token that follows the prompt
                   directly; [] is an empty tree

    Row i is what token i sees.  The prompt is causal; node n (row P + n) sees the whole prompt, its ancestors and
    itself, and no other node, so siblings do not see each other.

    Raises ArgumentError (a ValueError) when a parent is not before its child or is no whole number, and for prompt_len
    < 1.
    """
    P = whole_number("prompt_len", prompt_len)
    parents = checked_parents(tree_parents)
    mask = np.zeros((P + len(parents), P + len(parents)), bool)
    mask[:P, :P] = np.tri(P, dtype=bool)
    for node, parent in enumerate(parents):
        mask[P + node] = mask[P + parent] if parent >= 0 else mask[P - 1]
        mask[P + node, P + node] = True
    return mask


def tree_positions(prompt_len: int, tree_parents: Sequence[int]) -> np.ndarray:
    """Absolute positions (P + N,): 0 .. P - 1, then P + depth - 1 of each node."""
    depth: list[int] = []
    for parent in checked_parents(tree_parents):
        depth.append(depth[parent] + 1 if parent >= 0 else 1)
    return np.concatenate((np.arange(prompt_len), prompt_len - 1 + np.array(depth, dtype=np.int64)))


def verify_and_accept(
    prompt_tokens: Sequence[int],
    tree_tokens: Sequence[int],
    tree_parents: Sequence[int],
    target_model: TargetModel,
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
    *,
    draft_probs: np.ndarray | None = None,
) -> tuple[list[int], int]:
    """(accepted_tokens, new_token): what the target takes of a drafted tree, from the top down, and the token it adds.

    prompt_tokens   ids of the text so far, at least one
    tree_tokens     ids of the drafted tokens; may be empty
    tree_parents    for each the index of its parent, an earlier one, or -1 for one that follows the prompt
    target_model    target_model(tokens, mask, positions) -> logits (P + N, V): tokens are prompt and tree together,
                    mask (P + N, P + N) is True where one may attend to another, positions (P + N,) counts from 0, and
                    siblings share a position.  Row i holds the logits of what FOLLOWS token i
    temperature     0: greedy, the most probable token, ties to the lowest id; above 0: drawn from softmax(logits / T)
    rng             the numpy Generator that draws; None makes an unseeded one
    draft_probs     None when the drafter was deterministic; else (N + 1, V), probabilities that the drafts were drawn
                    from without replacement: row 0 for those that follow the prompt, row 1 + i for the children of node
                    i.  Rows of tokens that have children add up to 1 (to 1e-2); the others are not looked at

    accepted_tokens is a path of the tree, perhaps empty; new_token follows it.  Together they are distributed exactly
    as the target alone would write, whatever was drafted.  Siblings with equal tokens are one place.

    Raises ArgumentError (a ValueError) for an empty prompt, a tree that is none, a tree token outside the vocabulary, a
    temperature that is negative or not finite, logits with NaN, +inf, no token above -inf or another shape, and
    draft_probs that are no probabilities.
    """
    prompt, tokens = whole_numbers("prompt_tokens", prompt_tokens), whole_numbers("tree_tokens", tree_tokens)
    mask = build_tree_mask(len(prompt), tree_parents)
    if len(tokens) != len(tree_parents):
        raise ArgumentError(f"{len(tokens)} tree_tokens and {len(tree_parents)} tree_parents: one parent per token")
    logits = checked_logits(target_model(prompt + tokens, mask, tree_positions(len(prompt), tree_parents)), len(mask))
    nodes, new_token = accept(logits[len(prompt) - 1 :], tokens, tree_parents, temperature, rng, draft_probs)
    return [tokens[node] for node in nodes], new_token


def accept(
    logits: np.ndarray,
    tokens: Sequence[int],
    parents: Sequence[int],
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
    draft_probs: np.ndarray | None = None,
) -> tuple[list[int], int]:
    """(accepted nodes from the top down, new token), from logits (1 + N, V): after the prompt, then after each node."""
    if real_number("temperature", temperature) < 0:
        raise ArgumentError(f"temperature should be 0 (greedy) or a positive number, not {temperature!r}")
    if draft_probs is not None:
        _check_draft(np.asarray(draft_probs), logits)
    if outside := [token for token in tokens if not 0 <= token < logits.shape[1]]:
        raise ArgumentError(f"tree token {outside[0]} is outside the vocabulary of {logits.shape[1]}")
    rng = rng or np.random.default_rng()
    accepted: list[int] = []
    at = [-1]
    while True:
        children = [node for node, parent in enumerate(parents) if parent in at]
        row = logits[at[0] + 1]
        if temperature == 0:
            chosen, token = None, int(np.argmax(row))
            chosen = next((node for node in children if tokens[node] == token), None)
        else:
            q = None if draft_probs is None else _drafted(np.asarray(draft_probs)[at[0] + 1], at[0], children)
            chosen, token = _try_children(tempered(row, temperature), q, children, tokens, rng)
        if chosen is None:
            return accepted, token
        accepted.append(chosen)
        at = [node for node in children if tokens[node] == token]


def _try_children(
    p_V: np.ndarray, q_V: np.ndarray | None, children: list[int], tokens: Sequence[int], rng: np.random.Generator
) -> tuple[int | None, int]:
    """(accepted child, its token) or (None, a token drawn from what the refused children leave of p)."""
    p = p_V.astype(np.float64)
    q = q_V
    for node in children:
        x = tokens[node]
        draft = np.zeros_like(p) if q is None else q
        if q is None:
            draft[x] = 1.0
        if draft[x] > 0 and rng.random() * draft[x] < p[x]:
            return node, x
        left = np.maximum(p - draft, 0.0)
        if left.sum() <= 0:  # p and q agree to the last bit, so refusing was rounding
            return node, x
        p = left / left.sum()
        if q is not None:
            q[x] = 0.0
            q /= q.sum() or 1.0
    return None, min(int(np.searchsorted(np.cumsum(p), rng.random() * p.sum(), side="right")), len(p) - 1)


def checked_parents(tree_parents: Sequence[int]) -> list[int]:
    """Parents as ints, each -1 or the index of an earlier node."""
    parents = whole_numbers("tree_parents", tree_parents, -1)
    for node, parent in enumerate(parents):
        if not -1 <= parent < node:
            raise ArgumentError(f"tree_parents[{node}] is {parent}; a parent is -1 or a node before its child")
    return parents


def _check_draft(draft: np.ndarray, logits: np.ndarray) -> None:
    if draft.shape != logits.shape:
        raise ArgumentError(f"draft_probs of shape {draft.shape} should have the shape {logits.shape}")
    if not (np.isfinite(draft).all() and (draft >= 0).all()):
        raise ArgumentError(f"draft_probs of shape {draft.shape} should hold probabilities, none below 0 and no NaN")


def _drafted(q_V: np.ndarray, node: int, children: list[int]) -> np.ndarray | None:
    """What the children of a node were drawn from, float64, summing to one; nothing is asked where there are none."""
    if not children:
        return None
    q, total = q_V.astype(np.float64), float(q_V.sum(dtype=np.float64))
    if abs(total - 1) > DRAFT_TOLERANCE:
        raise ArgumentError(
            f"row {node + 1} of draft_probs adds up to {total:.6g}: a node's children are drawn from "
            "probabilities that add up to 1"
        )
    return q / total


def checked_logits(found: Any, n: int) -> np.ndarray:
    """The target's logits, float64 (n, V) without NaN."""
    logits = np.asarray(found, dtype=np.float64)
    if logits.ndim != 2 or len(logits) != n:
        raise ArgumentError(f"target_model should return logits of shape ({n}, V), not {logits.shape}")
    if not logits.shape[1] or (logits == -np.inf).all(axis=1).any():
        raise ArgumentError(f"target_model gave no token a chance in a row of logits of shape {logits.shape}")
    if np.isnan(logits).any() or (logits == np.inf).any():
        raise ArgumentError(f"target_model returned NaN or +inf in logits of shape {logits.shape}")
    return logits
