"""What a suite of the course asks, through adapters.py: the names, arguments and shapes that it uses.

Oracle: torch.nn.functional and torch.nn modules with the same weights.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scratch import adapters
from torch import nn
from torch.nn import functional as F

D, HEADS, FF, T, B, VOCAB, LAYERS, THETA = 64, 4, 128, 12, 4, 1000, 3, 10_000.0


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """A whole model's, by the course's names."""
    g = torch.Generator().manual_seed(4)
    found = {"token_embeddings.weight": (VOCAB, D), "ln_final.weight": (D,), "lm_head.weight": (VOCAB, D)}
    for n in range(LAYERS):
        found |= {f"layers.{n}.attn.{p}_proj.weight": (D, D) for p in ("q", "k", "v", "output")}
        found |= {f"layers.{n}.ffn.w1.weight": (FF, D), f"layers.{n}.ffn.w3.weight": (FF, D)}
        found |= {f"layers.{n}.ffn.w2.weight": (D, FF), f"layers.{n}.ln1.weight": (D,), f"layers.{n}.ln2.weight": (D,)}
    return {name: torch.randn(shape, generator=g) / shape[-1] ** 0.5 for name, shape in found.items()}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(4))


def block(weights: dict[str, torch.Tensor], n: int = 0) -> dict[str, torch.Tensor]:
    front = f"layers.{n}."
    return {name.removeprefix(front): w for name, w in weights.items() if name.startswith(front)}


def test_layers(weights, x):
    w = block(weights)
    w1, w2, w3 = (w[f"ffn.w{i}.weight"] for i in (1, 2, 3))
    torch.testing.assert_close(adapters.run_linear(D, FF, w1, x), F.linear(x, w1))
    ids = torch.randint(VOCAB, (B, T))
    table = weights["token_embeddings.weight"]
    torch.testing.assert_close(adapters.run_embedding(VOCAB, D, table, ids), F.embedding(ids, table))
    expected = (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
    torch.testing.assert_close(adapters.run_swiglu(D, FF, w1, w2, w3, x), expected)
    ln = w["ln1.weight"]
    torch.testing.assert_close(adapters.run_rmsnorm(D, 1e-5, ln, x), F.rms_norm(x, (D,), ln, 1e-5))
    torch.testing.assert_close(adapters.run_silu(x), F.silu(x))


def test_attention_of_three_and_four_dimensions():
    g = torch.Generator().manual_seed(1)
    Q, K, V = (torch.randn(B, n, D, generator=g) for n in (12, 16, 16))
    mask = torch.randn(B, 12, 16, generator=g) > -1
    expected = F.scaled_dot_product_attention(Q, K, V, mask)
    torch.testing.assert_close(adapters.run_scaled_dot_product_attention(Q, K, V, mask), expected)
    Q, K, V, mask, expected = (t.unflatten(0, (2, 2)) for t in (Q, K, V, mask, expected))
    torch.testing.assert_close(adapters.run_scaled_dot_product_attention(Q, K, V, mask), expected)


def test_heads_blocks_and_model(weights, x):
    """The block is put together from the pieces, the model from blocks."""
    w = block(weights)
    qkvo = [w[f"attn.{p}_proj.weight"] for p in ("q", "k", "v", "output")]
    plain = adapters.run_multihead_self_attention(D, HEADS, *qkvo, x)
    positions = torch.arange(T).unsqueeze(0)
    turned = adapters.run_multihead_self_attention_with_rope(D, HEADS, T, THETA, *qkvo, x, positions)
    q, k, v = ((x @ p.T).view(B, T, HEADS, -1).transpose(1, 2) for p in qkvo[:3])
    together = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D) @ qkvo[3].T
    torch.testing.assert_close(plain, together)
    q, k = (adapters.run_rope(D // HEADS, THETA, T, part, positions) for part in (q, k))
    together = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D) @ qkvo[3].T
    torch.testing.assert_close(turned, together)
    ids = torch.randint(VOCAB, (B, T))
    stream = weights["token_embeddings.weight"][ids]
    for n in range(LAYERS):
        stream = adapters.run_transformer_block(D, HEADS, FF, T, THETA, block(weights, n), stream)
    expected = F.rms_norm(stream, (D,), weights["ln_final.weight"], 1e-5) @ weights["lm_head.weight"].T
    sizes = (VOCAB, T, D, LAYERS, HEADS, FF, THETA)
    torch.testing.assert_close(adapters.run_transformer_lm(*sizes, weights, ids), expected)
    half = adapters.run_transformer_lm(*sizes, weights, ids[:, : T // 2])
    torch.testing.assert_close(half, expected[:, : T // 2], rtol=1e-4, atol=1e-4)


def test_training_pieces():
    x, y = adapters.run_get_batch(np.arange(100), 32, 7, "cpu")
    assert x.shape == (32, 7) and torch.equal(x + 1, y)
    z, targets = torch.randn(8, 5), torch.randint(5, (8,))
    for scale in (1, 1000):
        expected = F.cross_entropy(scale * z, targets)
        torch.testing.assert_close(adapters.run_cross_entropy(scale * z, targets), expected)
    torch.testing.assert_close(adapters.run_softmax(z + 100, -1), F.softmax(z, -1), rtol=0, atol=1e-5)
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    adapters.run_gradient_clipping([p, nn.Parameter(torch.ones(2), requires_grad=False)], 0.5)
    assert p.grad.norm().item() == pytest.approx(0.5, rel=1e-5)
    assert adapters.run_get_lr_cosine_schedule(14, 1.0, 0.1, 7, 21) == pytest.approx(0.55)


def test_checkpoint_of_any_module():
    model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = adapters.get_adamw_cls()(model.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    out = io.BytesIO()
    adapters.run_save_checkpoint(model, optimizer, 10, out)
    out.seek(0)
    other = adapters.get_adamw_cls()(twin.parameters())
    assert adapters.run_load_checkpoint(out, twin, other) == 10
    assert torch.equal(model.weight, twin.weight)
    assert str(optimizer.state_dict()) == str(other.state_dict())


def test_tokenizer(tmp_path):
    text = "low low low low low lower lower widest widest widest newest newest newest newest newest newest"
    (tmp_path / "text.txt").write_text(text)
    vocab, merges = adapters.run_train_bpe(tmp_path / "text.txt", 256 + 1 + 6, ["<|endoftext|>"])
    assert len(vocab) == 263 and merges[:2] == [(b"s", b"t"), (b"e", b"st")]
    tokenizer = adapters.get_tokenizer(vocab, merges, ["<|endoftext|>"])
    ids = tokenizer.encode("newest<|endoftext|>lowest")
    assert tokenizer.decode(ids) == "newest<|endoftext|>lowest" and ids.count(tokenizer.end_of_text) == 1
