"""Studies: a question, a prediction, runs with controls, statistics, a verdict, and a page about it.  Floor 9."""
