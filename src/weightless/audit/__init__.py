"""Floor 7: checks that a number means what it says.

counters/       are the bytes right? (trace, pages, poison, agreement)
predictors/     is it a predictor? (probes, entry point, byte counts, overlap); imports counters
"""
