"""Floor 8: experiments — recipes, run folders, the report."""
