"""The pieces of weightless.scratch behind the function names that the course's public tests call, one line or two each.

Also what such a suite needs from the rest of the library: a tokenizer and its training.
"""

from __future__ import annotations

from typing import Any

import torch

from weightless import scratch
from weightless.tokenizer import Tokenizer, train_bpe


def _loaded(module: torch.nn.Module, **weights: torch.Tensor) -> Any:
    """With those weights, in their dtype; every weight has to be named (`__` stands for a dot)."""
    named = {name.replace("__", "."): value for name, value in weights.items()}
    module.load_state_dict({f"{name}.weight" if name else "weight": value for name, value in named.items()})
    return module


def run_linear(d_in, d_out, weights, in_features):
    return _loaded(scratch.Linear(d_in, d_out), **{"": weights})(in_features)


def run_embedding(vocab_size, d_model, weights, token_ids):
    return _loaded(scratch.Embedding(vocab_size, d_model), **{"": weights})(token_ids)


def run_swiglu(d_model, d_ff, w1_weight, w2_weight, w3_weight, in_features):
    return _loaded(scratch.SwiGLU(d_model, d_ff), w1=w1_weight, w2=w2_weight, w3=w3_weight)(in_features)


def run_silu(in_features):
    return scratch.silu(in_features)


def run_rmsnorm(d_model, eps, weights, in_features):
    return _loaded(scratch.RMSNorm(d_model, eps), **{"": weights})(in_features)


def run_scaled_dot_product_attention(Q, K, V, mask=None):
    return scratch.scaled_dot_product_attention(Q, K, V, mask)


def run_multihead_self_attention(d_model, num_heads, q, k, v, o, in_features):
    module = scratch.MultiHeadSelfAttention(d_model, num_heads)
    return _loaded(module, q_proj=q, k_proj=k, v_proj=v, output_proj=o)(in_features)


def run_multihead_self_attention_with_rope(
    d_model, num_heads, max_seq_len, theta, q, k, v, o, in_features, token_positions=None
):
    module = scratch.MultiHeadSelfAttention(d_model, num_heads, max_seq_len, theta)
    return _loaded(module, q_proj=q, k_proj=k, v_proj=v, output_proj=o)(in_features, token_positions)


def run_rope(d_k, theta, max_seq_len, in_query_or_key, token_positions):
    return scratch.RotaryEmbedding(theta, d_k, max_seq_len)(in_query_or_key, token_positions)


def run_transformer_block(d_model, num_heads, d_ff, max_seq_len, theta, weights, in_features):
    block = scratch.TransformerBlock(d_model, num_heads, d_ff, max_seq_len, theta)
    block.load_state_dict(weights)
    return block(in_features)


def run_transformer_lm(
    vocab_size, context_length, d_model, num_layers, num_heads, d_ff, rope_theta, weights, in_indices
):
    model = scratch.TransformerLM(vocab_size, context_length, d_model, num_layers, num_heads, d_ff, rope_theta)
    model.load_state_dict(weights)
    return model(in_indices)


def run_get_batch(dataset, batch_size, context_length, device):
    return scratch.get_batch(dataset, batch_size, context_length, device)


def run_softmax(in_features, dim):
    return scratch.softmax(in_features, dim)


def run_cross_entropy(inputs, targets):
    return scratch.cross_entropy(inputs, targets)


def run_gradient_clipping(parameters, max_l2_norm):
    scratch.clip_gradients(parameters, max_l2_norm)


def get_adamw_cls():
    return scratch.AdamW


def run_get_lr_cosine_schedule(it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters):
    return scratch.get_lr_cosine_schedule(it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters)


def run_save_checkpoint(model, optimizer, iteration, out):
    scratch.save_checkpoint(model, optimizer, iteration, out)


def run_load_checkpoint(src, model, optimizer):
    return scratch.load_checkpoint(src, model, optimizer)


def get_tokenizer(vocab, merges, special_tokens=None):
    return Tokenizer(vocab, merges, special_tokens)


def run_train_bpe(input_path, vocab_size, special_tokens, **kwargs):
    return train_bpe(input_path, vocab_size, special_tokens, **kwargs)
