"""Floor 2: numbers in few bits (row formats, their straight-through twin for training, which tensor gets which)."""
