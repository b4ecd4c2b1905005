"""Floor 7: checks that a number means what it says."""
