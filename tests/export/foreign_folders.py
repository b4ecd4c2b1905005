"""Folders as transformers keeps them, made without it: config.json, tensors by a family's table, a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.safetensors import Outgoing, write_safetensors
from weightless.models import gpt2, llama, qwen3
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.huggingface import save_hf

V = 301
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": V,
    "hidden_size": 52,
    "intermediate_size": 45,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 18,
    "hidden_act": "silu",
    "max_position_embeddings": 63,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500.0,
    "rope_scaling": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
QWEN3 = {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": False}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": V,
    "n_embd": 42,
    "n_layer": 2,
    "n_head": 3,
    "n_positions": 63,
    "n_ctx": 63,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "torch_dtype": "float32",
}
CONFIGS = {"gpt2": GPT2, "llama": LLAMA, "qwen3": QWEN3}
ROOMS: dict[str, Any] = {"gpt2": gpt2, "llama": llama, "qwen3": qwen3}


def tensors_of(given: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors under their names, float32 numbers that bfloat16 holds."""
    room, rng, found = ROOMS[given["model_type"]], np.random.default_rng(seed), {}
    config, _ = room.FOREIGN.config_of(room.Config, given, "config.json")
    parameters = room.stack(config).parameters()
    for row, p in zip(room.FOREIGN.stacked(config, parameters), parameters, strict=True):
        for name, n in zip(row.theirs, row.rows, strict=True):
            shape = (n,) if p.shape[0] == 1 else (p.shape[1], n) if row.transposed else (n, p.shape[1])
            values = rng.standard_normal(shape).astype(np.float32) * 0.3 + ("norm" in name or "ln_" in name)
            found[name] = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return found


def stored(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (array.view(np.uint32) >> 16).astype("<u2")
    return array.astype({"F32": "<f4", "F16": "<f2"}[dtype])


def save_tensors(path: Path, tensors: dict[str, np.ndarray], dtype: str = "F32") -> None:
    with open(path, "wb") as file:
        write_safetensors(file, [Outgoing(n, dtype, a.shape, [stored(a, dtype)]) for n, a in tensors.items()])


def small_tokenizer(n_merges: int = V - 257) -> Tokenizer:
    """Bytes, merges of letters, and <|endoftext|> behind them."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    pairs = [(letters[i : i + 1], letters[j : j + 1]) for i in range(26) for j in range(26)][:n_merges]
    vocab = [bytes([b]) for b in range(256)] + [a + b for a, b in pairs]
    return Tokenizer(dict(enumerate(vocab)), pairs, ["<|endoftext|>"])


def make_folder(folder: Path, given: dict[str, Any], dtype: str = "BF16", tokenizer: bool = True) -> Path:
    """A whole folder with one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(given))
    save_tensors(folder / "model.safetensors", tensors_of(given), dtype)
    if tokenizer:
        save_hf(small_tokenizer(), folder / "tokenizer.json")
    return folder


def make_shards(folder: Path, tensors: dict[str, np.ndarray], n: int, dtype: str = "BF16") -> None:
    """The same tensors in n files and an index."""
    names = list(tensors)
    table = {name: f"model-{i % n + 1:05}-of-{n:05}.safetensors" for i, name in enumerate(names)}
    for file in set(table.values()):
        save_tensors(folder / file, {name: tensors[name] for name in names if table[name] == file}, dtype)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
