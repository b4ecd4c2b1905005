"""Models that we export, run by llama.cpp: log-probabilities of the whole vocabulary, and ids of odd texts.

Oracle: llama.cpp, in this process (package xllamacpp), one thread, cache in float32.  Weights in F32 differ by rounding
of float32 sums alone: 1e-5 of log-probabilities, measured 2e-6.  GPT-2's activation is looked up in a table of half
precision there (1e-3 away), so it is held to ours with such a table, to 1e-4: a sum that is rounded otherwise may fall
into the next place of the table; measured 2e-5.  Other types round the activations too (to 8 bits in blocks):
that costs a KL of less than 1e-3, and less than a hundredth of what another model's tokens would; that the weights
themselves are exact is seen by writing the same codes as F32, and by reading the file again.
"""

from __future__ import annotations

import dataclasses
import io
import json
import random
import unicodedata
import urllib.request

import numpy as np
import pytest
from export.foreign_folders import small_tokenizer
from export.small_models import ODD, WIDE, V, log_probs, made
from tokenizer.published import NAMES, TEXTS, published
from tokenizer.texts import random_text

from weightless.base.errors import ConfigError, WeightlessError
from weightless.export.from_gguf import import_gguf
from weightless.export.packed import open_packed
from weightless.export.to_gguf import export_gguf
from weightless.models import dense, llama, qwen3
from weightless.ops import feedforward
from weightless.tokenizer import Tokenizer, interchange
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

xllamacpp = pytest.importorskip("xllamacpp", reason="the extra interop is not installed")

CLOSE = {"rtol": 0, "atol": 1e-5}
FORCED = 97


def server(path, context: int = 63):
    """llama.cpp with a model, on one thread."""
    p = xllamacpp.CommonParams()
    p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers = str(path), context, 1, 0
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.warmup, p.fit_params, p.verbosity = False, False, 0
    return xllamacpp.Server(p)


def theirs(path, ids, vocab_size: int = V) -> np.ndarray:
    """log p at every position; the drawn token is forced, since probabilities of half a character are kept back."""
    running, found = server(path), np.full((len(ids), vocab_size), np.nan)
    for t in range(len(ids)):
        asked = {"prompt": [int(i) for i in ids[: t + 1]], "n_predict": 1, "n_probs": vocab_size, "cache_prompt": False}
        answer = running.handle_completions({**asked, "temperature": 0, "logit_bias": [[FORCED, 1000]]})
        for one in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[t, one["id"]] = one["logprob"]
    return found


def ids_of(n: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, n)


def halves(z: np.ndarray) -> np.ndarray:
    """GELU as llama.cpp has it on a processor: from a table, half precision in and out."""
    rounded = z.astype(np.float16).astype(np.float32)
    return exact_gelu(rounded).astype(np.float16).astype(np.float32)


exact_gelu = feedforward.gelu


@pytest.mark.parametrize("shapes", [WIDE, ODD], ids=["wide", "odd"])
@pytest.mark.parametrize("name", WIDE)
def test_log_probabilities_in_f32(name, shapes, tmp_path, monkeypatch):
    config = dataclasses.replace(shapes[name], weight_format="f32")
    packed = made(tmp_path / "model.wl", name, config, small_tokenizer())
    assert export_gguf(packed, tmp_path / "model.gguf").types.keys() == {"F32"}
    close = CLOSE
    if name == "gpt2":
        monkeypatch.setattr(feedforward, "gelu", halves)
        close = {"rtol": 0, "atol": 1e-4}
    ids = ids_of(7)
    np.testing.assert_allclose(log_probs(packed, ids), theirs(tmp_path / "model.gguf", ids), **close)


@pytest.mark.parametrize("fields", [{}, {"qk_norm": "weighted", "eps": 1e-6, "tied": False}], ids=["llama", "qwen3"])
def test_a_dense_model_without_a_tokenizer(fields, tmp_path):
    config = dense.Config(V, 52, 2, 2, 1, 45, 63, **fields, weight_format="f32", kv_format="f32")
    packed = made(tmp_path / "model.wl", "dense", config)
    export_gguf(packed, tmp_path / "model.gguf")
    ids = ids_of(5)
    np.testing.assert_allclose(log_probs(packed, ids), theirs(tmp_path / "model.gguf", ids), **CLOSE)


def kl(p_TV: np.ndarray, q_TV: np.ndarray) -> float:
    return float((np.exp(p_TV) * (p_TV - q_TV)).sum(axis=1).max())


TYPES = {"bf16": "BF16", "f16": "F16", "int8": "Q8_0", "int4_g32": "Q4_0", "t2_g128": "Q2_0", "t2_row": "TQ2_0"}


@pytest.mark.parametrize("fmt", TYPES)
def test_types_with_fewer_bits(fmt, tmp_path):
    config = qwen3.Config(V, 256, 2, 4, 2, 64, 256, 63, weight_format=fmt, kv_format="f32")
    packed = made(tmp_path / "model.wl", "qwen3", config, small_tokenizer())
    found = export_gguf(packed, tmp_path / "model.gguf")
    assert found.types == {TYPES[fmt]: 15, "F32": 9}
    ids = ids_of(6)
    ours, seen = log_probs(packed, ids), theirs(tmp_path / "model.gguf", ids)
    assert kl(ours, seen) < 1e-3 and kl(ours, seen) < 0.01 * kl(ours, np.roll(seen, 1, axis=0))
    if fmt == "int8":
        export_gguf(packed, tmp_path / "f32.gguf", "f32")
        np.testing.assert_allclose(ours, theirs(tmp_path / "f32.gguf", ids), **CLOSE)


