"""What training is fed: windows of tokens, their order, batches made ahead of time, scores of documents."""
