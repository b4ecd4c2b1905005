"""A study of some seconds: one small dense model over fables at two learning rates."""

from __future__ import annotations

from pathlib import Path

from weightless.data.text import fables

STUDY = """
name = "tiny"
kind = "lr"
seeds = {seeds}
[question]
text = "Which rate?"
[data]
source = "{text}"
vocab_size = 300
[eval]
tokens = 256
[sample]
max_tokens = 4
[base]
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 64 }}
[base.train]
num_steps = {steps}
batch_size = 2
threads = 1
eval_tokens = 128
checkpoint_every = 0.1
optimizer = "adamw"
[grid]
"train.max_lr" = {rates}
"""


def small_study(folder: Path, steps: int = 4, seeds: str = "[0]", rates: str = "[1e-3, 1e-2]") -> Path:
    """The study's file in `folder`, beside its text."""
    text = folder / "fables.txt"
    if not text.exists():
        text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=40_000)))
    path = folder / "tiny.toml"
    path.write_text(STUDY.format(text=text.as_posix(), steps=steps, seeds=seeds, rates=rates))
    return path
