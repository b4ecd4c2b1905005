"""/tokenize, /detokenize and /tokenizer_info as vLLM has them: a harness needs no tokenizer of its own.  Floor 10.

lm-eval's local-completions asks for these three first, and uses them when they are there.
"""

from __future__ import annotations

from typing import Any

from weightless.serve.parameters import read_text
from weightless.serve.refusals import Refusal, refuse_unknown, shown
from weightless.serve.served import Served


def tokenized(model: Served, values: dict[str, Any]) -> dict[str, Any]:
    """{"tokens", "count", "max_model_len"} of {"prompt"}; the mark that begins a document only if it is asked for."""
    refuse_unknown(values, {"model", "prompt", "add_special_tokens"})
    text, marked = read_text("prompt", values.get("prompt")), values.get("add_special_tokens", False)
    if not isinstance(marked, bool):
        raise Refusal(400, f"add_special_tokens should be true or false, not {shown(marked)}", "add_special_tokens")
    tokenizer = model.packed.tokenizer
    mark = tokenizer.end_of_text
    tokens = [*([mark] if marked and mark is not None else []), *map(int, tokenizer.encode(text))]
    return {"tokens": tokens, "count": len(tokens), "max_model_len": longest(model)}


def detokenized(model: Served, values: dict[str, Any]) -> dict[str, Any]:
    """{"prompt"} of {"tokens"}."""
    refuse_unknown(values, {"model", "tokens"})
    tokens, vocab = values.get("tokens"), model.packed.program.vocab_size
    if not isinstance(tokens, list) or not all(type(token) is int and 0 <= token < vocab for token in tokens):
        raise Refusal(400, f"tokens should be a list of ids from 0 to {vocab - 1}", param="tokens")
    return {"prompt": model.packed.tokenizer.decode(tokens)}


def tokenizer_info(model: Served) -> dict[str, Any]:
    """What the tokenizer is called by those who ask for names; there is one mark, which begins and ends a text."""
    tokenizer = model.packed.tokenizer
    mark = tokenizer.end_of_text
    name = None if mark is None else tokenizer.decode([mark])
    known = {"tokenizer_class": "weightless", "vocab_size": tokenizer.vocab_size, "model_max_length": longest(model)}
    return {**known, "eos_token": name, "bos_token": name, "pad_token": name, "sha256": tokenizer.sha256}


def longest(model: Served) -> int:
    """Tokens of a prompt at most: the context, less the mark that is put before it."""
    return model.context - (model.packed.tokenizer.end_of_text is not None)
