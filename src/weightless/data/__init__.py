"""Floor 3: from text to batches (sources, documents, split, token shards, loader, synthetic stories, inspection)."""
