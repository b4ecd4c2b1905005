"""Flags of a training that takes a moment."""


def small(num_steps: int = 2, eval_tokens: int = 128) -> list[str]:
    """A dense model of one layer of width 32 over 64 positions; nothing is tracked."""
    return (
        "--d_model 32 --n_layers 1 --n_heads 1 --context 64 --batch_size 2 --threads 1 --no_wandb "
        f"--num_steps {num_steps} --eval_tokens {eval_tokens}"
    ).split()


SMALL = tuple(small())
