"""docs/sixteen_megabytes.md, made from the recorded runs of the laptop's competition; nothing on it is typed by hand.

    python benchmarks/sixteen_megabytes.py [--recorded runs/recorded] [--page docs/sixteen_megabytes.md]

An arm beside the base, seed by seed: d = bits per byte of the arm - bits per byte of the base, its mean and the
half-width of its 95 % Student t interval.  "At equal tokens" takes the tokens out that the same seconds bought,
d = a_arm + b ln(tokens / tokens of the base) by least squares, one b for all arms that saw other numbers of tokens.
Predictions are read where they were written, in the heads of the recipes; an arm did `as foretold` when the interval of
its difference, widened by 0.01 bits per byte, holds the predicted difference, and else `better` or `worse`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from equal_tokens import at_equal_tokens, name_of

from weightless.base.files import atomic_write
from weightless.base.units import human_bytes
from weightless.lab.report.interval import Estimate, estimate

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORDED = ROOT / "docs/sixteen_megabytes.md", ROOT / "runs/recorded"
SLACK = 0.01
CAP = 16_000_000
BASE = "base"
_FORETOLD = re.compile(r"([A-Za-z][\w.-]*) ([+-]?\d+\.\d+)")


@dataclass(frozen=True)
class Arms:
    """One recorded run: its models by the recipe's names, seed by seed."""

    name: str
    models: dict[str, dict[int, dict]]
    foretold: dict[str, float]

    def bits(self, arm: str) -> Estimate:
        return estimate(model["bits_per_byte"] for model in self.models[arm].values())

    def mean(self, arm: str, what: str) -> float:
        found = [float(model[what] or 0) for model in self.models[arm].values()]
        return sum(found) / len(found)

    def beside(self, arm: str, base: str = BASE, field: str = "bits_per_byte") -> Estimate:
        """d over the seeds that both have."""
        mine, others = self.models[arm], self.models[base]
        return estimate(mine[seed][field] - others[seed][field] for seed in mine if seed in others)


def arms_of(folder: Path, recipes: Path = ROOT / "recipes") -> Arms:
    """Read a recorded summary, and what the recipe of that name foretold."""
    summary = json.loads((folder / "summary.json").read_text())
    models: dict[str, dict[int, dict]] = {}
    for model in summary["models"]:
        models.setdefault(name_of(model), {})[model["seed"]] = model
    head = [line[1:] for line in (recipes / f"{folder.name}.toml").read_text().splitlines() if line.startswith("#")]
    told = {name: float(value) for name, value in _FORETOLD.findall(" ".join(head)) if name in models}
    return Arms(folder.name, models, told)


def equal_tokens(arms: Arms) -> tuple[dict[str, tuple[float, float]], float]:
    """(a, half-width) of the arms whose tokens differ from the base's, and b, in bits per byte."""
    base = arms.models[BASE]
    found = {}
    for arm, models in arms.models.items():
        if arm == BASE or not all(model["train_seconds"] and model["tokens_seen"] for model in models.values()):
            continue
        if not any(point["train_loss"] for model in models.values() for point in model["curve"] or ()):
            continue
        found[arm] = [
            (m["bits_per_byte"] - base[s]["bits_per_byte"], math.log(m["tokens_seen"] / base[s]["tokens_seen"]))
            for s, m in models.items()
            if s in base
        ]
    return at_equal_tokens(found) if found else ({}, 0.0)


def spelled(value: Estimate, signed: bool = True) -> str:
    sign = "+" if signed and value.mean >= 0 else ""
    half = "" if value.half is None else f" ± {value.half:.3f}"
    return f"{sign}{value.mean:.3f}{half}"


def verdict(measured: Estimate, foretold: float) -> str:
    reach = measured.reach + SLACK
    if abs(measured.mean - foretold) <= reach:
        return "as foretold"
    return "better" if measured.mean < foretold else "worse"


