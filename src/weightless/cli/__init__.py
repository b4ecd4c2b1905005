"""Floor 9: one file per group of verbs; each parses, calls and prints, nothing else."""
