"""Flags of a training that takes a moment."""

SMALL = (
    "--d_model",
    "32",
    "--n_layers",
    "1",
    "--n_heads",
    "1",
    "--context",
    "64",
    "--num_steps",
    "2",
    "--batch_size",
    "2",
    "--threads",
    "1",
    "--eval_tokens",
    "128",
    "--no_wandb",
)
