"""The figures of these chapters, drawn from the states that the library itself goes through.

    python docs/algorithms/figures.py [FOLDER]         writes the SVG files, beside this file when no folder is given

Equal code writes equal bytes (no dates, fixed ids); tests/docs/test_figures.py compares what is drawn with the files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from drawing import BLUE, INK, MUTED, PALE_BLUE, PALE_OCHRE, STYLE, VERMILION, box, word
from figures_of_states import beam, flash_tiles, paged, tree
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from weightless.reference import KVCache, PagedKVCache, layer_norm_forward, ternary_project


def kv_memory() -> Figure:
    """Bytes held as one sequence grows, and as eight samples continue one prompt."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.4))
    lines = (
        {"label": "contiguous, doubling", "color": VERMILION, "drawstyle": "steps-post"},
        {"label": "paged, blocks of 16", "color": BLUE, "drawstyle": "steps-post"},
        {"label": "formula: 2 L G D b Σlen", "color": INK, "linestyle": ":"},
    )
    for ax, n_sequences, prompt, title in zip(
        axes, (1, 8), (1, 256), ("one sequence", "8 samples of one prompt of 256")
    ):
        steps, rows = _growth(n_sequences, prompt)
        for line, values in zip(lines, rows):
            ax.plot(steps, np.array(values) / 1e6, **line)
        ax.set_title(title, loc="left")
        ax.set(xlabel="positions per sequence", ylabel="MB for keys and values")
        ax.set(ylim=(0, None), xlim=(0 if prompt == 1 else prompt, None))
    axes[0].legend(frameon=False, loc="upper left")
    figure.subplots_adjust(left=0.07, right=0.98, top=0.9, bottom=0.16, wspace=0.2)
    return figure


def _growth(n_sequences: int, prompt: int) -> tuple[list[int], tuple[list[int], list[int], list[int]]]:
    caches = KVCache(1, 2, 32), PagedKVCache(1, 2, 32, block_size=16)
    for cache in caches:
        cache.append(0, 0, np.ones((2, prompt, 32)), np.ones((2, prompt, 32)))
        for _ in range(n_sequences - 1):
            cache.fork(0)
    steps: list[int] = []
    rows: tuple[list[int], list[int], list[int]] = ([], [], [])
    vectors = np.ones((2, 8, 32), np.float32)
    for length in range(prompt + 8, 570, 8):
        for cache in caches:
            for sequence in cache.sequences:
                cache.append(sequence, 0, vectors, vectors)
        steps.append(length)
        for row, value in zip(rows, (caches[0].nbytes, caches[1].nbytes_used, caches[0].nbytes_used)):
            row.append(value)
    return steps, rows


def ternary() -> Figure:
    """Latent weights of one row in three groups, their codes and scales."""
    W = np.random.default_rng(5).standard_normal((1, 24)) * np.repeat([0.5, 1.0, 0.25], 8)
    codes, scales = ternary_project(W, 8)
    figure, ax = plt.subplots(figsize=(9.6, 3.5))
    colours = {-1: BLUE, 0: "#d5d1c8", 1: VERMILION}
    for i, (w, code) in enumerate(zip(W[0], codes[0])):
        ax.bar(i, w, 0.72, color=colours[int(code)])
        box(ax, i - 0.45, -3.25, 0.9, 0.42, colours[int(code)])
        word(ax, i, -3.04, f"{code:+d}" if code else "0", color=INK if code == 0 else "white")
    for group, scale in enumerate(scales[0]):
        left, right = 8 * group - 0.5, 8 * group + 7.5
        for sign in (-1, 1):
            ax.plot((left, right), (sign * scale / 2,) * 2, color=MUTED, linestyle=":", linewidth=1)
            ax.plot((left, right), (sign * scale,) * 2, color=INK, linewidth=1)
        box(ax, left + 0.05, -3.85, 7.9, 0.42, PALE_OCHRE)
        word(ax, (left + right) / 2, -3.64, f"scale {float(scale):.4f} (fp16)")
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.set(xlim=(-0.6, 28.9), ylim=(-3.95, 2.3), xticks=[], yticks=[-2, -1, 0, 1, 2], ylabel="latent weight")
    ax.spines["bottom"].set_visible(False)
    last = float(scales[0, -1])
    word(ax, 23.7, last, "± scale: where a code stands", ha="left", fontsize=7)
    word(ax, 23.7, -last - 0.15, "± half of it: where 0 begins", ha="left", fontsize=7, color=MUTED)
    word(ax, 23.7, -3.04, "2 bits each", ha="left")
    word(ax, 23.7, -3.64, "16 bits a group", ha="left")
    figure.subplots_adjust(left=0.06, right=0.995, top=0.98, bottom=0.02)
    return figure


