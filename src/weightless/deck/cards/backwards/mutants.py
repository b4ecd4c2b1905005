"""Our solution of `backwards` with one known mistake each."""

from __future__ import annotations

from weightless.deck.card import Mutant

NORM = "weightless/ops/layer_norm.py"
TWO_PASSES = "variance = np.mean((centred / size) ** 2, axis=-1, keepdims=True)"

MUTANTS = (
    Mutant("mean term missing", NORM, "dx = r * (dyhat - mean_dyhat - ", "dx = r * (dyhat - "),
    Mutant("xhat term missing", NORM, " - xhat * mean_dyhat_xhat)", ")"),
    Mutant(
        "ddof 1",
        NORM,
        TWO_PASSES,
        "variance = np.sum((centred / size) ** 2, axis=-1, keepdims=True) / max(1, x.shape[-1] - 1)",
    ),
    Mutant("eps outside the root", NORM, "np.sqrt(variance + eps / size / size)", "(np.sqrt(variance) + eps / size)"),
    Mutant("gamma missing in dx", NORM, "dyhat = dy * gamma.astype(np.float64)", "dyhat = dy * 1.0"),
    Mutant("dgamma not summed over T", NORM, "rows = tuple(range(dy.ndim - 1))", "rows = (0,)", ("WRONG_SHAPE",)),
    Mutant("dgamma averaged", NORM, "dgamma = np.sum(dy * xhat", "dgamma = np.mean(dy * xhat"),
    Mutant("dbeta from the gradient of xhat", NORM, "dbeta = np.sum(dy, axis", "dbeta = np.sum(dyhat, axis"),
    Mutant(
        "variance by E[x^2] - E[x]^2",
        NORM,
        TWO_PASSES,
        "size = 1; variance = np.maximum(0, (x * x).mean(-1, keepdims=True) - x.mean(-1, keepdims=True) ** 2)",
    ),
    Mutant("constant rows divided by zero", NORM, "np.sqrt(variance + eps / size / size)", "np.sqrt(variance)"),
    Mutant(
        "float64 comes back for float32",
        NORM,
        "return y.astype(x.dtype), LayerNormCache",
        "return y, LayerNormCache",
        ("WRONG_DTYPE",),
    ),
    Mutant("input written to", NORM, "centred = x - x.mean(", "x *= 1.0 + 1e-9; centred = x - x.mean("),
    Mutant("cache used up", NORM, "    dx = r * (", "    r *= 1.0 - 1e-9\n    dx = r * (1 / (1.0 - 1e-9)) * ("),
    Mutant(
        "gradient check looks at dgamma and dbeta only",
        "solution.py",
        "    for which, found in enumerate(backward(weights, cache)):\n",
        "    for which, found in enumerate(backward(weights, cache)):\n        if which == 0:\n            continue\n",
    ),
    Mutant("gradient check always content", "solution.py", "    return worst\n", "    return min(worst, 1e-9)\n"),
    Mutant("step of 1e-12", "solution.py", "STEP = 1e-5", "STEP = 1e-12"),
    Mutant(
        "a Jacobian for every row",
        "solution.py",
        "    return layer_norm.layer_norm_backward(dy, cache)\n",
        "    xhat, r, gamma = cache\n    D = xhat.shape[-1]\n"
        "    J = (np.eye(D) - 1 / D - xhat[..., None] * xhat[..., None, :] / D) * r[..., None]\n"
        "    _, *others = layer_norm.layer_norm_backward(dy, cache)\n"
        "    return np.einsum('...ij,...j->...i', J, dy * gamma).astype(dy.dtype), *others\n",
        ("OOM", "SLOW"),
    ),
)
