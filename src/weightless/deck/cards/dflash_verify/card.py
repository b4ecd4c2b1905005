"""The card: verify a tree of drafted tokens in one pass."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.dflash_verify import checks_edges as edges
from weightless.deck.cards.dflash_verify import checks_trees as trees

PINNED = (
    Pinned(
        "build_tree_mask",
        ("prompt_len", "tree_parents"),
        also=("tree_mask", "make_tree_mask", "create_tree_mask", "build_mask", "tree_attention_mask"),
        parameter_also=(("prompt_len", ("P", "prompt_length", "n_prompt")), ("tree_parents", ("parents", "parent"))),
    ),
    Pinned(
        "verify_and_accept",
        ("prompt_tokens", "tree_tokens", "tree_parents", "target_model", "temperature", "rng"),
        optional=("rng",),
        also=("verify", "verify_tree", "tree_verify", "accept_reject", "verify_and_accept_tree"),
        parameter_also=(
            ("prompt_tokens", ("prompt", "prompt_ids", "context")),
            ("tree_tokens", ("tokens", "draft_tokens", "nodes")),
            ("tree_parents", ("parents", "parent")),
            ("target_model", ("model", "target", "lm")),
            ("temperature", ("temp", "T")),
            ("rng", ("seed", "generator", "random_state")),
        ),
    ),
)
CARD = Card(
    "dflash_verify",
    "Verification of a tree of drafted tokens",
    "extra hard",
    6,
    checks=(
        Check("contract", "build_tree_mask gives a bool matrix of prompt and tree", trees.plain_mask),
        Check("contract", "verify_and_accept gives a list of tokens and one token", trees.plain_call),
        Check("prompt", "three roots: greedy decoding, token for token", trees.prompt_three_roots),
        Check("prompt", "nothing below a refused token is taken", trees.prompt_refused_subtree),
        Check("prompt", "three cycles in a row: greedy decoding, token for token", trees.prompt_three_cycles),
        Check("hidden", "the mask of random trees, by their paths", trees.random_masks),
        Check("hidden", "random trees: greedy decoding, token for token", trees.random_trees),
        Check("hidden", "chains and broad trees that hold the right path", trees.chains_and_broad_trees),
        Check("hidden", "the right child may come after wrong ones", trees.later_siblings),
        Check("hidden", "siblings with equal tokens are one place", trees.equal_siblings),
        Check("hidden", "sampling gives the target's distribution", edges.sampling),
        Check("adversarial", "an empty tree, a prompt of one token", edges.empty_and_shortest),
        Check("adversarial", "a chain of 200 tokens is taken whole", edges.deep_chain),
        Check("adversarial", "ties go to the lowest id; logits of −inf and of 1e30", edges.ties_and_infinities),
        Check("adversarial", "the first and the last id of the vocabulary", edges.ends_of_the_vocabulary),
        Check("efficiency", "one forward pass per tree", edges.one_pass),
        Check("efficiency", "tokens per pass: what the walk gives", edges.tokens_per_pass),
        Check("efficiency", "processor time beside ours", edges.time_beside_ours),
    ),
    library=("weightless.decode.tree_verification",),
    pinned=PINNED,
)