def test_a_file_that_was_read_and_written_again(tmp_path):
    """Ours to theirs to ours to theirs: the same bytes."""
    packed = made(tmp_path / "model.wl", "llama", dataclasses.replace(WIDE["llama"], weight_format="int8"))
    export_gguf(packed, tmp_path / "a.gguf")
    import_gguf(tmp_path / "a.gguf", tmp_path / "again.wl")
    export_gguf(open_packed(tmp_path / "again.wl"), tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def tokenizer_of(kind: str) -> Tokenizer:
    if kind in ("gpt4", "ours"):
        rng = random.Random(3)
        text = [random_text(rng, 2000).encode(), b"the cat sat on the mat, don't I'LL 2024 12345" * 20]
        return Tokenizer.train(text, 600, pattern="gpt4" if kind == "gpt4" else "gpt2")
    return interchange.from_hf(published(kind))


def as_model(tokenizer: Tokenizer, folder) -> tuple:
    """A tiny model with a tokenizer, exported."""
    if tokenizer.end_of_text is None:
        raise AssertionError("a text begins with something")
    config = qwen3.Config(tokenizer.vocab_size, 8, 1, 1, 1, 8, 8, 512, weight_format="f32", kv_format="f32")
    packed = made(folder / "model.wl", "qwen3", config, tokenizer)
    return packed, export_gguf(packed, folder / "model.gguf")


def cut_otherwise(text: str) -> bool:
    """Characters whose class depends on the age of the tables of Unicode, and the one letter whose capital is S too:
    `(?i:'s)` means an apostrophe and a long s as well, and llama.cpp's `'[sS]` does not."""
    return any(unicodedata.ucd_3_2_0.category(c) == "Cn" or c == "\u017f" for c in text)


def ids_by(running, text: str) -> list[int]:
    """Ids of a text by llama.cpp, the names of special tokens recognised; its server lives on the loopback."""
    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{running.listening_address}/tokenize", body, kind)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["tokens"]


@pytest.mark.parametrize("kind", ["ours", "gpt4", "gpt2", "qwen3", "llama3", "smollm2"])
def test_ids_of_odd_texts(kind, tmp_path):
    tokenizer = tokenizer_of(kind)
    _, made_of = as_model(tokenizer, tmp_path)
    assert bool(made_of.notes) == (kind == "qwen3")  # it composes characters, which llama.cpp does not
    running, rng = server(tmp_path / "model.gguf", 512), random.Random(kind)
    names = (*NAMES.get(kind, ["<|endoftext|>"]), *TEXTS.get(kind, []))
    texts = [random_text(rng, n, names) for n in (1, 2, 5, 9, 40) * 40]
    texts = [text for text in texts if not cut_otherwise(text)]
    assert len(texts) > 60
    for text in texts:
        if tokenizer.rules.normaliser and tokenizer.decode(tokenizer.encode(text)) != text:
            continue
        assert ids_by(running, text) == tokenizer.encode(text), text
    back = import_gguf(tmp_path / "model.gguf", tmp_path / "back.wl")
    assert open_packed(tmp_path / "back.wl").tokenizer.sha256 == tokenizer.sha256 and not back.notes


def test_patterns_that_it_has_not_are_refused(tmp_path):
    tokenizer = small_tokenizer()
    uncut = Tokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, "none")
    with pytest.raises(ConfigError, match="no pre-tokenizer of the pattern 'none', only of gpt2, gpt4"):
        as_model(uncut, tmp_path)
    assert not (tmp_path / "model.gguf").exists()


PIECES = ("the", " cat", "  ", "sat", " dog", "\u00e9", "\U0001f600", "x", "\n", "20", " on", "\u2581")


@pytest.mark.parametrize("adds", [False, True], ids=["plain", "dummy_prefix"])
def test_ids_of_a_sentencepiece_model(adds, tmp_path):
    """A model that was trained on ids; the tokenizer is named.  Texts that the model's normalisation leaves alone."""
    sentencepiece = pytest.importorskip("sentencepiece")
    rng, out = random.Random(11), io.BytesIO()
    text = ["the cat sat on the mat", "a dog and a cat", "caf\u00e9 and 2024 dogs", "sat sat sat on a dog"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=out,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=adds,
        minloglevel=2,
        num_threads=1,
    )
    (tmp_path / "pieces.model").write_bytes(out.getvalue())
    tokenizer = SentencePieceTokenizer.load(tmp_path / "pieces.model")
    config = llama.Config(tokenizer.vocab_size + 3, 8, 1, 1, 1, 8, 8, 512, weight_format="f32", kv_format="f32")
    packed = made(tmp_path / "model.wl", "llama", config, notes={"tokenizer_sha256": tokenizer.sha256})
    found = export_gguf(packed, tmp_path / "model.gguf", tokenizer=str(tmp_path / "pieces.model"))
    assert found.notes == ()
    running = server(tmp_path / "model.gguf", 512)
    for n in (1, 2, 5, 9, 40) * 20:
        odd = "".join(rng.choice(PIECES) for _ in range(n))
        assert ids_by(running, odd) == tokenizer.encode(odd), odd
    with pytest.raises(WeightlessError, match="trained on ids of another tokenizer"):
        other = small_tokenizer()
        other.save(tmp_path / "other.json")
        export_gguf(packed, tmp_path / "x.gguf", tokenizer=str(tmp_path / "other.json"))
    with pytest.raises(ConfigError, match="of the kind 'llama' cannot travel in an artifact, only gpt2; --tokenizer"):
        import_gguf(tmp_path / "model.gguf", tmp_path / "x.wl")
    assert import_gguf(tmp_path / "model.gguf", tmp_path / "x.wl", tokenizer="none").config == config
