"""The card: train a language model whose weights are ternary."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.ternary_training import checks_checkpoint as checkpoint
from weightless.deck.cards.ternary_training import checks_projection as projection
from weightless.deck.cards.ternary_training import checks_text as text

PINNED = (
    Pinned("load", (), also=("load_checkpoint", "load_model", "checkpoint")),
    Pinned(
        "ternary_project",
        ("W", "group_size"),
        also=("project_ternary", "ternarize", "ternary_quantize", "quantize", "project"),
        parameter_also=(("W", ("w", "weight", "weights", "x")), ("group_size", ("group", "g", "groupsize"))),
    ),
    Pinned(
        "log_probs",
        ("tokens",),
        also=("logprobs", "score", "predict", "forward"),
        parameter_also=(("tokens", ("token_ids", "ids", "x", "inputs")),),
    ),
)
CARD = Card(
    "ternary_training",
    "Training with ternary weights",
    "open-ended",
    8,
    checks=(
        Check("contract", "load() gives a checkpoint of the pinned names, shapes and types", checkpoint.plain_load),
        Check("contract", "ternary_project gives int8 codes and float16 scales", projection.plain_call),
        Check("contract", "log_probs gives a row of 256 for each byte", text.plain_call),
        Check("prompt", "every weight is -1, 0 or 1 times the scale of its group", checkpoint.every_weight),
        Check("prompt", "the shape is Qwen3's, two query heads to a key-value head", checkpoint.shape),
        Check("prompt", "the projection: mean size, rounded, clipped", projection.definition),
        Check("prompt", "the reported losses fall", checkpoint.losses_fall),
        Check("prompt", "hidden text: perplexity below 100 and below counts of bytes", text.better_than_unigram),
        Check("hidden", "hidden text: better than counts of pairs of bytes", text.better_than_bigram),
        Check("hidden", "log_probs are those of the checkpoint", text.loader_agrees),
        Check("hidden", "groups are independent, and turn with the sign", projection.groups),
        Check("hidden", "codes are taken with the scale that is stored", projection.stored_scale),
        Check("adversarial", "groups of zeros and of numbers too small for float16", projection.zero_groups),
        Check("adversarial", "a last group that is shorter, groups of other sizes", projection.short_groups),
        Check("adversarial", "one weight far larger than the others", projection.outliers),
        Check("adversarial", "what follows changes nothing; one byte; a whole window", text.causal),
        Check("efficiency", "processor time beside ours, for each weight", text.time_beside_ours),
    ),
    library=("weightless.ops.attention", "weightless.ops.feedforward", "weightless.ops.norm", "weightless.ops.rope"),
    pinned=PINNED,
)
