"""tokenizer.json with the settings of published models, around small vocabularies: what their files say, key by key.

Made without the `tokenizers` package, from merges that reference-tested training finds in odd text.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from tokenizer.texts import random_text

from weightless.tokenizer import Tokenizer
from weightless.tokenizer.patterns import to_visible

WORDS = "the cat sat on the mat, 日本語 naïve café don't I'LL 2024 12345 f f(x):\n    return x\n\n  <|im_start|>user\n"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NAMES = {
    "gpt2": ["<|endoftext|>"],
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"],
    "llama3": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ],
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"],
}
TEXTS = {"qwen3": ["<tool_call>", "</tool_call>", "<think>", "</think>"]}
KINDS = tuple(NAMES)


@lru_cache
def _trained(pattern: str, n: int) -> Tokenizer:
    rng = random.Random(7)
    documents = [random_text(rng, 3000).encode(), WORDS.encode() * 50]
    return Tokenizer.train(documents, n, (), pattern=pattern)


def published(kind: str, n: int = 700) -> dict[str, Any]:
    """The values of tokenizer.json as `kind` has them, with n tokens that are not added."""
    pattern = {"gpt2": "gpt2", "qwen3": "qwen2", "llama3": "gpt4", "smollm2": "starcoder"}[kind]
    base = _trained(pattern, n)
    names = NAMES[kind] + TEXTS.get(kind, [])
    first = 0 if kind == "smollm2" else base.vocab_size
    added = [_added(name, first + i, name in NAMES[kind], kind == "gpt2") for i, name in enumerate(names)]
    shift = len(names) if kind == "smollm2" else 0  # SmolLM has its special tokens in front, and in the vocabulary
    vocab = {name: i for i, name in enumerate(names)} if shift else {}
    vocab |= {to_visible(token): i + shift for i, token in base.vocab.items()}
    if kind == "gpt2":
        vocab[names[0]] = first
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "" if kind in ("gpt2", "qwen3") else None,
        "end_of_word_suffix": "" if kind in ("gpt2", "qwen3") else None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": kind == "llama3",
        "vocab": vocab,
        "merges": [[to_visible(a), to_visible(b)] for a, b in base.merges],
    }
    values = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "model": model}
    values |= _around(kind)
    if kind == "llama3":
        _as_converted(base, values)
    return values


def _added(name: str, i: int, special: bool, normalized: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized}
    return {"id": i, "content": name, **flags, "special": special}


def _byte_level(prefix: bool, trim: bool, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def _split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _around(kind: str) -> dict[str, Any]:
    """Normalizer, pre_tokenizer, post_processor and decoder."""
    if kind == "gpt2":
        plain = _byte_level(False, True, True)
        return {"normalizer": None, "pre_tokenizer": plain, "post_processor": plain, "decoder": plain}
    if kind == "qwen3":
        plain = _byte_level(False, False, False)
        parts = {"type": "Sequence", "pretokenizers": [_split(CL100K % r"\p{N}"), plain]}
        return {"normalizer": {"type": "NFC"}, "pre_tokenizer": parts, "post_processor": plain, "decoder": plain}
    plain = _byte_level(True, True, True)
    if kind == "smollm2":
        parts = [{"type": "Digits", "individual_digits": True}, _byte_level(False, True, True)]
        parts = {"type": "Sequence", "pretokenizers": parts}
        return {"normalizer": None, "pre_tokenizer": parts, "post_processor": None, "decoder": plain}
    parts = {"type": "Sequence", "pretokenizers": [_split(CL100K % r"\p{N}{1,3}"), _byte_level(False, True, False)]}
    return {"normalizer": None, "pre_tokenizer": parts, "post_processor": None, "decoder": plain}


def _as_converted(base: Tokenizer, values: dict[str, Any]) -> None:
    """Llama 3's file was made of a rank file: every way to make a token is a merge, and a template begins a text.

    Two tokens more that no merge makes are looked up as whole words.
    """
    tokens = [*base.token_bytes, b" lookedup", b"wholeandmorethanfifteenletters"]
    ranks = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[bytes, bytes]] = []
    for token in tokens:
        halves = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [pair for pair in halves if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    values["model"]["vocab"] = {to_visible(token): i for token, i in ranks.items()}
    values["model"]["merges"] = [[to_visible(a), to_visible(b)] for a, b in merges]
    for item in values["added_tokens"]:
        item["id"] += 2
    begin = NAMES["llama3"][0]
    mine, a = {"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    mine_too, b = {"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}
    template = {
        "type": "TemplateProcessing",
        "single": [mine, a],
        "pair": [mine, a, mine_too, b],
        "special_tokens": {begin: {"id": begin, "ids": [values["added_tokens"][0]["id"]], "tokens": [begin]}},
    }
    values["post_processor"] = {"type": "Sequence", "processors": [_byte_level(True, False, True), template]}
