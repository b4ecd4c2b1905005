"""Floor 4: PyTorch building blocks that at least two model families share (losses, norms, attention …)."""
