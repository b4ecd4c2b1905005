"""Floor 6: from a model and tokens to trained parameters: optimizers, schedules, the loop, checkpoints, metrics.

Called, weightless.train(recipe, out=…, text=…, validation=…, only=…) makes the models of a recipe (docs/api.md).
"""
