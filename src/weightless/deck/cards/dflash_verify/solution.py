"""Verification of a tree of drafted tokens: the library's, with the names of the card.

The logits AT a place predict what FOLLOWS it, so the walk begins at the last token of the prompt: look at the target's
token there, go to the child that has it, and look again; where no child has it, it is the new token.  Nothing below a
child that was passed by is ever looked at, and no sibling ends the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.decode import tree_verification as verification


def build_tree_mask(prompt_len: int, tree_parents: Sequence[int]) -> np.ndarray:
    """bool (P + N, P + N), True = may attend."""
    return verification.build_tree_mask(prompt_len, tree_parents)


def verify_and_accept(
    prompt_tokens: Sequence[int],
    tree_tokens: Sequence[int],
    tree_parents: Sequence[int],
    target_model: Callable[[list[int], np.ndarray], np.ndarray],
    temperature: float = 0.0,
    rng: Any = None,
) -> tuple[list[int], int]:
    """(accepted_tokens, new_token); `rng` is what `numpy.random.default_rng` takes."""

    def asked(tokens: list[int], mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return target_model(tokens, mask)  # which knows positions from the mask

    drawn = np.random.default_rng(rng)
    return verification.verify_and_accept(prompt_tokens, tree_tokens, tree_parents, asked, temperature, drawn)
