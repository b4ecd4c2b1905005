"""Studies made up for tests: cells with planted figures."""

from __future__ import annotations

import numpy as np

from weightless.study.cells import Cell, Evidence


def cell(arm, seed, loss=None, status="done", setting=None, curve=(), reason="", family="dense", **figures):
    """A cell whose loss in nats is `loss`, with three bytes a token."""
    if loss is not None:
        figures = {"nats_per_token": loss, "bits_per_byte": loss / (3 * 0.6931471805599453), **figures}
    return Cell(arm, seed, status, family, setting or {}, figures, curve, reason)


def evidence(cells, prediction=(), kind="generic", name="planted", **more):
    """The evidence of such cells."""
    question = {"text": "Which one?", "hypothesis": "A.", "prediction": list(prediction)}
    return Evidence(name, {"name": name, "kind": kind, "question": question}, cells, **more)


def arms(**losses):
    """Cells of arms with one loss per seed: arms(A=[1.0, 1.1], B=[…])."""
    return [cell(arm, seed, loss) for arm, values in losses.items() for seed, loss in enumerate(values)]


def curve(last, steps=2000, points=12, seconds=60.0, ends_at=None):
    """A learning curve to `last` nats; with `ends_at` it stops there, as a run that diverges does."""
    lines = []
    for k in range(1, points + 1):
        step = steps * k // points
        if ends_at is not None and step > ends_at:
            break
        loss = last + (6.5 - last) * 2.0 ** (-9 * k / points)
        lines.append({"step": step, "tokens": step * 512, "seconds": seconds * k / points, "val_loss": loss})
    return lines


def trained(arm, seed, loss, setting=None, family="dense", rng=None, **figures):
    """A finished cell with a curve and all figures."""
    loss = loss + (rng.normal(0, 0.006) if rng is not None else 0.0)
    usual = {
        "touched": 1.2e6,
        "stored": 1.9e6,
        "parameters": 2.1e6,
        "tokens_seen": 1.02e6,
        "train_seconds": 61.0 + seed,
        "tokens_per_second": 17_000.0 + 100 * seed,
        "memory": 3.1e8,
    }
    figures = {**usual, **figures}
    lines = curve(loss, seconds=figures["train_seconds"])
    return cell(arm, seed, loss, setting=setting, curve=lines, family=family, **figures)


def lost(arm, seed, setting=None, status="diverged", reason="loss nan at step 310 of 2000"):
    return cell(arm, seed, None, status, setting, curve(3.0, ends_at=340) if status == "diverged" else (), reason)


QUESTION = {
    "lr": "Is the best learning rate next to the edge of divergence?",
    "batch": "What does a larger batch cost at equal tokens, with the rate scaled by the square root?",
    "ablations": "Which parts of the block can be left out?",
    "scaling": "Where, in training time, does the neural model overtake the table?",
    "frontier": "Which families reach the least loss within so many bytes?",
    "corpora": "How far apart are two texts for one architecture?",
    "golf": "Does the shared block win at equal steps, and at equal time?",
    "generic": "Which one?",
}
PREDICTION = {
    "lr": ["best(train.max_lr, data.source=books) within 4x of edge(train.max_lr, data.source=books)"],
    "batch": [
        '"batch=256".tokens_per_second > 2 * "batch=16".tokens_per_second',
        '"batch=256" - "batch=16" < 0.05 nats',
    ],
    "ablations": ["order(pre, post, nope)", "nope - pre < 0.02 nats", "diverges(no-norm)", "silu - pre > 0.01 nats"],
    "scaling": ['"dense 1M 1e8" < "ngram 1e8"'],
    "frontier": ['"feather m".touched / "dense m".touched < 0.1', '"feather m" - "dense m" < 0.02 nats'],
    "corpora": ["fables < books"],
    "golf": ["shared - wide < 0 nats"],
    "generic": ["A < B"],
}


def study_of(kind, seeds=3):
    """A whole study of a kind with planted answers, one cell that failed and one that was lost."""
    rng = np.random.default_rng(len(kind))
    cells = list(CELLS[kind](rng, range(seeds)))
    study = {
        "name": f"{kind}-planted",
        "kind": kind,
        "question": {
            "text": QUESTION[kind],
            "hypothesis": "The loss falls with the rate until training breaks, so the best rate lies close below.",
            "prediction": PREDICTION[kind],
            "does_not_show": "One size, one text and one schedule: whether the edge moves with width is another study.",
            "next": "The same at three widths, with the rate scaled by width.",
        },
        "base": {"recipe": "recipes/books.toml", "family": "dense", "config": {"d_model": 128, "n_layers": 4}},
        "controls": {"match": "tokens"},
        "seeds": list(range(seeds)),
        "data": {"source": "books", "train_bytes": 30_000_000, "tokenizer": "bpe 4096"},
        "eval": {"windows": 512, "context": 256},
    }
    return Evidence(
        f"{kind}-planted",
        study,
        cells,
        {cells[-1].arm: {"parameters": 0.004, "tokens": 0.0}},
        "0e82b27",
        {"cpu": "a processor with two cores", "cores": 2, "memory": "20 GiB"},
        f"weightless study studies/{kind}.toml",
    )


