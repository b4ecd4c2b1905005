"""Floor 2: text to tokens and back: pre-tokenisation, BPE training, encoding, interchange with other tokenizers."""

from weightless.tokenizer.bpe import Tokenizer
from weightless.tokenizer.bpe_train import train_bpe

__all__ = ["Tokenizer", "train_bpe"]
