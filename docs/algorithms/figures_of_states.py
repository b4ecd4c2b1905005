"""Figures of states that the library goes through: tiles, a draft tree, blocks of a cache, beams."""

from __future__ import annotations

import numpy as np
from drawing import BLUE, GREEN, INK, MUTED, PALE_BLUE, PALE_GREEN, PAPER, RULE, VERMILION, bare, box, boxes, word
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from weightless.ops.flash_attention import Visible, tiles
from weightless.reference import PagedKVCache, batched_beam_search, build_tree_mask, verify_and_accept


def flash_tiles() -> Figure:
    """Tiles visited by attention: causal, with a window, and a chunk that follows a past."""
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.9), width_ratios=(1, 1, 1))
    cases = (
        ("causal", 48, 48, Visible(True, 0, None)),
        ("causal, window of 12", 48, 48, Visible(True, 0, 12)),
        ("16 queries after 32 cached", 16, 48, Visible(True, 32, None)),
    )
    for ax, (title, n_queries, n_keys, seen) in zip(axes, cases):
        _tiles_of(ax, title, n_queries, n_keys, seen)
    handles = [Rectangle((0, 0), 1, 1, facecolor=colour) for colour in (BLUE, PALE_BLUE, "#eceae4")]
    labels = ["pair that counts", "pair worked out, then masked", "tile skipped: never read"]
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.2, wspace=0.22)
    return figure


