"""The same weights for both: the state dict of scratch.TransformerLM and the tensors of the library's dense family."""

from __future__ import annotations

from collections.abc import Mapping

import torch

PLACES = {
    "qkv": ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    "out": ("attn.output_proj",),
    "up": ("ffn.w1", "ffn.w3"),
    "down": ("ffn.w2",),
    "attn_norm": ("ln1",),
    "ffn_norm": ("ln2",),
    "attn_post_norm": ("ln1",),
    "ffn_post_norm": ("ln2",),
}
"""{tensor of a block: what lies in it, one under the other}"""
ENDS = {"embed": "token_embeddings", "head": "lm_head", "final_norm": "ln_final"}


def as_dense(state: Mapping[str, torch.Tensor], names: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of those names and shapes."""
    found = {}
    for name, shape in names.items():
        sources = [f"{s}.weight" for s in _sources(name)]
        found[name] = torch.cat([state[s] for s in sources if s in state]).reshape(shape).clone()
    return found


def as_scratch(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The other way: cut in the pieces of those names and shapes."""
    found = {}
    for name, tensor in tensors.items():
        first, sources = 0, [f"{s}.weight" for s in _sources(name) if f"{s}.weight" in shapes]
        flat = tensor.reshape(-1)
        for source in sources:
            n = torch.Size(shapes[source]).numel()
            found[source] = flat[first : first + n].reshape(shapes[source]).clone()
            first += n
        assert first == flat.numel(), name
    return found


def _sources(name: str) -> list[str]:
    if name in ENDS:
        return [ENDS[name]]
    _, block, role = name.split(".")
    return [f"layers.{block}.{place}" for place in PLACES[role]]
