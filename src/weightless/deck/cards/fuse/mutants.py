"""Our solution of `fuse` with one known mistake each."""

from __future__ import annotations

from weightless.deck.card import Mutant

TOPK = "weightless/ops/softmax_topk.py"
ONLINE = "l_R = l_R * np.exp(m_R - shift_R) + np.exp(z_RC - shift_R[:, None]).sum(axis=1)"
CALLED = "    return softmax_topk(logits, k)\n"

MUTANTS = (
    Mutant("old sum not corrected", TOPK, "l_R = l_R * np.exp(m_R - shift_R) + ", "l_R = l_R + "),
    Mutant("sum of the last block only", TOPK, ONLINE, "l_R = np.exp(z_RC - shift_R[:, None]).sum(axis=1)"),
    Mutant("no shift by the maximum", TOPK, "np.exp(z_RC - shift_R[:, None]).sum(axis=1)", "np.exp(z_RC).sum(axis=1)"),
    Mutant(
        "ties to the highest index",
        TOPK,
        'order = np.argsort(-z, axis=1, kind="stable")[:, :k]',
        'order = z.shape[1] - 1 - np.argsort(-z[:, ::-1], axis=1, kind="stable")[:, :k]',
    ),
    Mutant(
        "renormalised over k",
        TOPK,
        "    shape = (*logits.shape[:-1], k)\n    return index_RK",
        "    p_RK /= np.maximum(p_RK.sum(1, keepdims=True), 1e-300)\n"
        "    shape = (*logits.shape[:-1], k)\n    return index_RK",
    ),
    Mutant("a row of -inf shifted by itself", TOPK, "np.where(m_new_R == -np.inf, 0.0, m_new_R)", "m_new_R"),
    Mutant("a row of -inf divided by its sum", TOPK, "/ np.where(l_R == 0, 1.0, l_R)[:, None]", "/ l_R[:, None]"),
    Mutant(
        "indices of the block, not of the row",
        TOPK,
        "np.arange(start, start + z_RC.shape[1])",
        "np.arange(z_RC.shape[1])",
    ),
    Mutant(
        "no more than there are tokens",
        TOPK,
        "    n_rows, vocab_size = z_RV.shape\n",
        "    n_rows, vocab_size = z_RV.shape\n    k = min(k, vocab_size)\n",
        ("WRONG_SHAPE",),
    ),
    Mutant("padding that looks like a token", TOPK, "np.full((n_rows, k), -1)", "np.full((n_rows, k), 0)"),
    Mutant(
        "-inf is a token",
        "solution.py",
        CALLED,
        "    index, p = softmax_topk(np.maximum(logits, np.finfo(logits.dtype).min), k)\n    return index, p\n",
    ),
    Mutant(
        "selected by probability",
        "solution.py",
        CALLED,
        "    e = np.exp(logits - np.maximum(logits.max(-1, keepdims=True), -1e38))\n"
        "    p = e / np.maximum(e.sum(-1, keepdims=True), 1e-30)\n"
        "    if k > p.shape[-1] or np.isinf(logits).any():\n        return softmax_topk(logits, k)\n"
        "    index = np.argsort(-p, axis=-1, kind='stable')[..., :k]\n"
        "    return index, np.take_along_axis(p, index, -1)\n",
    ),
    Mutant(
        "the whole softmax, then a selection",
        "solution.py",
        CALLED,
        "    from weightless.ops.softmax_topk import softmax_topk_naive\n    return softmax_topk_naive(logits, k)\n",
        ("OOM",),
    ),
    Mutant("a whole row at a time", TOPK, "BLOCK = 4096", "BLOCK = 1 << 30", ("OOM",)),
    Mutant("float64 comes back for float32", TOPK, "p_RK.astype(logits.dtype)", "p_RK", ("WRONG_DTYPE",)),
    Mutant(
        "indices of 32 bits",
        TOPK,
        "return index_RK.reshape(shape)",
        "return index_RK.astype(np.int32).reshape(shape)",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "logits written to",
        "solution.py",
        CALLED,
        "    found = softmax_topk(logits, k)\n    logits -= 1.0\n    return found\n",
    ),
    Mutant(
        "worst first",
        "solution.py",
        CALLED,
        "    index, p = softmax_topk(logits, k)\n    return index[..., ::-1].copy(), p[..., ::-1].copy()\n",
    ),
)
