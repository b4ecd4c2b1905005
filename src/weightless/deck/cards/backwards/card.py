"""The card `backwards`: the gradient of layer normalisation by hand."""

from __future__ import annotations

from weightless.deck.card import Card, Check, Pinned
from weightless.deck.cards.backwards import checks_edges as edges
from weightless.deck.cards.backwards import checks_gradients as gradients

CHECKS = (
    Check("contract", "shapes and dtypes are the pinned ones", gradients.answers),
    Check("prompt", "gradients are those of central differences", gradients.central_differences),
    Check("prompt", "its gradient check accepts right gradients", gradients.its_check_accepts),
    Check("prompt", "its gradient check refuses wrong gradients", gradients.its_check_refuses),
    Check("hidden", "float64 agrees with the full Jacobian", gradients.truth_in_double),
    Check("hidden", "float32 agrees with the full Jacobian", gradients.truth_in_single),
    Check("hidden", "eps stands inside the root", gradients.large_eps),
    Check("hidden", "eps is 1e-5 where it is left out", gradients.default_eps),
    Check("hidden", "gradients are linear in dy", gradients.linear),
    Check("hidden", "rows of dx sum to zero", gradients.rows_of_dx_sum_to_zero),
    Check("hidden", "a cache belongs to its forward pass", gradients.caches_keep_apart),
    Check("adversarial", "B, T or D of one", edges.sizes_of_one),
    Check("adversarial", "constant rows", edges.constant_rows),
    Check("adversarial", "gamma of zeros", edges.gamma_of_zeros),
    Check("adversarial", "float64 rows around 1e6", edges.far_from_zero),
    Check("adversarial", "float32 rows around 1e4", edges.far_from_zero_in_single),
    Check("adversarial", "rows of size 1e-20", edges.tiny_rows),
    Check("adversarial", "rows of size 1e150", edges.huge_rows),
    Check("adversarial", "arrays that are not contiguous", edges.strided),
    Check("adversarial", "inputs are not written to", edges.inputs_survive),
    Check("adversarial", "one cache serves twice", edges.a_cache_lasts),
    Check("efficiency", "memory is a few arrays of the size of x", edges.memory),
    Check("efficiency", "processor time beside ours", edges.speed),
)

CARD = Card(
    name="backwards",
    title="Layer normalisation, backwards",
    difficulty="medium",
    order=1,
    checks=CHECKS,
    library=("weightless.ops.layer_norm",),
    pinned=(
        Pinned(
            "layer_norm_forward",
            ("x", "gamma", "beta", "eps"),
            optional=("eps",),
            also=("layernorm_forward", "ln_forward", "layer_norm_fwd", "forward"),
        ),
        Pinned(
            "layer_norm_backward",
            ("dy", "cache"),
            also=("layernorm_backward", "ln_backward", "layer_norm_bwd", "backward"),
            parameter_also=(("dy", ("dout", "grad_out", "grad_output", "grad_y", "upstream")),),
        ),
        Pinned(
            "gradient_check",
            ("x", "gamma", "beta", "dy", "eps", "forward", "backward"),
            optional=("eps", "forward", "backward"),
            also=("check_gradients", "grad_check", "gradcheck"),
        ),
    ),
)
