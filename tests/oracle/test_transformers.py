"""Models of `transformers`, random ones of odd shapes: our engine gives their log-probabilities, and they load ours.

Oracle: transformers in float32.  Tolerance 1e-4 of log-probabilities: sums of some hundred float32 products, in another
order, behind softmaxes; measured are 3e-6.  Models in half precision are compared after widening: their weights, not
their arithmetic, are what is kept.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from weightless.export.from_folder import import_folder
from weightless.export.packed import open_packed
from weightless.export.to_folder import export_folder
from weightless.models import dense
from weightless.train.initialise import initial_parameters

transformers = pytest.importorskip("transformers", reason="the extra interop is not installed")

CLOSE = {"rtol": 0, "atol": 1e-4}
GATED = {"vocab_size": 131, "hidden_size": 52, "intermediate_size": 71, "num_hidden_layers": 2}
CASES = {
    "llama_untied_gqa_wide_heads": (
        "Llama",
        {**GATED, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 18},
    ),
    "llama_tied_mha": ("Llama", {**GATED, "num_attention_heads": 2, "tie_word_embeddings": True, "rms_norm_eps": 1e-3}),
    "llama_biases_mqa": (
        "Llama",
        {
            **GATED,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 10,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
        },
    ),
    "llama_stretched": (
        "Llama",
        {
            **GATED,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 18,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 40,
            },
        },
    ),
    "qwen3_tied_gqa_wide_heads": (
        "Qwen3",
        {**GATED, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 22, "tie_word_embeddings": True},
    ),
    "qwen3_untied_biases_eps": (
        "Qwen3",
        {
            **GATED,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 14,
            "attention_bias": True,
            "rms_norm_eps": 1e-2,
        },
    ),
    "gpt2_tied": ("GPT2", {"vocab_size": 131, "n_embd": 42, "n_layer": 2, "n_head": 3, "n_positions": 63}),
    "gpt2_untied_narrow": (
        "GPT2",
        {
            "vocab_size": 131,
            "n_embd": 52,
            "n_layer": 1,
            "n_head": 2,
            "n_inner": 37,
            "n_positions": 63,
            "layer_norm_epsilon": 1e-3,
            "tie_word_embeddings": False,
        },
    ),
}


@pytest.fixture(autouse=True)
def quiet():
    """Its progress bars, and what its dependencies warn of."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def theirs(kind: str, fields: dict, seed: int, dtype: torch.dtype = torch.float32):
    """A random model whose norms and biases are no ones and zeros."""
    torch.manual_seed(seed)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = getattr(transformers, f"{kind}Config")(**fields, **ends)
    model = getattr(transformers, f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def log_probs_of(model, ids) -> np.ndarray:
    with torch.no_grad():
        return model.float()(torch.tensor(ids)[None]).logits[0].log_softmax(-1).numpy()


def ours(path, ids) -> np.ndarray:
    """log p at every position, by the compiled engine."""
    engine, found = open_packed(path).engine(poison=True), []
    for i in ids:
        engine.feed(int(i))
        found.append(np.log(engine.distribution()))
    return np.array(found)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_their_numbers_and_their_weights_back(case, seed, tmp_path):
    model = theirs(*case, seed)
    model.save_pretrained(tmp_path / "theirs")
    import_folder(tmp_path / "theirs", tmp_path / "model.wl", context=63, tokenizer="none")
    ids = np.random.default_rng(seed).integers(0, 131, 63)
    np.testing.assert_allclose(ours(tmp_path / "model.wl", ids), log_probs_of(model, ids), **CLOSE)
    export_folder(open_packed(tmp_path / "model.wl"), tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours").state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize(("dtype", "fmt"), [(torch.bfloat16, "bf16"), (torch.float16, "f16")], ids=["bf16", "f16"])
@pytest.mark.parametrize("name", ["llama_untied_gqa_wide_heads", "qwen3_tied_gqa_wide_heads", "gpt2_tied"])
def test_half_precision_in_shards(name, dtype, fmt, tmp_path):
    """The cache is kept in float32: a rounded one is another model.  They come back in the precision they had."""
    model = theirs(*CASES[name], 3, dtype)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    made = import_folder(tmp_path / "theirs", tmp_path / "model.wl", kv_format="f32", context=63, tokenizer="none")
    assert made.config.weight_format == fmt
    export_folder(open_packed(tmp_path / "model.wl"), tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours", dtype="auto")
    assert again.dtype == dtype
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    ids = np.random.default_rng(5).integers(0, 131, 63)
    wide = type(model).from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()  # with angles in float32
    np.testing.assert_allclose(ours(tmp_path / "model.wl", ids), log_probs_of(wide, ids), **CLOSE)


@pytest.mark.parametrize("fields", [{}, {"qk_norm": "weighted", "eps": 1e-6, "tied": False}], ids=["llama", "qwen3"])
def test_a_dense_model_of_ours_is_one_of_theirs(fields, tmp_path):
    from weightless.export.lower import pack

    config = dense.Config(131, 52, 2, 2, 1, 45, 63, **fields, weight_format="f32", kv_format="f32")
    drawn = initial_parameters(dense.FAMILY.Model(config).tensors(), seed=4)
    arrays = {name: value.detach().numpy() + np.float32(0.1) for name, value in drawn.items()}
    pack(tmp_path / "model.wl", "dense", config, arrays)
    architecture = export_folder(open_packed(tmp_path / "model.wl"), tmp_path / "ours")
    model = getattr(transformers, architecture).from_pretrained(tmp_path / "ours").eval()
    ids = np.random.default_rng(5).integers(0, 131, 63)
    np.testing.assert_allclose(ours(tmp_path / "model.wl", ids), log_probs_of(model, ids), **CLOSE)
