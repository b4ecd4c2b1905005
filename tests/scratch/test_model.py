"""The whole model: names, counts, and the library's dense family with the same weights.

Oracles: weightless.models.dense (log-probabilities within 1e-5: another order of sums), weightless.ledger and
PyTorch's FlopCounterMode, exactly; counts worked out by hand in docs/accounting.md.
"""

from __future__ import annotations

import pytest
import torch
from scratch.as_dense import as_dense, as_scratch
from scratch.inputs import HALVES
from torch.utils.flop_counter import FlopCounterMode

from weightless.ledger.flops import forward_flops
from weightless.ledger.presets import preset
from weightless.models.catalog import trained
from weightless.scratch import TransformerBlock, TransformerLM, cross_entropy
from weightless.scratch.transformer import Norm

V, CONTEXT, D, LAYERS, HEADS, F = 23, 9, 12, 2, 3, 17
NAMES = "attn.q_proj attn.k_proj attn.v_proj attn.output_proj ln1 ln2 ffn.w1 ffn.w2 ffn.w3"


def model_of(**changed) -> TransformerLM:
    torch.manual_seed(5)
    model = TransformerLM(V, CONTEXT, D, LAYERS, HEADS, **({"d_ff": F, "rope_theta": 100.0} | changed))
    for name, p in model.named_parameters():
        if "ln" in name:
            p.data.uniform_(0.5, 2.0)
    return model


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_names_of_the_course():
    expected = {"token_embeddings.weight", "ln_final.weight", "lm_head.weight"}
    expected |= {f"layers.{n}.{name}.weight" for n in range(LAYERS) for name in NAMES.split()}
    assert set(model_of().state_dict()) == expected
    assert set(TransformerBlock(8, 2, 5).state_dict()) == {f"{name}.weight" for name in NAMES.split()}


VARIANTS = {
    "interleaved": ({}, {"positions": "rope_interleaved"}),
    "half": ({"pairing": "half"}, {}),
    "no positions": ({"rope_theta": None}, {"positions": "none", "rope_theta": 10_000.0}),
    "post-norm": ({"norm": "post"}, {"positions": "rope_interleaved", "norm": "post"}),
    "no norm": ({"norm": "none"}, {"positions": "rope_interleaved", "norm": "none"}),
    "no gate": ({"ffn": "silu"}, {"positions": "rope_interleaved", "activation": "silu"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_dense_family(variant):
    """With the weights of the one in the other, there and back; also of every ablation."""
    ours, theirs = VARIANTS[variant]
    model, dense = model_of(**ours), trained("dense")
    shape = {"vocab_size": V, "d_model": D, "n_layers": LAYERS, "n_heads": HEADS, "d_ff": F, "context": CONTEXT}
    shape |= {"kv_format": "f32"}  # the default rounds keys and values to bf16, as it will store them
    config = dense.Config(**(shape | {"tied": False, "rope_theta": 100.0} | theirs))
    library = dense.Model(config)
    state = model.state_dict()
    tensors = as_dense(state, {spec.name: spec.shape for spec in library.tensors()})
    tokens = ids(2, CONTEXT)
    torch.testing.assert_close(model(tokens).log_softmax(-1), library.log_probs(tensors, tokens), rtol=0, atol=1e-5)
    back = as_scratch(tensors, {name: p.shape for name, p in state.items()})
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    model.load_state_dict(back)


def test_truncated_and_odd_inputs():
    """Position t depends on 0 ... t only, so a shorter window gives the same logits (to rounding)."""
    model, tokens = model_of().double(), ids(2, CONTEXT)
    whole = model(tokens)
    torch.testing.assert_close(model(tokens[:, :5]), whole[:, :5])
    torch.testing.assert_close(model(tokens[0]), whole[0])
    torch.testing.assert_close(model(tokens.unsqueeze(1))[:, 0], whole)
    torch.testing.assert_close(model(ids(CONTEXT, 2).T.to(torch.int32)), model(ids(CONTEXT, 2).T.contiguous()))
    torch.testing.assert_close(model(tokens, torch.arange(CONTEXT).expand(2, -1)), whole)
    assert model(tokens[:0]).shape == (0, CONTEXT, V) and model(tokens[:, :1]).shape == (2, 1, V)
    with pytest.raises(ValueError, match="context has 9"):
        model(ids(1, CONTEXT + 1))


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
def test_dtypes(dtype):
    """Made in a dtype and moved to it are the same; half precision is near the truth: 2 layers of sums of size one."""
    made, moved = model_of(dtype=dtype), model_of()
    assert {p.dtype for p in made.parameters()} == {dtype}
    made.load_state_dict(moved.state_dict())
    moved, tokens = moved.to(dtype), ids(2, 5)
    logits = made(tokens)
    assert logits.dtype == dtype and torch.equal(moved(tokens), logits)
    torch.testing.assert_close(logits.double(), made.double()(tokens), rtol=0, atol=3 * HALVES.get(dtype, 1e-14))


def test_every_parameter_learns():
    model = model_of()
    model(ids(2, CONTEXT)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["tinystories-10k", "tinystories-32k", "gpt2-small", "gpt2-medium", "gpt2-xl"])
def test_counts(name):
    """Parameters, and the FLOPs of one sequence, of models without numbers in them (device meta)."""
    shape = preset(name).shape
    sizes = (shape.vocab_size, shape.context, shape.d_model, shape.n_layers, shape.n_heads, shape.d_ff)
    model = TransformerLM(*sizes, device="meta")
    assert sum(p.numel() for p in model.parameters()) == sum(w.parameters for w in shape.weights())
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, shape.context, dtype=torch.long, device="meta"))
    assert counted.get_total_flops() == sum(forward_flops(shape).values())


def test_numbers_of_the_exercise():
    tiny = TransformerLM(10_000, 256, 512, 4, 16, device="meta")
    n = sum(p.numel() for p in tiny.parameters())
    assert (n, n - 10_000 * 512, n - 2 * 10_000 * 512) == (22_696_448, 17_576_448, 12_456_448)
    xl = TransformerLM(50_257, 1024, 1600, 48, 25, 6400, device="meta")
    assert sum(p.numel() for p in xl.parameters()) == 2_127_057_600


def test_refused():
    with pytest.raises(ValueError, match="pre, post or none"):
        TransformerBlock(8, 2, norm="sandwich")
    with pytest.raises(ValueError, match="swiglu, silu"):
        TransformerLM(5, 4, 8, 1, 2, ffn="gelu")
    assert Norm.__args__ == ("pre", "post", "none")


@pytest.mark.slow
def test_one_graph_for_torch_compile():
    """Nothing in it makes torch.compile give up (fullgraph); the graph is run as it was traced."""
    model, tokens = model_of(), ids(2, CONTEXT + 1)

    def loss(window):
        return cross_entropy(model(window[:, :-1]), window[:, 1:])

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens), loss(tokens), rtol=0, atol=0)