def _lr(rng, seeds):
    for source, best in (("books", -6.6), ("fables", -7.4)):
        for k in range(-12, -3):
            setting = {"train.max_lr": 2.0**k, "data.source": source}
            for seed in seeds:
                arm = f"{source} lr={2.0**k:.2g}"
                if k >= -4 and (source == "books" or seed):
                    yield lost(arm, seed, setting)
                elif (k, seed) == (-12, 1):
                    yield lost(arm, seed, setting, "failed", "OSError: no space left on device (three tries)")
                else:
                    level = 1.9 if source == "books" else 1.2
                    yield trained(arm, seed, level + 0.03 * (k - best) ** 2, setting, rng=rng)


def _batch(rng, seeds):
    for k in range(9):
        b = 2**k
        setting = {"train.batch": b, "train.max_lr": 1e-3 * b**0.5}
        for seed in seeds:
            speed = 30_000 * b / (b + 24)
            more = {"tokens_per_second": speed + 90 * seed, "train_seconds": 1.02e6 / speed, "memory": 1e8 + 4e6 * b}
            yield trained(f"batch={b}", seed, 1.95 + 0.012 * (k - 4) ** 2, setting, rng=rng, **more)


def _ablations(rng, seeds):
    for arm, loss in (("pre", 1.93), ("post", 1.99), ("nope", 1.934), ("silu", 1.95), ("no-norm", None)):
        for seed in seeds:
            setting = {"config.norm": arm}
            if loss is None:
                yield lost(arm, seed, setting)
            elif (arm, seed) == ("silu", 2):
                yield lost(arm, seed, setting, "lost", "")
            else:
                yield trained(arm, seed, loss, setting, rng=rng)


def _scaling(rng, seeds):
    for n, name in ((2e5, "200k"), (1e6, "1M"), (5e6, "5M")):
        for tokens in (1e6, 1e7, 1e8):
            loss = 1.15 + 200 / n**0.45 + 40 / tokens**0.3
            more = {"parameters": n, "tokens_seen": tokens, "train_seconds": 6 * n * tokens / 2e11}
            for seed in seeds:
                yield trained(
                    f"dense {name} {tokens:.0e}".replace("+0", ""), seed, loss, {"tokens": tokens}, rng=rng, **more
                )
    for tokens in (1e6, 1e7, 1e8):
        more = {"parameters": tokens / 4, "tokens_seen": tokens, "train_seconds": tokens / 2e6}
        for seed in seeds:
            arm = f"ngram {tokens:.0e}".replace("+0", "")
            yield cell(arm, seed, 1.55 + 30 / tokens**0.25, setting={"tokens": tokens}, family="ngram", **more)


def _frontier(rng, seeds):
    for family, loss, size in (
        ("dense", 1.9, 2e6),
        ("feather", 1.93, 9e4),
        ("experts", 1.86, 8e5),
        ("ngram", 2.4, 900.0),
    ):
        for k, name in enumerate("sml"):
            for seed in seeds:
                more = {"touched": size * 3.0 ** (k - 1), "stored": size * 5}
                yield trained(f"{family} {name}", seed, loss - 0.08 * k, {"size": name}, family, rng, **more)


def _two(rng, seeds, names, losses):
    for arm, loss in zip(names, losses):
        for seed in seeds:
            yield trained(arm, seed, loss, {"arm": arm}, rng=rng)


CELLS = {
    "lr": _lr,
    "batch": _batch,
    "ablations": _ablations,
    "scaling": _scaling,
    "frontier": _frontier,
    "corpora": lambda rng, seeds: _two(rng, seeds, ("fables", "books"), (1.2, 1.9)),
    "golf": lambda rng, seeds: _two(rng, seeds, ("wide", "shared"), (1.93, 1.935)),
    "generic": lambda rng, seeds: _two(rng, seeds, ("A", "B"), (1.93, 1.91)),
}
