"""Floor 0: the student's shelf. A language model from torch primitives, a page per piece, in the order one builds it.

    layers       Linear, Embedding, RMSNorm, silu, SwiGLU, SiLUFeedForward, RotaryEmbedding
    attention    softmax, scaled_dot_product_attention, MultiHeadSelfAttention
    model        TransformerBlock, TransformerLM
    training     cross_entropy, SGD, AdamW, get_lr_cosine_schedule, clip_gradients, get_batch
    after it     save_checkpoint, load_checkpoint, decode

Written to be read (docs/scratch.md walks through it) and held to torch.nn.functional, to torch.optim and to the
library's own layers by tests/scratch.  What the library trains with is elsewhere (layers, train) and faster.
Nothing here imports the rest of the package, so a file can be copied out; wrong arguments raise ValueError.
"""

from weightless.scratch.attention import MultiHeadSelfAttention, scaled_dot_product_attention, softmax
from weightless.scratch.batches import get_batch
from weightless.scratch.checkpoint import load_checkpoint, save_checkpoint
from weightless.scratch.clipping import clip_gradients
from weightless.scratch.cross_entropy import cross_entropy
from weightless.scratch.decode import decode, nucleus
from weightless.scratch.embedding import Embedding
from weightless.scratch.feedforward import SiLUFeedForward, SwiGLU, silu
from weightless.scratch.linear import Linear
from weightless.scratch.norm import RMSNorm
from weightless.scratch.optimizers import SGD, AdamW
from weightless.scratch.rotary import RotaryEmbedding
from weightless.scratch.schedule import get_lr_cosine_schedule
from weightless.scratch.transformer import TransformerBlock, TransformerLM

__all__ = [
    "SGD",
    "AdamW",
    "Embedding",
    "Linear",
    "MultiHeadSelfAttention",
    "RMSNorm",
    "RotaryEmbedding",
    "SiLUFeedForward",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "clip_gradients",
    "cross_entropy",
    "decode",
    "get_batch",
    "get_lr_cosine_schedule",
    "load_checkpoint",
    "nucleus",
    "save_checkpoint",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
