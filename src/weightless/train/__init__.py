"""Floor 6: from a model and tokens to trained parameters: optimizers, schedules, the loop, checkpoints, metrics."""
