"""From a model to text: the next token is drawn, appended, and the question asked again.

    p = softmax(logits / temperature)            below 1 sharpens, above 1 flattens, 0 takes the likeliest
    top-p: of p, sorted, only the fewest tokens are kept that together have p or more (Holtzman et al. 2020)

The whole window is computed anew for every token, T times the work of a decoder with a cache (weightless.decode).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from weightless.scratch.attention import softmax
from weightless.scratch.transformer import TransformerLM


@torch.no_grad()
def decode(
    model: TransformerLM,
    prompt: Sequence[int] | torch.Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    end_id: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int]:
    """The ids that follow `prompt`, at most max_new_tokens; `end_id` (end of text) ends them and is not among them.

    The model sees the last context_length tokens.  generator: a torch.Generator on the model's device.
    ValueError for an empty prompt, a negative temperature, a top_p outside (0, 1].
    """
    ids = [int(i) for i in prompt]
    if not ids:
        raise ValueError("the prompt is empty, and a next token follows something: give the id of end-of-text")
    if not temperature >= 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature = {temperature} should be 0 or more, top_p = {top_p} in (0, 1]")
    device = model.lm_head.weight.device
    n_given = len(ids)
    for _ in range(max_new_tokens):
        window = torch.tensor(ids[-model.context_length :], device=device)
        chosen = _draw(model(window)[-1], temperature, top_p, generator)
        if chosen == end_id:
            break
        ids.append(chosen)
    return ids[n_given:]


def _draw(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> int:
    if temperature == 0:
        return int(logits.argmax())
    wide = logits.float()
    # Less the largest first: a tiny temperature then makes -inf of the others, never inf of the best.
    p = nucleus(softmax((wide - wide.amax()).double() / temperature), top_p)
    return int(torch.multinomial(p, 1, generator=generator))


def nucleus(p: torch.Tensor, top_p: float) -> torch.Tensor:
    """p (..., vocab) with all but the nucleus at zero, rescaled to a sum of one; of equals the lower ids come first.

    A token is kept while those before it have less than top_p together, so the likeliest always is.
    """
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    inside = ordered.cumsum(dim=-1) - ordered < top_p
    inside[..., 0] = True  # whatever top_p is
    kept = torch.where(inside, ordered, torch.zeros_like(ordered))
    kept = torch.zeros_like(p).scatter(-1, order, kept)
    return kept / kept.sum(dim=-1, keepdim=True)
