"""Floor 1: what a model costs before it exists: parameters, FLOPs, memory, time, and the largest that fits a budget.

Pure arithmetic on whole numbers; nothing here imports NumPy, PyTorch or a model family.  See docs/accounting.md.
"""
