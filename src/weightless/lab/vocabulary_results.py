"""What a vocabulary study found: a row per vocabulary with intervals over seeds, pairs against the best, a picture.

results(study, folder, arms) -> Results      of what is finished; .markdown()  .as_json()
draw(results, folder)                        vocabulary.svg and vocabulary.png, for two sizes or more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.units import human_bytes
from weightless.lab.fit import width_of
from weightless.lab.report.groups import Group, gather
from weightless.lab.report.headline import spelled
from weightless.lab.report.pairs import Pair, against_best
from weightless.lab.report.summary import read_summary
from weightless.lab.report.table import as_bytes, as_count
from weightless.lab.report.vocabulary_trained import Point, trained_png, trained_svg
from weightless.lab.vocabulary_study import Planned, VocabularyStudy, artifact_bytes

MOST_NAMED = 3
DIALS = ("d_model", "n_layers", "d_ff")
HEADER = (
    "vocabulary",
    "bits per byte",
    "bytes per token",
    "shape",
    "parameters",
    "stored",
    "of it tokenizer",
    "bytes touched / token",
    "tokens seen",
    "text seen",
)


@dataclass(frozen=True)
class Finding:
    """One finished vocabulary: `group` holds its seeds; bytes are those of the largest artifact among them."""

    kind: str
    size: int
    group: Group
    bytes_per_token: float
    shape: str
    stored: int
    tokenizer_bytes: int
    val_bytes: int

    def cells(self) -> list[str]:
        """The row as text."""
        group = self.group
        seen = group.over_seeds(lambda m: m["tokens_seen"])
        text = group.over_seeds(lambda m: m["tokens_seen"] * self.bytes_per_token)
        return [
            self.group.name,
            spelled(group.loss, 4) if group.loss.known else "diverged",
            f"{self.bytes_per_token:.3f}",
            self.shape,
            as_count(group.over_seeds(lambda m: m["n_parameters"])),
            f"{self.stored:,}",
            f"{self.tokenizer_bytes:,}",
            as_bytes(group.touched),
            as_count(seen),
            as_bytes(text),
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "kind": self.kind,
            "vocab_size": self.size,
            "bits_per_byte": {str(m["seed"]): m["bits_per_byte"] for m in self.group.members},
            "mean": self.group.loss.mean if self.group.loss.known else None,
            "half": self.group.loss.half,
            "bytes_per_token": self.bytes_per_token,
            "shape": self.shape,
            "stored": self.stored,
            "tokenizer_bytes": self.tokenizer_bytes,
            "val_bytes": self.val_bytes,
            "n_parameters": self.group.members[0]["n_parameters"],
            "tokens_seen": [m["tokens_seen"] for m in self.group.members],
            "train_seconds": [m["train_seconds"] for m in self.group.members],
        }


@dataclass(frozen=True)
class Results:
    """Findings in the order of the study, and how many vocabularies are still to come."""

    study: VocabularyStudy
    findings: tuple[Finding, ...]
    n_missing: int

    @property
    def pairs(self) -> list[Pair]:
        """Every other vocabulary against the best."""
        return against_best([finding.group for finding in self.findings])

    def claim(self) -> str:
        """What the table shows, in a sentence that the intervals bear."""
        best = min((f.group for f in self.findings if f.group.loss.known), key=lambda g: g.loss.mean)
        near = [p.name for p in self.pairs if p.difference.apart.half is None or "not told" in p.evidence]
        begin = f"{best.name} has the fewest bits per byte, {best.loss.mean:.3f}"
        if any(p.difference.apart.half is None for p in self.pairs):
            return f"{begin} (single seed: no interval)"
        if len(near) > MOST_NAMED:
            return f"{begin}, not told apart from {len(near)} others of {len(self.pairs)}"
        return f"{begin}, not told apart from {' and '.join(near)}" if near else f"{begin}, apart from all others"

    def rows(self) -> list[list[str]]:
        """One row per vocabulary."""
        return [finding.cells() for finding in self.findings]

    def notes(self) -> list[str]:
        """What stands under the table."""
        study, seeds = self.study, len(self.study.seeds)
        over = [f.group.name for f in self.findings if f.stored > study.budget]
        texts = {f.val_bytes for f in self.findings}
        told = [
            f"{study.model.family}, artifact and tokenizer within {study.stored}; {self._made()}; "
            + (f"mean ± half-width of a 95 % t interval over {seeds} seeds." if seeds > 1 else "single seed."),
            f"Scored from the artifact on {' or '.join(human_bytes(n) for n in sorted(texts))} of held-out text"
            + (" (SentencePiece models rewrite some of it)." if len(texts) > 1 else ", the same for all."),
        ]
        told += [f"{p.name}: {p.written} bits per byte beside {p.best} ({p.evidence})." for p in self.pairs]
        told += [f"NOT within the budget: {', '.join(over)}."] if over else []
        return told + ([f"{self.n_missing} vocabularies are still to be trained."] if self.n_missing else [])

    def _made(self) -> str:
        """How long everybody learned."""
        study = self.study
        if study.is_counted:
            return "counted from all of the text, nothing random"
        ends = f"{study.train_megabytes:g} MB of text" if study.train_megabytes else _ends(study.model.train)
        return f"each trained for {ends}"

    def markdown(self) -> str:
        """The table and its notes."""
        lines = [f"| {' | '.join(HEADER)} |", "|---|" + "---:|" * (len(HEADER) - 1)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows()]
        return "\n".join([*lines, "", *self.notes()])

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.study.name, "findings": [f.as_json() for f in self.findings], "missing": self.n_missing}


def shape_of(config: Any) -> list[str]:
    """What the dials were turned to, by name and number, never the 0 that stands for what suits `d_model`."""
    return [f"{name} {width_of(config, name)}" for name in DIALS if hasattr(config, name)]


def _ends(train: dict[str, Any]) -> str:
    if "seconds" not in train:
        return f"{train['num_steps']:,} steps"
    return f"{train['seconds']:g} s of {'processor' if train.get('clock') == 'cpu' else 'wall'} time"


def results(study: VocabularyStudy, folder: Path, arms: Sequence[Planned]) -> Results:
    """What is finished of the study in `folder`."""
    found = []
    for arm in arms:
        made = folder / "runs" / arm.arm.name
        if not (made / "summary.json").exists():
            continue
        (group,) = gather(read_summary(made))
        if len(group.members) == len(study.seeds):
            found.append(_finding(arm, made, Group(arm.arm.name, group.family, group.members)))
    return Results(study, tuple(found), len(arms) - len(found))


def _finding(arm: Planned, made: Path, group: Group) -> Finding:
    sizes = [artifact_bytes(made, m) for m in group.members if m["artifact"]]
    train, val = arm.corpus.manifest["splits"]["train"], arm.corpus.manifest["splits"]["val"]
    config = arm.recipe.model[0].build_config(arm.corpus.vocab_size)
    shape = " ".join(shape_of(config))
    return Finding(
        arm.arm.kind,
        arm.arm.size,
        group,
        train["bytes"] / train["tokens"],
        shape,
        max(sizes, default=0) + arm.beside,
        arm.tokenizer_bytes,
        val["bytes"],
    )


def draw(found: Results, folder: Path) -> list[Path]:
    """The picture, if a line joins at least two sizes of one kind."""
    series: dict[str, list[Point]] = {}
    for f in found.findings:
        if f.group.loss.known:
            series.setdefault(f.kind, []).append(Point(f.size, f.group.loss.mean, f.group.loss.reach))
    if not series or any(len(points) < 2 for points in series.values()):
        return []
    told = (found.claim(), " ".join(found.notes()[:2]))
    return [
        trained_svg(series, folder / "vocabulary.svg", *told),
        trained_png(series, folder / "vocabulary.png", *told),
    ]
