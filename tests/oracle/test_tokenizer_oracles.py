"""Against other people's software: ids of tiktoken and of Hugging Face tokenizers, merges of its trainer.

Ids and merges must be equal, without tolerance.  Code points whose class the oracle's Unicode version sees otherwise
(assigned since) are left out of the fuzz, found by asking the oracle itself.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from tokenizer.test_bpe import trained
from tokenizer.texts import random_text

from weightless.tokenizer import Tokenizer, interchange, train_bpe
from weightless.tokenizer.patterns import LETTER, NUMBER, OTHER, PATTERNS, SPACE, character_classes

tiktoken = pytest.importorskip("tiktoken")
hf = pytest.importorskip("tokenizers")

DATA = Path(os.environ.get("WEIGHTLESS_DATA", "/nonexistent"))
needs_gpt2 = pytest.mark.skipif(not (DATA / "gpt2").is_dir(), reason="WEIGHTLESS_DATA has no gpt2 folder")
EOT = "<|endoftext|>"


def tiktoken_of(tokenizer: Tokenizer):
    special = set(tokenizer.special_tokens.values())
    ranks = {token: i for i, token in enumerate(tokenizer.token_bytes) if i not in special}
    return tiktoken.Encoding(
        "ours", pat_str=PATTERNS[tokenizer.pattern], mergeable_ranks=ranks, special_tokens=tokenizer.special_tokens
    )


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return interchange.load_gpt2(DATA / "gpt2" / "gpt2_vocab.json", DATA / "gpt2" / "gpt2_merges.txt")


@pytest.fixture(scope="module")
def classes_of_tiktoken() -> dict[str, int]:
    """Class of every character of the first four planes, asked of tiktoken; beyond them no letter is assigned."""
    ranks = {bytes([b]): b for b in range(256)} | {b"aa": 256}
    probes = [
        (kind, tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}))
        for kind, pattern in ((LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+"))
    ]
    found = {}
    for code in (*range(0xD800), *range(0xE000, 0x40000)):
        matching = [kind for kind, encoding in probes if encoding.encode_ordinary(chr(code))]
        found[chr(code)] = matching[0] if matching else OTHER
    return found


@pytest.fixture(scope="module")
def newer(classes_of_tiktoken) -> set[str]:
    """Characters that the two Unicode versions class differently."""
    classes = character_classes()
    return {character for character, kind in classes_of_tiktoken.items() if classes[ord(character)] != kind}


def without(text: str, characters: set[str]) -> str:
    return "".join(character for character in text if character not in characters)


@pytest.mark.slow
def test_classes_differ_only_where_unicode_has_grown(classes_of_tiktoken, newer):
    """One side knows a later Unicode than the other: what differs is unassigned, so OTHER, for one of the two."""
    classes = character_classes()
    assert all(OTHER in (classes[ord(character)], classes_of_tiktoken[character]) for character in newer)
    assert not any(ord(character) < 0x500 for character in newer)


@needs_gpt2
@pytest.mark.slow
def test_gpt2_ids_are_tiktokens_on_all_planes(gpt2, newer):
    oracle = tiktoken_of(gpt2)
    rng = random.Random(1)
    for n in (1, 3, 17, 200) * 300:
        text = without(random_text(rng, n, (EOT,)), newer)
        assert gpt2.encode(text) == oracle.encode(text, allowed_special="all")
        assert gpt2.encode_ordinary_array(text).tolist() == oracle.encode_ordinary(text)


@needs_gpt2
def test_gpt2_ids_are_tiktokens(gpt2):
    oracle = tiktoken_of(gpt2)
    rng = random.Random(2)
    for n in (1, 3, 17, 200) * 20:
        # Fragments, Latin to Hangul and special tokens; the other planes are the slow test's.
        text = "".join(c for c in random_text(rng, n, (EOT,)) if ord(c) < 0x800 or 0x3000 <= ord(c) < 0xD7A4)
        assert gpt2.encode(text) == oracle.encode(text, allowed_special="all")
        assert gpt2.encode_ordinary_array(text).tolist() == oracle.encode_ordinary(text)


@needs_gpt2
def test_gpt2_facts(gpt2):
    assert gpt2.vocab_size == 50257 and gpt2.end_of_text == 50256 and len(gpt2.merges) == 50000
    assert sum(a.startswith(b"#") for a, _ in gpt2.merges) == 8
    assert gpt2.encode("Hello, world!") == [15496, 11, 995, 0]


@needs_gpt2
def test_gpt2_ids_on_a_play(gpt2):
    text = (DATA / "tinyshakespeare.txt").read_text()
    assert gpt2.encode(text) == tiktoken_of(gpt2).encode_ordinary(text)


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_repeated_special_tokens(pattern):
    """Adjacent, repeated and contained (not at the start: tiktoken's own choice between prefixes is arbitrary)."""
    tokenizer = trained(pattern, (EOT, "<|end|>", "a<|end|>b", "||"))
    oracle = tiktoken_of(tokenizer)
    rng = random.Random(pattern)
    for n in (1, 2, 9, 60) * 25:
        text = "".join(rng.choice((EOT, "<|end|>", "a<|end|>b", "a", "b", "|", "<", " x", "\n")) for _ in range(n))
        assert tokenizer.encode(text) == oracle.encode(text, allowed_special="all")


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none"])
def test_exported_tokenizer_json_has_equal_ids(pattern):
    tokenizer = trained(pattern, (EOT, EOT + EOT, "<|end|>"), 600)
    oracle = hf.Tokenizer.from_str(json.dumps(interchange.to_hf(tokenizer)))
    rng = random.Random(pattern)
    for n in (1, 2, 9, 60) * 25:
        text = random_text(rng, n, tuple(tokenizer.special_tokens))
        text = "".join(c for c in text if ord(c) < 0x800 or 0x3000 <= ord(c) < 0xD7A4)
        assert tokenizer.encode(text) == oracle.encode(text).ids
        assert oracle.decode(tokenizer.encode(text), skip_special_tokens=False) == text


def hf_trained(documents: list[str], vocab_size: int):
    tokenizer = hf.Tokenizer(hf.models.BPE())
    tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = hf.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOT],
        show_progress=False,
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def documents() -> list[str]:
    if (DATA / "tinyshakespeare.txt").is_file():
        text = (DATA / "tinyshakespeare.txt").read_text()
        return [text[i : i + 5000] for i in range(0, 300_000, 5000)]
    rng = random.Random(4)
    return ["".join(rng.choice("abcde  ") for _ in range(3000)) for _ in range(20)]


