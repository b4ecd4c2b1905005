"""Are the bytes right?  Counters that share nothing: formula, log, PyTorch trace, pages, poisoned bytes."""