def ideas(time: Arms, steps: Arms) -> list[str]:
    """One line an idea: at equal time, at equal tokens, at equal steps, and what was foretold of it."""
    corrected, slope = equal_tokens(time)
    lines = [
        "| idea | bits per byte | beside base, equal seconds | foretold | it did | corrected to equal tokens "
        "| equal steps | foretold | it did | stored | touched / token | tokens seen |",
        "|---|---:|---:|---:|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for arm in time.models:
        there = time.beside(arm)
        told = time.foretold[arm] - time.foretold[BASE]
        same = "{:+.3f} ± {:.3f}".format(*corrected[arm]) if arm in corrected else ""
        stepped = (
            [spelled(steps.beside(arm)), f"{steps.foretold.get(arm, 0.0):+.2f}"] if arm in steps.models else ["", ""]
        )
        did = verdict(steps.beside(arm), steps.foretold.get(arm, 0.0)) if arm in steps.models else ""
        if arm == BASE:
            cells = [spelled(time.bits(arm), False), "", f"({time.foretold[BASE]:.2f})", "", "", "", "", ""]
        else:
            cells = [spelled(time.bits(arm), False), spelled(there), f"{told:+.3f}", verdict(there, told), same]
            cells += [*stepped, did]
        sizes = [
            human_bytes(size_of(time, arm)) + (" (above the cap)" if size_of(time, arm) > CAP else ""),
            human_bytes(touched(time, arm)),
            f"{time.mean(arm, 'tokens_seen') / 1e6:.2f} M",
        ]
        lines.append("| " + " | ".join([arm, *cells, *sizes]) + " |")
    return [*lines, "", f"One e-fold more tokens is worth {-slope:.3f} bits per byte here."]


def size_of(arms: Arms, arm: str) -> float:
    """Bytes of the artifact."""
    return sum(model["stored"]["file"] for model in arms.models[arm].values()) / len(arms.models[arm])


def touched(arms: Arms, arm: str) -> float:
    return sum(model["touched"]["T"]["mean"] for model in arms.models[arm].values()) / len(arms.models[arm])


COMBINED = {"rows-scan": ("rows", "scan"), "inside": ("countmix", "rows"), "inside-scan": ("countmix", "rows", "scan")}
"""What was put together, of which ideas."""


def sums(time: Arms, combined: Arms) -> list[str]:
    """Base and the gains of the parts added up, beside what the combination has."""
    lines = [
        "| together | of | base and their gains added up | measured | of the sum of gains | foretold |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, parts in COMBINED.items():
        arms = combined if name in combined.models else time
        base = time.bits(BASE).mean
        gains = [time.beside(part).mean for part in parts]
        have = arms.bits(name)
        share = (have.mean - base) / sum(gains)
        told = f"{arms.foretold[name]:.3f}"
        lines.append(
            f"| {name} | {', '.join(parts)} | {base + sum(gains):.3f} | {spelled(have, False)} | {share:.0%} | {told} |"
        )
    return lines


def refuted(time: Arms, steps: Arms) -> list[str]:
    """The ideas that cost something at equal seconds, and whether they do at equal steps."""
    lines = []
    for arm in time.models:
        there = time.beside(arm)
        if arm == BASE or there.mean - there.reach <= 0:
            continue
        also = steps.beside(arm) if arm in steps.models else None
        if also is None:
            word = "was not tried at equal steps"
        elif also.mean - also.reach > 0:
            word = f"and costs {spelled(also)} at equal steps, too"
        elif also.mean + also.reach < 0:
            word = f"though at equal steps it gains: {spelled(also)}"
        else:
            word = f"and at equal steps is not told apart from base: {spelled(also)}"
        lines.append(f"- **{arm}** costs {spelled(there)} at equal seconds, {word}.")
    return lines or ["- None."]


def winner(arms: Arms, record: Mapping[str, object]) -> list[str]:
    """The submission: bytes, score, seeds."""
    name = next(iter(arms.models))
    seconds = arms.mean(name, "train_seconds")
    scores = ", ".join(f"{model['bits_per_byte']:.4f}" for model in arms.models[name].values())
    return [
        f"**{spelled(arms.bits(name), False)} bits per byte** over {len(arms.models[name])} seeds ({scores}), foretold "
        f"{arms.foretold[name]:.3f}; {seconds:,.0f} s of processor time for each, counting included; "
        f"{human_bytes(touched(arms, name))} touched per token. On all {record['eval_tokens']:,} held-out targets the "
        f"one that is handed in, seed {record['seed']}, has {record['val_bpb']:.4f}.",
        "",
        "| | bytes |",
        "|---|---:|",
        f"| code, `train_gpt.py` in UTF-8 | {record['bytes_code']:,} |",
        f"| weights, `model.wlz` | {record['bytes_weights']:,} |",
        f"| total | {record['bytes_total']:,} |",
        f"| margin under {CAP:,} | {CAP - int(str(record['bytes_total'])):,} |",
    ]


def page(recorded: Path = RECORDED) -> str:
    """The whole page, from the recorded runs alone."""
    time, steps = arms_of(recorded / "golf_laptop"), arms_of(recorded / "golf_laptop_steps")
    combined, best = arms_of(recorded / "golf_combined"), arms_of(recorded / "golf_winner")
    record = json.loads((recorded / "golf_winner/submission.json").read_text())
    vocabulary = (recorded / "vocabulary/results.md").read_text().strip()
    seeds = len(time.models[BASE])
    seconds = time.mean(BASE, "train_seconds")
    parts = [
        "# The best 16,000,000 bytes of ten minutes",
        "What is the best language model in at most 16,000,000 bytes, code included, that two cores can make of\n"
        "115 MB of books in ten minutes? Every idea of the list was an arm beside one base, then what won was put\n"
        "together. This page is written by `python benchmarks/sixteen_megabytes.py` from the\n"
        "recorded runs; a test holds it to them.",
        "## The winner",
        *winner(best, record),
        "",
        f"```\n{command(best)}\n"
        "weightless golf build runs/golf_winner --out submission --author somebody --decode_only\n"
        "weightless golf check submission --data runs/golf_winner/data\n```",
        "## Every idea by itself",
        f"{seconds:,.0f} s of one core's processor time for each, {seeds} seeds, int8 unless it says otherwise;\n"
        "differences are paired by seed, in bits per byte, with half-widths of 95 % t intervals. Counted models\n"
        "(ngram, countmix) are made in the time that they take; the teacher of `distilled` is in nobody's budget.\n"
        "`stored` is the artifact before it is squeezed. Under a clock nobody knows how many windows there will\n"
        "be, so `curriculum` sorts a whole epoch and sees its most compressible part alone; at equal steps it sorts\n"
        "what it sees.",
        *ideas(time, steps),
        "## What failed",
        *refuted(time, steps),
        "## Do the gains add up?",
        *sums(time, combined),
        "## Which vocabulary?",
        vocabulary,
        "## Make it again",
        "The text: `python recipes/books_text.py CLONE runs/text` ([README](../README.md)). Then",
        "```\n" + "\n".join(command(arms) for arms in (time, steps, combined, best)) + "\n```",
    ]
    return joined(parts)


def command(arms: Arms) -> str:
    """What made a run."""
    texts = "--text runs/text/books_train.txt.xz --validation runs/text/books_valid.txt.xz"
    return f"weightless run {arms.name} {texts} --out runs/{arms.name}"


def joined(parts: list[str]) -> str:
    """Lines, with an empty one around headings and tables."""
    text, before = "", ""
    for part in parts:
        both = (before[:1], part[:1])
        apart = "" if both in (("|", "|"), ("-", "-")) or not before or not part else "\n"
        text += f"{apart}{part}\n" if part else "\n"
        before = part
    return re.sub(r"\n{3,}", "\n\n", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    atomic_write(asked.page, page(asked.recorded))


if __name__ == "__main__":
    main()
