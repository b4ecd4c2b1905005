"""The card `ternary_training`: our checkpoint passes, each known mistake gets its status, and the verifier is right.

Oracles: the library's engine over the same packed weights for the verifier's forward pass; a model packed here
for how checkpoints are written.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from deck.in_process import Here
from deck.trying import CardTests, card_of, outcomes, own

from weightless.base.errors import ConfigError
from weightless.data.text import fables
from weightless.deck.cards.ternary_training import making, text
from weightless.deck.cards.ternary_training.checkpoint import Checkpoint, decoded, loaded
from weightless.deck.cards.ternary_training.checks_checkpoint import plain_load
from weightless.deck.cards.ternary_training.forward import bits_per_byte, log_probs
from weightless.deck.outcome import Failed
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models import catalog, qwen3

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
                norms={name: np.ones(n, np.float32) for name, n in norms.items()}, losses=[2.0 - i for i in range(20)])
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


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A qwen3 of odd sizes with random weights, packed as t2_g128: rows of 200 end in a group of 72."""
    config = qwen3.Config(257, 200, 2, 4, 2, 34, 130, 64, weight_format="t2_g128", kv_format="f32", rope_theta=500.0)
    rng, program = np.random.default_rng(3), catalog.family("qwen3").decode_program(config)
    arrays = {tensor.name: rng.standard_normal(tensor.shape).astype(np.float32) for tensor in program.stored()}
    path = tmp_path_factory.mktemp("packed") / "model.wl"
    pack(path, "qwen3", config, arrays)
    return open_packed(path)


def test_the_verifier_says_what_the_engine_says(packed, tmp_path):
    """The readable engine over the packed file, against our forward pass over the checkpoint that is made of it.

    The engine knows one token more, so probabilities are those of bytes given that it is none.  float32: 1e-4 nats.
    """
    making.write_checkpoint(packed, [2.0, 1.0] * 5, tmp_path)
    own("ternary_training", tmp_path / "card")
    for file in tmp_path.glob("solution_*"):
        (tmp_path / "card" / file.name).write_bytes(file.read_bytes())
    worker = Here(tmp_path / "card")
    model = decoded(loaded(worker))
    tokens = np.random.default_rng(4).integers(0, 256, 40)
    engine, wanted = packed.audit_engine(), []
    for token in tokens:
        engine.feed(int(token))
        p = engine.distribution()[:256].astype(np.float64)
        wanted.append(np.log(p / p.sum()))
    np.testing.assert_allclose(log_probs(model, tokens[None])[0], wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(worker.call("log_probs", tokens.tolist()), wanted, rtol=0, atol=1e-4)


def test_a_checkpoint_is_made_of_ternary_models_alone(packed, tmp_path):
    with pytest.raises(ConfigError, match="not ternary"):
        making.codes_and_scales(np.array([[1.0, 0.5, 0.0]], np.float32))
    codes, scales = making.codes_and_scales(np.array([[0.5, -0.5, 0.0]], np.float32))
    assert codes.tolist() == [[1, -1, 0]] and scales.tolist() == [[0.5]]
    with pytest.raises(ConfigError, match="text FOLDER"):
        making.main(["nothing"])
    making.main(["text", str(tmp_path)])
    assert (tmp_path / "train_data.txt").read_bytes() == text.training_text()


@pytest.mark.slow
def test_the_commands_that_made_it_make_one(tmp_path):
    """A few steps of a small model by the commands of `making.py`: what comes out passes all that needs no learning."""

    def said(line):
        subprocess.run([sys.executable, "-m", *line.split()], check=True, cwd=tmp_path, capture_output=True)

    said("weightless.deck.cards.ternary_training.making text .")
    said("weightless data prepare data --text train_data.txt --validation valid.txt --vocab-size 257")
    shape = "--d_model 64 --n_layers 2 --n_heads 4 --n_kv_heads 2 --d_head 16 --d_ff 64 --context 64 --kv_format f32"
    spent = "--num_steps 30 --log_every 2 --threads 1 --batch_size 4 --eval_tokens 256 --max_lr 0.02 --muon_lr 0.04"
    said(f"weightless train qwen3 --data data --out ternary --weight_format t2_g128 --qat_start 0 {shape} {spent}")
    folder = own("ternary_training", tmp_path / "card")
    said("weightless.deck.cards.ternary_training.making checkpoint ternary card")
    found = outcomes(card_of("ternary_training"), folder, folder, to_the_end=True)
    wrong = [one for one in found if one.status != "PASS" and "hidden text" not in one.name]
    assert wrong == [] and len(found) == len(card_of("ternary_training").checks)


WRONG = {
    "a group of another size": (lambda c: c["config"].update(group_size=64), "WRONG_SHAPE"),
    "no config key": (lambda c: c["config"].pop("head_dim"), "CONTRACT"),
    "a size that is a text": (lambda c: c["config"].update(head_dim="32"), "WRONG_SHAPE"),
    "a size that is True": (lambda c: c["config"].update(num_hidden_layers=True), "WRONG_SHAPE"),
    "a size beyond all": (lambda c: c["config"].update(hidden_size=1 << 40), "WRONG_SHAPE"),
    "too many weights": (lambda c: c["config"].update(num_hidden_layers=1000, hidden_size=1 << 16), "WRONG_SHAPE"),
    "words instead of bytes": (lambda c: c["config"].update(vocab_size=50257), "WRONG_SHAPE"),
    "theta that is NaN": (lambda c: c["config"].update(rope_theta=float("nan")), "WRONG_NUMERIC"),
    "a matrix too few": (lambda c: c["codes"].popitem(), "CONTRACT"),
    "a matrix too many": (lambda c: c["codes"].update(more=np.zeros((2, 2), np.int8)), "CONTRACT"),
    "a norm of NaN": (lambda c: c["norms"]["model.norm.weight"].fill(np.nan), "WRONG_NUMERIC"),
    "a negative scale": (lambda c: c["scales"]["model.embed_tokens.weight"].fill(-1), "WRONG_NUMERIC"),
    "losses that are texts": (lambda c: c.update(losses=["2", "1"]), "WRONG_SHAPE"),
    "codes that are a list": (lambda c: c.update(codes=[1, 0, -1]), "WRONG_SHAPE"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_checkpoint_that_does_not_fit_gets_its_status(name, tmp_path):
    class Given:
        def call(self, _name):
            return found

        solution = contextmanager(lambda self, limits: (yield self))

    found = Here(own("ternary_training", tmp_path / "card")).call("load")
    WRONG[name][0](found)
    with pytest.raises(Failed) as failed:
        plain_load(Given())
    assert failed.value.status == WRONG[name][1]


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
