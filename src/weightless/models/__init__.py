"""Floor 5: one file per model family, nothing else; `catalog` finds them by file name."""