def layer_norm_offset() -> Figure:
    """Error of y when the variance is E[x^2] - E[x]^2, and as the library does it."""
    figure, ax = plt.subplots(figsize=(6.4, 3.4))
    x = np.random.default_rng(0).standard_normal((16, 64))
    offsets = 10.0 ** np.arange(0, 7.5, 0.5)
    for dtype, colour in ((np.float32, VERMILION), (np.float64, BLUE)):
        for name, line, method in (("one pass", "-", _one_pass), ("two passes", ":", _two_passes)):
            errors = np.array([_offset_error(method, x, offset, dtype) for offset in offsets])
            ax.plot(offsets, errors, line, color=colour, marker=".", label=f"{name}, {dtype.__name__}")
            if np.isnan(errors).any():
                word(ax, offsets[np.isnan(errors)][0], 0.1, "NaN from here on", ha="left", color=colour)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="offset of the rows (their deviation is 1)",
        ylabel="largest error of y",
        ylim=(1e-17, 3),
    )
    ax.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.42), fontsize=8)
    figure.subplots_adjust(left=0.13, right=0.98, top=0.97, bottom=0.15)
    return figure


def _offset_error(method: Callable[[np.ndarray], np.ndarray], x: np.ndarray, offset: float, dtype: Any) -> float:
    far = (x + offset).astype(dtype)
    near = far.astype(np.float64) - offset
    right = (near - near.mean(-1, keepdims=True)) / np.sqrt(near.var(-1, keepdims=True) + 1e-5)
    return float(np.abs(method(far) - right).max())


def _one_pass(x: np.ndarray) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (x - mean) / np.sqrt(np.mean(x * x, -1, keepdims=True) - mean * mean + x.dtype.type(1e-5))


def _two_passes(x: np.ndarray) -> np.ndarray:
    return layer_norm_forward(x, np.ones(x.shape[-1], x.dtype), np.zeros(x.shape[-1], x.dtype))[0]


def softmax_online() -> Figure:
    """m and l along a row, block by block, beside what the whole row gives."""
    z = 1.5 * np.random.default_rng(4).standard_normal(96)
    z += np.linspace(-1, 1, 96)
    figure, (top, low) = plt.subplots(2, 1, figsize=(7.2, 4.0), sharex=True, height_ratios=(1.4, 1))
    top.bar(range(96), z, 0.8, color=PALE_BLUE)
    m, l, places, sums, maxima = -np.inf, 0.0, [], [], []
    for start in range(0, 96, 8):
        block = z[start : start + 8]
        higher = max(m, block.max())
        l = l * np.exp(m - higher) + np.exp(block - higher).sum()
        m = higher
        places, sums, maxima = [*places, start + 3.5], [*sums, l], [*maxima, m]
    top.step(places, maxima, where="mid", color=VERMILION, label="m, the maximum so far")
    top.legend(frameon=False, loc="upper left")
    top.set(ylabel="logit", ylim=(None, m + 2))
    low.plot(places, sums, color=BLUE, marker="o", markersize=4, label="l, relative to the m of its time")
    low.plot(
        places,
        [np.exp(z[: int(p + 4.5)] - m).sum() for p in places],
        ":",
        color=INK,
        label="the same sum, relative to the last m",
    )
    low.set(ylabel="sum", xlabel="position in the row (blocks of 8)", ylim=(0, None))
    low.legend(frameon=False, loc="upper left")
    figure.subplots_adjust(left=0.09, right=0.98, top=0.98, bottom=0.12, hspace=0.1)
    return figure


FIGURES = (flash_tiles, tree, paged, kv_memory, beam, ternary, layer_norm_offset, softmax_online)


def write(folder: Path, kind: str = "svg") -> list[Path]:
    """Draw every figure into `folder`; returns the files."""
    matplotlib.use("agg")
    paths = []
    for make in FIGURES:
        with matplotlib.rc_context(STYLE):
            figure = make()
            paths.append(folder / f"{make.__name__}.{kind}")
            figure.savefig(paths[-1], metadata={"Date": None} if kind == "svg" else {}, dpi=110)
            plt.close(figure)
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent):
        print(f"{path} {path.stat().st_size:,} bytes")
