"""The card `ternary_training`: our checkpoint passes, each known mistake gets its status, and the verifier is right.

Oracles: the library's compiled engine over the same packed weights for the verifier's forward pass; a model packed here
for how checkpoints are written.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from deck.in_process import Here
from deck.trying import CardTests, card_of, own, verdict

from weightless.base.errors import ConfigError
from weightless.data.text import fables
from weightless.deck.cards.ternary_training import making, text
from weightless.deck.cards.ternary_training.checkpoint import Checkpoint, decoded, loaded
from weightless.deck.cards.ternary_training.forward import bits_per_byte, log_probs
from weightless.deck.outcome import Failed

ZEROS = """import numpy as np
def load():
    config = dict(vocab_size=256, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  head_dim=32, intermediate_size=128, max_position_embeddings=64, rope_theta=1e6, rms_norm_eps=1e-6,
                  tie_word_embeddings=True)
    shapes = {"model.embed_tokens.weight": (256, 128)}
    norms = {"model.norm.weight": 128}
    for i in range(2):
        at = f"model.layers.{i}."
        for name, shape in dict(q=(128, 128), k=(64, 128), v=(64, 128), o=(128, 128)).items():
            shapes[f"{at}self_attn.{name}_proj.weight"] = shape
        shapes |= {f"{at}mlp.{name}_proj.weight": (128, 128) for name in ("gate", "up", "down")}
        norms |= {f"{at}{name}_layernorm.weight": 128 for name in ("input", "post_attention")}
        norms |= {f"{at}self_attn.{name}_norm.weight": 32 for name in "qk"}
    return dict(config=config, codes={name: np.zeros(shape, np.int8) for name, shape in shapes.items()},
                scales={name: np.zeros((shape[0], 1), np.float16) for name, shape in shapes.items()},
                norms={name: np.ones(n, np.float32) for name, n in norms.items()}, losses=[2.0 - i / 20 for i in range(20)])
def ternary_project(W, group_size):
    return np.zeros(W.shape, np.int8), np.zeros((len(W), -(-W.shape[1] // group_size)), np.float16)
def log_probs(tokens):
    return np.full((len(tokens), 256), -np.log(256.0))
"""


class TestTernaryTraining(CardTests):
    name = "ternary_training"
    zeros = ZEROS


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Checkpoint:
    return decoded(loaded(Here(own("ternary_training", tmp_path_factory.mktemp("ours") / "card"))))


def test_our_checkpoint_lies_between_the_floor_and_counts_of_pairs(ours):
    """The floor of a finite text moves by chance; 8 windows of 256 bytes have a standard error of about 0.05 bits."""
    windows = text.hidden_windows(np.random.default_rng(5), 8, 257)
    unigram, bigram = text.counted_bits(windows)
    assert fables.entropy_bits_per_byte() - 0.15 < bits_per_byte(ours, windows) < 1.5 < bigram < unigram


def test_the_text_is_the_same_everywhere_and_the_hidden_one_is_another():
    train = text.training_text()
    assert len(train) == 1_000_937 and train.startswith(b"Humo the beetle of Noni")
    hidden = text.hidden_windows(np.random.default_rng(0), 4, 257)
    assert not any(window.tobytes() in train for window in hidden)
    assert not np.array_equal(hidden, text.hidden_windows(np.random.default_rng(1), 4, 257))


def test_counts_are_those_of_a_loop():
    """On the first 3,000 bytes, one pair after another."""
    train, found = text.training_text(), text.counts()
    small = np.zeros((256, 256), int)
    for a, b in zip(train[:3000], train[1:3001]):
        small[a, b] += 1
    assert found.sum() == len(train) - 1 and (found >= small).all()
    window = np.frombuffer(train[:200], np.uint8)[None]
    assert text.counted_bits(window)[1] < text.counted_bits(window)[0]
