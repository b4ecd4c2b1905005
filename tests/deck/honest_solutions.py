"""Solutions that somebody else might hand in, right and written in other ways than ours: no check may refuse them."""

FLASH_ATTENTION = '''
import numpy as np

def flash_attention_fwd(Q, K, V, tile_size, causal=True):
    """All heads at once; the scale after the product; a mask that is added."""
    B, H, N, D = Q.shape
    out = np.empty_like(V)
    for i in range(0, N, tile_size):
        q = Q[:, :, i : i + tile_size]
        rows = np.arange(i, i + q.shape[2])
        m = np.full((*q.shape[:3], 1), -np.inf, Q.dtype)
        l = np.zeros_like(m)
        O = np.zeros_like(q)
        for j in range(0, N, tile_size):
            if causal and j > rows[-1]:
                break
            k, v = K[:, :, j : j + tile_size], V[:, :, j : j + tile_size]
            S = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.array(D, Q.dtype))
            if causal and j + k.shape[2] - 1 > i:
                S = S + np.where(np.arange(j, j + k.shape[2])[None] > rows[:, None], -np.inf, 0.0).astype(Q.dtype)
            m_new = np.maximum(m, S.max(axis=-1, keepdims=True))
            correction = np.exp(m - m_new)
            P = np.exp(S - m_new)
            l = l * correction + P.sum(axis=-1, keepdims=True)
            O = O * correction + P @ v
            m = m_new
        out[:, :, i : i + tile_size] = O / l
    return out
'''
FLASH_ATTENTION_BWD = """
import numpy as np

def tiles(N, size, causal):
    for i in range(0, N, size):
        for j in range(0, N, size):
            if not causal or j <= min(i + size, N) - 1:
                yield slice(i, min(i + size, N)), slice(j, min(j + size, N))

def scores(q, k, rows, keys, causal):
    S = (q @ k.swapaxes(-1, -2)) * (q.shape[-1] ** -0.5)
    if causal:
        S = np.where(np.arange(keys.start, keys.stop)[None, :] <= np.arange(rows.start, rows.stop)[:, None], S, -np.inf)
    return S

def flash_attention_fwd(Q, K, V, tile_size, causal=True):
    Q64, K64, V64 = (a.astype(np.float64) for a in (Q, K, V))
    m = np.full(Q.shape[:3], -np.inf)
    l, O = np.zeros(Q.shape[:3]), np.zeros(Q.shape)
    for rows, keys in tiles(Q.shape[2], tile_size, causal):
        S = scores(Q64[:, :, rows], K64[:, :, keys], rows, keys, causal)
        new = np.maximum(m[:, :, rows], S.max(-1))
        shrink, P = np.exp(m[:, :, rows] - new), np.exp(S - new[..., None])
        l[:, :, rows] = l[:, :, rows] * shrink + P.sum(-1)
        O[:, :, rows] = O[:, :, rows] * shrink[..., None] + P @ V64[:, :, keys]
        m[:, :, rows] = new
    O = (O / l[..., None]).astype(Q.dtype)
    return O, {"O": O, "L": m + np.log(l), "Q": Q, "K": K, "V": V}

def flash_attention_bwd(dO, cache, tile_size, causal=True):
    Q, K, V, O = (cache[name].astype(np.float64) for name in "QKVO")
    dO = dO.astype(np.float64)
    scale, D = Q.shape[-1] ** -0.5, (dO * O).sum(-1)
    dQ, dK, dV = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    for rows, keys in tiles(Q.shape[2], tile_size, causal):
        P = np.exp(scores(Q[:, :, rows], K[:, :, keys], rows, keys, causal) - cache["L"][:, :, rows, None])
        dV[:, :, keys] += P.swapaxes(-1, -2) @ dO[:, :, rows]
        dS = P * (dO[:, :, rows] @ V[:, :, keys].swapaxes(-1, -2) - D[:, :, rows, None]) * scale
        dQ[:, :, rows] += dS @ K[:, :, keys]
        dK[:, :, keys] += dS.swapaxes(-1, -2) @ Q[:, :, rows]
    kind = cache["Q"].dtype
    return dQ.astype(kind), dK.astype(kind), dV.astype(kind)
"""
DFLASH_VERIFY = '''
import numpy as np

def build_tree_mask(prompt_len, tree_parents):
    n = prompt_len + len(tree_parents)
    mask = np.zeros((n, n), dtype=bool)
    for i in range(n):
        mask[i, : min(i + 1, prompt_len)] = True
        node = i - prompt_len
        while node >= 0:
            mask[i, prompt_len + node] = True
            node = tree_parents[node]
    return mask

def softmax(z):
    e = np.exp(z - np.max(z))
    return e / e.sum()

def verify_and_accept(prompt_tokens, tree_tokens, tree_parents, target_model, temperature=0.0, rng=None):
    """The walk over a tree of dicts: equal siblings are merged first; tokens are drawn with choice."""
    P = len(prompt_tokens)
    logits = np.asarray(target_model(list(prompt_tokens) + list(tree_tokens), build_tree_mask(P, tree_parents)), float)
    root, places = {"row": P - 1, "next": {}}, []
    for i, (token, parent) in enumerate(zip(tree_tokens, tree_parents)):
        above = root if parent < 0 else places[parent]
        places.append(above["next"].setdefault(token, {"row": P + i, "next": {}}))
    draw, at, accepted = np.random.default_rng(rng), root, []
    while True:
        z = logits[at["row"]]
        if temperature <= 0:
            token = np.argmax(z)
        else:
            token = draw.choice(len(z), p=softmax(z / temperature))  # the target's own draw, then looked for
        if token not in at["next"]:
            return np.array(accepted, dtype=np.int64), token
        accepted.append(token)
        at = at["next"][token]
'''
