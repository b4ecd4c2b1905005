"""The cached single-token step of every trained family: the oracle is the same model over the whole window.

Tolerances as in test_families: sums of float32 in another order; a cache row may round to the next code.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contract.cases import TRAINED, TURNED, Bench, bench


@pytest.fixture(params=TRAINED, ids="-".join)
def b(request) -> Bench:
    return bench(*request.param)


def tolerance(b: Bench) -> float:
    if b.rounds_recurrence:
        return 3e-2
    if b.rounds_activations:
        return TURNED
    return 1e-4 if b.keeps_f32 else 1e-3


def test_3_a_step_at_a_time_equals_the_window(b):
    """Nats and probabilities at every position; the logarithm of what mode F gives is `log_probs`."""
    model, p, n = b.family.Model(b.config), b.rounded(), len(b.tokens)
    with torch.no_grad():
        nats, log_p = model.losses(p, *b.batch)[0], model.log_probs(p, b.batch[0])[0]
        cache, have_nats, have_p = model.new_cache(), [], []
        for t in range(1, n + 1):
            x = model.step(p, cache, int(b.tokens[t - 1]), t)
            assert x.shape == (b.config.d_model,)
            have_nats.append(float(model.step_nats(p, x, int(b.targets[t - 1]))))
            have_p.append(model.step_probabilities(p, x))
    np.testing.assert_allclose(have_nats, nats.numpy(), atol=tolerance(b), rtol=tolerance(b))
    np.testing.assert_allclose(torch.stack(have_p).log(), log_p, atol=tolerance(b), rtol=tolerance(b))
    assert cache["history"].tolist() == b.tokens.tolist()