def test_ties_hf_gives_the_merges_of_hugging_face():
    texts = documents()
    oracle = json.loads(hf_trained(texts, 1500).to_str())
    vocab, merges = train_bpe([text.encode() for text in texts], 1500, [EOT], ties="hf")
    tokenizer = Tokenizer(vocab, merges, [EOT])
    theirs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in oracle["model"]["merges"]]
    ours = [tuple(merge.split(" ")) for merge in interchange.to_hf(tokenizer)["model"]["merges"]]
    assert ours == theirs and len(merges) == 1500 - 257


def test_a_tokenizer_trained_by_hugging_face_is_imported():
    texts = documents()
    oracle = hf_trained(texts, 900)
    tokenizer = interchange.from_hf(json.loads(oracle.to_str()))
    assert tokenizer.end_of_text == 0  # Hugging Face puts special tokens first
    for text in texts[:10]:
        text = text + EOT + text[:50]
        assert tokenizer.encode(text) == oracle.encode(text).ids


def test_a_file_without_the_type_of_its_model_is_what_the_library_takes_it_for():
    """GPT-2's own tokenizer.json has none: merges make it BPE, for them and for us."""
    tokenizer = trained("gpt2")
    values = interchange.to_hf(tokenizer)
    del values["model"]["type"]
    text = "the cat, the hat and the 12 mats"
    assert hf.Tokenizer.from_str(json.dumps(values)).encode(text).ids == list(interchange.from_hf(values).encode(text))
