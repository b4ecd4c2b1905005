"""The card `beam_search`: our solution passes, each known mistake gets its status."""

from __future__ import annotations

from deck.trying import CardTests, card_of, mutants_of, mutated, outcomes

ZEROS = """
def batched_beam_search(prompts, beam_width, max_new_tokens, alpha=0.6, eos_token_id=0, log_probs=None):
    return [[([0], 0.0)] * beam_width for _ in prompts]
"""


class TestBeamSearch(CardTests):
    name = "beam_search"
    zeros = ZEROS

    def test_who_follows_the_literal_wording_fails_where_it_is_wrong_and_nowhere_else(self, reference, tmp_path):
        """Selection by raw log-probability passes what the prompt names as tests."""
        (literal,) = (one for one in mutants_of(self.name) if one.name.endswith("then sorted by score"))
        folder = mutated(reference, literal, tmp_path / "literal")
        found = outcomes(card_of(self.name), folder, reference, to_the_end=True)
        failed = [one for one in found if one.status != "PASS"]
        assert all(one.level in ("hidden", "adversarial") for one in failed)
        assert "beams are selected by score" in {one.name for one in failed}
