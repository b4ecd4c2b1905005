"""Our solution with one mistake each, and the status that the grader has to give it."""

from __future__ import annotations

from weightless.deck.card import Mutant

_FILE = "weightless/decode/tree_verification.py"
_CHOSEN = "chosen = next((node for node in children if tokens[node] == token), None)"
_CHILDREN = "children = [node for node, parent in enumerate(parents) if parent in at]"
_SEES = "mask[P + node] = mask[P + parent] if parent >= 0 else mask[P - 1]"
_CALL = "return verification.verify_and_accept(prompt_tokens, tree_tokens, tree_parents, asked, temperature, drawn)"
MUTANTS = (
    Mutant(
        "a node is judged by its own logits",
        _FILE,
        _CHOSEN,
        "chosen = next((node for node in children if tokens[node] == int(np.argmax(logits[node + 1]))), None)",
        ("WRONG_NUMERIC", "TIMEOUT"),
    ),
    Mutant(
        "node by node, by its own logits",
        "solution.py",
        "    " + _CALL + "\n",
        "    P, accepted, refused = len(prompt_tokens), [], set()\n"
        "    logits = target_model(list(prompt_tokens) + list(tree_tokens), build_tree_mask(P, tree_parents))\n"
        "    for i, token in enumerate(tree_tokens):\n"
        "        if tree_parents[i] in refused:\n"
        "            refused.add(i)\n"
        "            continue\n"
        "        best = int(np.argmax(logits[P + i]))\n"
        "        if token != best:\n"
        "            return accepted, best\n"
        "        accepted.append(token)\n"
        "    return accepted, int(np.argmax(logits[-1]))\n",
    ),
    Mutant(
        "node by node, by its parent's logits",
        "solution.py",
        "    " + _CALL + "\n",
        "    P, accepted = len(prompt_tokens), []\n"
        "    logits = target_model(list(prompt_tokens) + list(tree_tokens), build_tree_mask(P, tree_parents))\n"
        "    for i, token in enumerate(tree_tokens):\n"
        "        best = int(np.argmax(logits[P + tree_parents[i] if tree_parents[i] >= 0 else P - 1]))\n"
        "        if token != best:\n"
        "            return accepted, best\n"
        "        accepted.append(token)\n"
        "    return accepted, int(np.argmax(logits[-1]))\n",
    ),
    Mutant("stops at the first refused sibling", _FILE, _CHILDREN, _CHILDREN + "[:1]"),
    Mutant(
        "one of two equal siblings", _FILE, "at = [node for node in children if tokens[node] == token]", "at = [chosen]"
    ),
    Mutant(
        "children of refused tokens are taken",
        _FILE,
        _CHILDREN,
        "children = [node for node, parent in enumerate(parents) if parent >= min(at) and node not in accepted]",
    ),
    Mutant(
        "the new token is the last accepted one",
        _FILE,
        "            return accepted, token\n",
        "            return accepted[:-1], tokens[accepted[-1]] if accepted else token\n",
    ),
    Mutant(
        "the new token follows the prompt",
        _FILE,
        "            return accepted, token\n",
        "            return accepted, int(np.argmax(logits[0]))\n",
    ),
    Mutant("nothing is accepted", _FILE, _CHOSEN, "chosen = None"),
    Mutant(
        "all that follow are accepted",
        _FILE,
        _CHOSEN,
        "chosen = next(iter(children), None)",
        ("WRONG_NUMERIC", "CRASH"),
    ),
    Mutant("ties to the highest id", _FILE, "int(np.argmax(row))\n", "len(row) - 1 - int(np.argmax(row[::-1]))\n"),
    Mutant("siblings see each other", _FILE, _SEES, _SEES + "\n        mask[P + node, P : P + node] = True"),
    Mutant(
        "only the parent is seen",
        _FILE,
        _SEES,
        "mask[P + node, :P] = True\n        mask[P + node, P + max(parent, 0)] |= parent >= 0",
    ),
    Mutant(
        "only ancestors are seen, not the prompt",
        _FILE,
        _SEES,
        "mask[P + node] = mask[P + parent] if parent >= 0 else False",
    ),
    Mutant("the prompt sees its future", _FILE, "mask[:P, :P] = np.tri(P, dtype=bool)", "mask[:P, :P] = True"),
    Mutant("the prompt sees the tree", _FILE, "    return mask\n", "    mask[P - 1, P:] = True\n    return mask\n"),
    Mutant(
        "a node does not see itself",
        _FILE,
        "        mask[P + node, P + node] = True\n",
        "        mask[P + node, P + node] = parent < 0\n",
    ),
    Mutant(
        "parents are indices of the whole text",
        _FILE,
        _SEES,
        "mask[P + node] = mask[parent] if parent >= 0 else mask[P - 1]",
    ),
    Mutant(
        "logits of the token after",
        _FILE,
        "accept(logits[len(prompt) - 1 :], tokens",
        "accept(np.roll(logits, -1, axis=0)[len(prompt) - 1 :], tokens",
    ),
    Mutant(
        "an empty tree asks for nothing",
        "solution.py",
        "    drawn = np.random",
        "    if not tree_tokens:\n        return [], 0\n    drawn = np.random",
    ),
    Mutant(
        "a second pass",
        "solution.py",
        "    drawn = np.random.default_rng(rng)\n",
        "    target_model(list(prompt_tokens), build_tree_mask(len(prompt_tokens), []))\n"
        "    drawn = np.random.default_rng(rng)\n",
        ("SLOW",),
    ),
    Mutant("greedy at every temperature", _FILE, "if temperature == 0:", "if temperature >= 0:"),
    Mutant("the temperature is left out", _FILE, "tempered(row, temperature)", "tempered(row, 1.0)"),
    Mutant("a refused child stays in p", _FILE, "        p = left / left.sum()\n", ""),
    Mutant(
        "the new token is drawn from p, not from what is left",
        _FILE,
        "np.cumsum(p), rng.random() * p.sum(), side",
        "np.cumsum(p_V), rng.random(), side",
    ),
    Mutant("accepted twice as often", _FILE, "rng.random() * draft[x] < p[x]", "rng.random() * draft[x] < 2 * p[x]"),
    Mutant(
        "the seed is not used", "solution.py", "drawn = np.random.default_rng(rng)", "drawn = np.random.default_rng()"
    ),
    Mutant("zeros", "solution.py", "    " + _CALL, "    return [], 0"),
    Mutant("the first drafts", "solution.py", "    " + _CALL, "    return list(tree_tokens), 0"),
    Mutant("nothing", "solution.py", "    " + _CALL, "    return None", ("WRONG_SHAPE",)),
)
