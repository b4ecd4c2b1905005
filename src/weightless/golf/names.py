"""What the files of a submission are called."""

README, SUBMISSION, LOG, SCRIPT = "README.md", "submission.json", "train.log", "train_gpt.py"
ARTIFACT, PIECES = "model.wlz", "tokenizer.model"
RECIPE = "recipe.json"
"""Inside the script, beside its modules: what training again has to do."""
NEEDS = "Python 3.11 or later with numpy and numba"
"""Of a script that decodes and scores."""
