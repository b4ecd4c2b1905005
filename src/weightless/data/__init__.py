"""Floor 3: from text to batches, in four parts whose arrows run one way.

text/       sources, documents, near-copies, the split         imports nothing of the others
shards/     the prepared corpus: token shards, manifest        imports text
imports/    somebody else's tokens become such a corpus        imports text and shards
batches/    windows, order, loader, prefetch                   stands apart: tokens come in as arrays
"""
