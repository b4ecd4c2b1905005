"""Floor 0: what every other room stands on (errors, strict configs, safe files, seeds, progress, units)."""
