"""The card `beam_search`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests

ZEROS = """
def batched_beam_search(prompts, beam_width, max_new_tokens, alpha=0.6, eos_token_id=0, log_probs=None):
    return [[([0], 0.0)] * beam_width for _ in prompts]
"""


class TestBeamSearch(CardTests):
    name = "beam_search"
    zeros = ZEROS
