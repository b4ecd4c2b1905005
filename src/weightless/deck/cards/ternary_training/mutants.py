"""Our solution with one mistake each, and the status that the grader has to give it."""

from __future__ import annotations

from weightless.deck.card import Mutant

_OPS = "weightless/ops/"
_PROJECT = _OPS + "ternary.py"
_KEEP = "            parts[kind][name] = stored[key]\n"
_EXPAND = 'ternary.ternary_expand(codes, model["scales"][name])'
_RETURN = 'return {**json.loads((HERE / "solution_config.json").read_text()), **parts}'
MUTANTS = (
    Mutant(
        "no clip",
        _PROJECT,
        "np.clip(np.rint(W / np.where(step == 0, 1.0, step)), -1, 1)",
        "np.rint(W / np.where(step == 0, 1.0, step))",
    ),
    Mutant(
        "scale by the maximum",
        _PROJECT,
        "means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / lengths",
        "means = np.maximum.reduceat(np.abs(W.astype(np.float64)), starts, axis=1)",
    ),
    Mutant(
        "scale of the whole row",
        _PROJECT,
        "    if means.max() > LARGEST_SCALE:",
        "    means[:] = np.abs(W).mean(axis=1, keepdims=True)\n    if means.max() > LARGEST_SCALE:",
    ),
    Mutant(
        "groups along the output",
        _PROJECT,
        "means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / lengths",
        "means = np.broadcast_to(np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1).mean(0) / lengths,"
        " (len(W), len(starts)))",
    ),
    Mutant(
        "a short last group counts as a whole one",
        _PROJECT,
        "starts, axis=1) / lengths",
        "starts, axis=1) / group_size",
    ),
    Mutant(
        "codes by a scale that is not stored",
        _PROJECT,
        "step = np.repeat(scales.astype(np.float64), lengths, axis=1)",
        "step = np.repeat(means, lengths, axis=1)",
    ),
    Mutant(
        "scale kept in float32",
        _PROJECT,
        "scales = means.astype(np.float16)",
        "scales = means.astype(np.float32)",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "codes as floats",
        _PROJECT,
        "codes).astype(np.int8), scales",
        "codes).astype(np.float32), scales",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "groups of zeros divide by zero",
        _PROJECT,
        "codes = np.clip(np.rint(W / np.where(step == 0, 1.0, step)), -1, 1)\n    return np.where(step == 0, 0, codes)",
        "codes = np.clip(np.rint(W / step), -1, 1)\n    return codes",
    ),
    Mutant(
        "groups of zeros get a scale",
        _PROJECT,
        "scales = means.astype(np.float16)",
        "scales = np.maximum(means, 1e-4).astype(np.float16)",
    ),
    Mutant("rounded towards zero", _PROJECT, "np.rint(W / np.where", "np.trunc(W / np.where"),
    Mutant("signs only", _PROJECT, "np.clip(np.rint(W / np.where(step == 0, 1.0, step)), -1, 1)", "np.sign(W)"),
    Mutant(
        "projected again from codes times scale",
        "solution.py",
        _EXPAND,
        f"ternary.ternary_expand(*ternary_project({_EXPAND}))",
    ),
    Mutant(
        "the largest code is 2",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = 2 * stored[key] if kind == 'codes' else stored[key]\n",
    ),
    Mutant(
        "full-precision weights instead of codes",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = stored[key].astype(np.float32) if kind == 'codes' else stored[key]\n",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "scales in float32",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = stored[key].astype(np.float32) if kind == 'scales' else stored[key]\n",
        ("WRONG_DTYPE",),
    ),
    Mutant(
        "one scale for each row",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = stored[key][:, :1] if kind == 'scales' else stored[key]\n",
        ("WRONG_SHAPE",),
    ),
    Mutant(
        "scales are NaN",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = stored[key] * np.float16(np.nan) if kind == 'scales' else stored[key]\n",
    ),
    Mutant(
        "the embedding is kept in full precision",
        "solution.py",
        _KEEP,
        _KEEP
        + "        parts['norms']['model.embed_tokens.weight'] = parts['codes'].pop('model.embed_tokens.weight')\n",
        ("CONTRACT",),
    ),
    Mutant(
        "no norms of queries and keys",
        "solution.py",
        _KEEP,
        "            if '_norm' not in name:\n                parts[kind][name] = stored[key]\n",
        ("CONTRACT", "CRASH"),
    ),
    Mutant(
        "nothing was learnt",
        "solution.py",
        _KEEP,
        "            parts[kind][name] = stored[key][::-1] if kind == 'codes' else stored[key]\n",
    ),
    Mutant(
        "losses that rise",
        "solution.py",
        _RETURN,
        'found = json.loads((HERE / "solution_config.json").read_text())\n'
        "    return {**found, 'losses': found['losses'][::-1], **parts}",
    ),
    Mutant(
        "no losses",
        "solution.py",
        _RETURN,
        "return {'config': json.loads((HERE / \"solution_config.json\").read_text())['config'], **parts}",
        ("CONTRACT",),
    ),
    Mutant(
        "queries are not normed",
        "solution.py",
        '    q = norm.rms_norm(q, gains[at + "q_norm.weight"], c["rms_norm_eps"])\n',
        "",
    ),
    Mutant(
        "pairs turn next to each other", _OPS + "rope.py", 'pairing: str = "half_split"', 'pairing: str = "interleaved"'
    ),
    Mutant("no positions", "solution.py", "    q, k = rope.rope(q, places", "    rope.rope(q, places"),
    Mutant(
        "heads of another group",
        _OPS + "attention.py",
        "np.repeat(k_TGK, shared, axis=1), np.repeat(v_TGK",
        "np.tile(k_TGK, (1, shared, 1)), np.repeat(v_TGK",
    ),
    Mutant(
        "the future is seen", _OPS + "attention.py", "visible_TS = (age_TS >= 0) &", "visible_TS = (age_TS >= -1) &"
    ),
    Mutant(
        "gate and up are exchanged",
        "solution.py",
        '(weights[at + "mlp.gate_proj.weight"], weights[at + "mlp.up_proj.weight"])',
        '(weights[at + "mlp.up_proj.weight"], weights[at + "mlp.gate_proj.weight"])',
    ),
    Mutant(
        "logits instead of logarithms",
        "solution.py",
        "return z - np.log(np.exp(z).sum(axis=1, keepdims=True))",
        "return z",
    ),
    Mutant(
        "rows are of the byte itself",
        "solution.py",
        "return z - np.log(np.exp(z).sum(axis=1, keepdims=True))",
        "return np.roll(z - np.log(np.exp(z).sum(axis=1, keepdims=True)), 1, axis=0)",
    ),
    Mutant(
        "zeros",
        "solution.py",
        "    return ternary.ternary_project(W, group_size)",
        "    return np.zeros(W.shape, np.int8), np.zeros((len(W), -(-W.shape[1] // group_size)), np.float16)",
    ),
    Mutant(
        "nothing",
        "solution.py",
        "    return ternary.ternary_project(W, group_size)",
        "    return None",
        ("WRONG_SHAPE",),
    ),
)
