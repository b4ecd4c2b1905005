"""The card `beam_search`: batched beam search whose finished beams stay in the race."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.beam_search import checks_edges as edges
from weightless.deck.cards.beam_search import checks_search as searches

CHECKS = (
    Check("contract", "lists of pairs of tokens and score", searches.answers),
    Check("prompt", "K = 1, alpha = 0 is greedy", searches.greedy),
    Check("prompt", "prompts of 3 and 5 tokens are independent", searches.independent),
    Check("prompt", "finished beams stay in the race", searches.finished_beams_stay),
    Check("prompt", "a model of its own", searches.a_model_of_its_own),
    Check("hidden", "a large penalty turns the story", searches.the_penalty_can_turn_it),
    Check("hidden", "brute force where nothing is pruned", searches.exhaustive),
    Check("hidden", "beams are selected by score", searches.selected_by_score),
    Check("hidden", "only new tokens count", searches.new_tokens_count),
    Check("hidden", "nine prompts", searches.many_prompts),
    Check("adversarial", "the first step", edges.first_step),
    Check("adversarial", "V below 2 K", edges.small_vocabulary),
    Check("adversarial", "impossible tokens", edges.impossible_tokens),
    Check("adversarial", "the end token in the prompt", edges.end_in_the_prompt),
    Check("adversarial", "another end token", edges.another_end),
    Check("adversarial", "probabilities that are zero as floats", edges.very_unlikely),
    Check("efficiency", "finished beams are left alone", edges.finished_beams_are_left_alone),
    Check("efficiency", "one call of the model a step", edges.one_call_a_step),
    Check("efficiency", "processor time beside ours", edges.speed),
)

CARD = Card(
    name="beam_search",
    title="Batched beam search",
    difficulty="hard",
    order=5,
    checks=CHECKS,
    library=("weightless.decode.beam_search",),
    pinned=(
        Pinned(
            "batched_beam_search",
            ("prompts", "beam_width", "max_new_tokens", "alpha", "eos_token_id", "log_probs"),
            optional=("alpha", "eos_token_id", "log_probs"),
            also=("beam_search", "batch_beam_search", "beam_search_batched", "BatchedBeamSearch"),
            parameter_also=(
                ("prompts", ("prompt_token_ids", "prompt_ids", "input_ids")),
                ("beam_width", ("k", "K", "num_beams", "beam_size")),
                ("max_new_tokens", ("max_steps", "max_len", "max_length")),
                ("alpha", ("length_penalty",)),
                ("eos_token_id", ("eos_token", "eos_id", "eos")),
                ("log_probs", ("model", "model_fn", "logprob_fn", "log_prob_fn", "lm")),
            ),
        ),
    ),
)
