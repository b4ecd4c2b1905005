"""Log-softmax and negative log-likelihood in nats.

    log p_v = z_v - log sum_u exp(z_u)          nats = -log p_target

taken around the maximum, so that any finite logits are safe; a logit of -inf is an impossible outcome.  Sums are made
in float32 at least (65,505 equal logits overflow a float16 sum); the result has the dtype of the logits.
Errors: ConfigError for a target outside the vocabulary.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import as_given, working_dtype


def log_softmax(logits_NV: np.ndarray) -> np.ndarray:
    """log p over the last axis, any leading shape."""
    z_NV = logits_NV.astype(working_dtype(logits_NV), copy=False)
    shifted = z_NV - z_NV.max(axis=-1, keepdims=True)
    return as_given(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), logits_NV)


def nll(logits_NV: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Nats of each target; not averaged."""
    targets_N = np.asarray(targets_N)
    n_tokens = logits_NV.shape[-1]
    if targets_N.size and not 0 <= targets_N.min() <= targets_N.max() < n_tokens:
        raise ConfigError(f"targets reach from {targets_N.min()} to {targets_N.max()}, the vocabulary has {n_tokens}")
    return -np.take_along_axis(log_softmax(logits_NV), targets_N[..., None], axis=-1)[..., 0]
