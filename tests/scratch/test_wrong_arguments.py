"""Wrong arguments are a ValueError that says which, and edges are what torch makes of them.  Oracle: torch."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.scratch import (
    SGD,
    AdamW,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryEmbedding,
    TransformerLM,
    cross_entropy,
    decode,
    get_batch,
    get_lr_cosine_schedule,
    load_checkpoint,
    save_checkpoint,
    scaled_dot_product_attention,
    softmax,
)
from weightless.scratch.decode import nucleus

ROW = torch.randn(3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: softmax(torch.tensor([1, 2, 3])), "int64"),
        (lambda: cross_entropy(torch.tensor([[1, 2]]), torch.tensor([0])), "int64"),
        (lambda: cross_entropy(ROW[None], torch.tensor([1.7])), "float32"),
        (lambda: RotaryEmbedding(1e4, 8, 10)(torch.zeros(3, 2)), "2 elements per head"),
        (lambda: RMSNorm(4)(torch.zeros(2, 1)), "1 channels"),
        (lambda: get_lr_cosine_schedule(-1, 1, 0.1, 5, 10), "it = -1"),
        (lambda: AdamW([ROW], eps=float("nan")), "eps = nan"),
        (lambda: AdamW([ROW], weight_decay=float("nan")), "weight_decay = nan"),
        (lambda: AdamW([ROW], lr=float("nan")), "lr = nan"),
        (lambda: MultiHeadSelfAttention(8, 0), "0 heads"),
        (lambda: MultiHeadSelfAttention(8, -2), "-2 heads"),
        (lambda: get_batch(np.arange(9), -1, 2), "batch_size = -1"),
    ],
)
def test_a_wrong_argument_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_beyond_half_precision_are_as_torch_has_them(dtype):
    q, k = torch.full((1, 1, 8), 300.0, dtype=dtype), torch.full((1, 2, 8), -300.0, dtype=dtype)
    v = torch.tensor([[[1.0] * 8, [2.0] * 8]], dtype=dtype)
    for mask in (torch.tensor([[True, False]]), None):
        for sign in (1, -1):
            ours = scaled_dot_product_attention(sign * q, k, v, mask)
            theirs = F.scaled_dot_product_attention((sign * q).float(), k.float(), v.float(), mask).to(dtype)
            assert ours.dtype == dtype and torch.equal(ours, theirs)


def test_no_tokens_and_no_keys():
    empty = TransformerLM(11, 4, 8, 1, 2, 16, 1e4)(torch.zeros(1, 0, dtype=torch.long))
    assert empty.shape == (1, 0, 11)
    q, none = torch.randn(1, 3, 4), torch.zeros(1, 0, 4)
    assert torch.equal(scaled_dot_product_attention(q, none, none), torch.zeros(1, 3, 4))
    assert softmax(torch.zeros(2, 0)).shape == (2, 0)


def test_the_likeliest_token_is_always_kept():
    assert torch.equal(nucleus(torch.tensor([0.2, 0.5, 0.3]), 0.0), torch.tensor([0.0, 1.0, 0.0]))
    model = TransformerLM(11, 4, 8, 1, 2, 16, 1e4)
    for tiny in (1e-46, 5e-324):
        assert decode(model, [1, 2], 5, temperature=tiny) == decode(model, [1, 2], 5, temperature=0)


def test_a_checkpoint_of_another_optimizer_changes_nothing():
    model = torch.nn.Linear(2, 2)
    for saving, loading in ((SGD, AdamW), (AdamW, SGD), (SGD, torch.optim.AdamW)):
        file = io.BytesIO()
        save_checkpoint(model, saving(model.parameters()), 1, file)
        file.seek(0)
        own = loading(model.parameters())
        before = own.state_dict()
        with pytest.raises(ValueError, match="another optimizer"):
            load_checkpoint(file, model, own)
        assert own.state_dict() == before
    for saving, loading in ((AdamW, torch.optim.AdamW), (torch.optim.AdamW, AdamW)):
        file = io.BytesIO()
        save_checkpoint(model, saving(model.parameters()), 1, file)
        file.seek(0)
        assert load_checkpoint(file, model, loading(model.parameters())) == 1


@pytest.mark.parametrize("number", [np.int64(6), torch.tensor(6), 6])
def test_whole_numbers_of_any_kind_are_read_again(number, tmp_path):
    model = torch.nn.Linear(2, 2)
    save_checkpoint(model, AdamW(model.parameters()), number, tmp_path / "c.pt")
    assert load_checkpoint(tmp_path / "c.pt", model, AdamW(model.parameters())) == 6


@pytest.mark.parametrize("number", ["6", 6.5, None, float("nan")])
def test_an_iteration_that_is_none_leaves_the_last_checkpoint(number, tmp_path):
    model = torch.nn.Linear(2, 2)
    save_checkpoint(model, AdamW(model.parameters()), 5, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="whole number"):
        save_checkpoint(model, AdamW(model.parameters()), number, tmp_path / "c.pt")
    assert load_checkpoint(tmp_path / "c.pt", model, AdamW(model.parameters())) == 5
