"""Studies made up for tests: cells with planted figures."""

from __future__ import annotations

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
