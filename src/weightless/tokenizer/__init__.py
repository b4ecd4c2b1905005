"""Floor 2: text to tokens and back: pre-tokenisation, BPE training, encoding, interchange with other tokenizers."""