def _tiles_of(ax: Axes, title: str, n_queries: int, n_keys: int, seen: Visible, size: int = 8) -> None:
    visited = partial = 0
    kept: list[tuple[float, float, float, float]] = []
    box(ax, 0, 0, n_keys, n_queries, "#eceae4", "none")
    for rows in tiles(n_queries, size):
        for keys in seen.key_tiles(rows, n_keys, size):
            mask = seen.mask(rows, keys)
            visited, partial = visited + 1, partial + (mask is not None)
            box(ax, keys.start, rows.start, size, size, BLUE if mask is None else PALE_BLUE, "none")
            for i, row in enumerate(mask if mask is not None else []):
                if row.any():  # what a row sees of a tile lies in one run
                    kept.append((keys.start + int(row.argmax()), rows.start + i, int(row.sum()), 1))
    boxes(ax, kept, BLUE, 0)
    for edge in range(0, n_keys + 1, size):
        ax.plot((edge, edge), (0, n_queries), color=PAPER, linewidth=1)
    for edge in range(0, n_queries + 1, size):
        ax.plot((0, n_keys), (edge, edge), color=PAPER, linewidth=1)
    every = -(-n_queries // size) * -(-n_keys // size)
    ax.set_title(f"{title}\n{visited} of {every} tiles visited, {partial} need a mask", loc="left")
    ax.set(xlim=(0, n_keys), ylim=(n_queries, 0), aspect="equal", xlabel="key", ylabel="query")
    ax.set(xticks=range(0, n_keys + 1, 16), yticks=range(0, n_queries + 1, 8 if n_queries < 20 else 16))


WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran"]
FOLLOWS = {"the": "cat", "cat": "sat", "sat": "on", "on": "the", "mat": "the", "dog": "ran", "ran": "on"}
PROMPT, DRAFT = ["on", "the"], ["cat", "dog", "ran", "sat", "ran", "on", "the", "cat"]
PARENTS = [-1, -1, 0, 0, 1, 3, 5, 3]


def follower(tokens: list[int], mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A target that always goes on as FOLLOWS says: logits (n, V)."""
    logits = np.zeros((len(tokens), len(WORDS)))
    for row, token in zip(logits, tokens):
        row[WORDS.index(FOLLOWS[WORDS[token]])] = 5.0
    return logits


def tree() -> Figure:
    """A draft tree, what the target takes of it, and the mask under which one pass verifies it."""
    prompt, draft = ([WORDS.index(name) for name in names] for names in (PROMPT, DRAFT))
    accepted, new = verify_and_accept(prompt, draft, PARENTS, follower)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.5), width_ratios=(1.05, 1))
    _tree_of(left, accepted, new, draft)
    mask = build_tree_mask(len(prompt), PARENTS)
    names = [*PROMPT, *(f"{i} {name}" for i, name in enumerate(DRAFT))]
    n = len(names)
    places: dict[str, list[tuple[float, float, float, float]]] = {"#eceae4": [], BLUE: [], VERMILION: []}
    for row, column in np.ndindex(n, n):
        inside = row >= len(prompt) and column >= len(prompt)
        colour = (VERMILION if inside else BLUE) if mask[row, column] else "#eceae4"
        places[colour].append((column, n - 1 - row, 1, 1))
    for colour, rectangles in places.items():
        boxes(right, rectangles, colour)
    for row in range(n):
        word(right, -0.2, n - 0.5 - row, names[row], ha="right")
        word(right, row + 0.5, n + 0.25, names[row], rotation=55, ha="left", va="bottom")
    bare(right, n, n)
    right.set_aspect("equal")
    right.set(xlim=(-2.4, n + 1.4), ylim=(-1.5, n + 2.4))
    word(right, n / 2, -0.7, "a row attends to the filled columns: the prompt (blue), its own path (red)")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.97, bottom=0.03, wspace=0.04)
    return figure


def _tree_of(ax: Axes, accepted: list[int], new: int, draft: list[int]) -> None:
    depth = [0] * len(PARENTS)
    for node, parent in enumerate(PARENTS):
        depth[node] = depth[parent] + 1 if parent >= 0 else 1
    leaves = [node for node in range(len(PARENTS)) if node not in PARENTS]
    order = sorted(leaves, key=lambda leaf: _path(leaf))
    height = {leaf: float(len(order) - at) for at, leaf in enumerate(order)}
    for node in sorted(range(len(PARENTS)), key=lambda node: -depth[node]):
        below = [child for child, parent in enumerate(PARENTS) if parent == node]
        height.setdefault(node, sum(height[child] for child in below) / max(1, len(below)))
    height[-1] = (height[0] + height[1]) / 2
    taken = _taken(accepted, draft)
    for node, parent in enumerate(PARENTS):
        x, y = (depth[node] - 1, depth[node]), (height[parent], height[node])
        ax.plot(x, y, color=GREEN if node in taken else RULE, linewidth=2.5 if node in taken else 1.2, zorder=1)
    for node in (-1, *range(len(PARENTS))):
        x = depth[node] if node >= 0 else 0
        colour = PALE_GREEN if node in taken else PALE_BLUE if node < 0 else "#eceae4"
        box(ax, x - 0.34, height[node] - 0.2, 0.68, 0.4, colour, GREEN if node in taken else MUTED, zorder=2)
        word(ax, x, height[node], " ".join(PROMPT) if node < 0 else f"{node} {DRAFT[node]}", zorder=3)
    deepest = max(depth)
    for level in range(deepest + 1):
        word(ax, level, 0.25, f"position {len(PROMPT) - 1 + level}", color=MUTED, fontsize=7.5)
    ax.axis("off")
    ax.set(xlim=(-0.5, deepest + 0.5), ylim=(-0.6, len(order) + 0.9))
    said = " ".join(WORDS[token] for token in (*accepted, new))
    word(ax, -0.45, len(order) + 0.65, f"the target says “{said}”:", ha="left", fontsize=9)
    word(
        ax,
        -0.45,
        -0.3,
        f"{len(accepted)} drafted tokens accepted, and “{WORDS[new]}” is new: {len(accepted) + 1} tokens for one pass",
        ha="left",
        fontsize=9,
    )


def _path(node: int) -> tuple[int, ...]:
    return (*_path(PARENTS[node]), node) if node >= 0 else ()


def _taken(accepted: list[int], draft: list[int]) -> set[int]:
    """The nodes of the accepted path."""
    at, taken = -1, set()
    for token in accepted:
        at = next(node for node, parent in enumerate(PARENTS) if parent == at and draft[node] == token)
        taken.add(at)
    return taken


def paged() -> Figure:
    """Three states of a paged cache: one text, a second that shares its beginning, a fork that writes."""
    cache = PagedKVCache(1, 1, 2, block_size=4, n_blocks=8)
    text = list(range(10))
    figure, axes = plt.subplots(3, 1, figsize=(9.6, 6.2))

    def append(sequence: int, n: int) -> None:
        cache.append(sequence, 0, np.ones((1, n, 2)), np.ones((1, n, 2)))

    append(0, len(text))
    cache.remember(0, text)
    _blocks(axes[0], cache, "A: 10 positions. Its full blocks are remembered under the hash of their tokens.")
    second, known = cache.resume([*text[:9], 77, 78])
    append(second, 3)
    _blocks(
        axes[1],
        cache,
        f"B begins with the same {known} tokens: it names A's first blocks, and computes 3 positions.",
    )
    shared = cache.block_table(0)[-1]
    third = cache.fork(0)
    append(third, 1)
    own = cache.block_table(third)[-1]
    _blocks(
        axes[2],
        cache,
        f"C forks A and appends: block {shared} was shared, so it was copied to block {own} first.",
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.02, hspace=0.28)
    return figure


def _blocks(ax: Axes, cache: PagedKVCache, title: str) -> None:
    """Block tables on the left, blocks with their reference counts and filled slots on the right."""
    bare(ax, 24, 5, title)
    colours = {0: VERMILION, 1: BLUE, 2: GREEN}
    fill: dict[int, int] = {}
    users: dict[int, list[int]] = {}
    for at, sequence in enumerate(cache.sequences):
        table = cache.block_table(sequence)
        word(ax, 0.4, 4.1 - 1.35 * at, "ABC"[sequence], color=colours[sequence], fontsize=11, fontweight="bold")
        for i, block in enumerate(table):
            box(ax, 1.1 + 1.1 * i, 3.65 - 1.35 * at, 1.0, 0.9, PAPER, colours[sequence], line=1.2)
            word(ax, 1.6 + 1.1 * i, 4.1 - 1.35 * at, str(block))
            fill[block] = max(fill.get(block, 0), min(4, cache.length(sequence) - 4 * i))
            users.setdefault(block, []).append(sequence)
        word(ax, 1.3 + 1.1 * len(table), 4.1 - 1.35 * at, f"{cache.length(sequence)} positions", ha="left", color=MUTED)
    for block, count in enumerate(cache.references):
        x = 7.6 + 2.05 * block
        word(ax, x + 0.85, 4.2, f"block {block}", color=INK if count else MUTED)
        names, full = users.get(block, []), fill.get(block, 0)
        boxes(ax, [(x, 3.2 - 0.62 * slot, 1.7, 0.58) for slot in range(full if names else 0, 4)], "#eceae4")
        for part, sequence in enumerate(names):
            width = 1.7 / len(names)
            boxes(ax, [(x + width * part, 3.2 - 0.62 * slot, width, 0.58) for slot in range(full)], colours[sequence])
        word(
            ax,
            x + 0.85,
            0.7,
            f"{count} reference{'' if count == 1 else 's'}" if count else "free",
            color=INK if count else MUTED,
            fontsize=7.5,
        )


BEAM_WORDS = [".", "a", "red", "old", "fox", "ran"]


def beam_model(prefixes: list[list[int]]) -> np.ndarray:
    """Fixed log-probabilities that depend on the last two tokens; a word seldom follows itself."""
    rows = []
    for prefix in prefixes:
        z = 1.6 * np.random.default_rng([95, *prefix[-2:]]).standard_normal(len(BEAM_WORDS))
        z[prefix[-1]] -= 6
        rows.append(z - np.log(np.exp(z).sum()))
    return np.array(rows)


def beam() -> Figure:
    """Beams kept after each step, their scores, and a finished one that stays in the pool."""
    steps, width, alpha = 5, 3, 0.6
    figure, ax = plt.subplots(figsize=(9.6, 3.6))
    ax.axis("off")
    ax.set(xlim=(-0.5, steps + 0.55), ylim=(-0.9, width - 0.1))
    before: dict[tuple[int, ...], float] = {(): 1.0}
    box(ax, -0.4, 0.72, 0.8, 0.56, PALE_BLUE, MUTED)
    word(ax, 0, 1.0, "prompt")
    for step in range(1, steps + 1):
        kept = batched_beam_search([[1]], width, step, alpha, 0, beam_model)[0]
        now: dict[tuple[int, ...], float] = {}
        for at, (tokens, score) in enumerate(kept):
            y = float(width - 1 - at)
            now[tuple(tokens)] = y
            ended = tokens[-1] == 0
            stays = tuple(tokens) in before
            parent = tuple(tokens) if stays else tuple(tokens[:-1])
            ax.plot(
                (step - 0.6, step - 0.4),
                (before[parent], y),
                color=GREEN if stays else MUTED,
                linewidth=2.5 if stays else 1,
                zorder=0,
            )
            box(ax, step - 0.4, y - 0.28, 0.8, 0.56, PALE_GREEN if ended else "#eceae4", GREEN if ended else MUTED)
            word(ax, step, y + 0.09, " ".join(BEAM_WORDS[token] for token in tokens), fontsize=7.5)
            word(ax, step, y - 0.14, f"{score:.2f}", color=MUTED, fontsize=7.5)
        word(ax, step, width - 0.35, f"step {step}", color=MUTED)
        before = now
    said = f"K = {width}, α = {alpha}. Below each beam stands its score, acc / len^α; the best is on top."
    ends = "Green beams have ended with “.”: nothing extends them, and they stay while their score is among the best."
    word(ax, -0.4, -0.52, said, ha="left")
    word(ax, -0.4, -0.74, ends, ha="left")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
    return figure
