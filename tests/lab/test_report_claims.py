"""What the report says: the sentence in every case, intervals against published tables, fronts by brute force."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import statistics
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.example_summary import DEMO, ZOO, example

from weightless.base.errors import WeightlessError
from weightless.lab.report import frontier_png, headline, markdown_table, terminal_table
from weightless.lab.report.frontier import Style, lay_out
from weightless.lab.report.groups import gather, pareto
from weightless.lab.report.headline import evidence
from weightless.lab.report.interval import Estimate, estimate, t_critical, unpaired
from weightless.lab.report.labels import Anchor, Box, place_labels, spread
from weightless.lab.report.pairs import against_best
from weightless.lab.report.palette import HUES, accents

NBSP = "\u00a0"


def claim(*models, seeds=(0,)) -> str:
    return str(headline(gather(example(models, seeds)))).replace(NBSP, " ")


def row(name, bpb, touched, family=None):
    return (name, family or name, bpb, touched, 1_000_000, 100.0)


def test_claim_when_the_light_model_wins():
    assert claim(*DEMO) == (
        "feather reaches 1.93 bits per byte touching 118 kB per token: "
        "28× fewer bytes than dense, at a lower loss (2.01)."
    )


def test_a_second_sentence_names_the_best_of_the_light_models():
    counted = (row("dense", 1.89, 3.2e6), row("ngram", 1.57, 300.0), row("countmix", 1.38, 940.0))
    assert claim(*counted) == (
        "ngram reaches 1.57 bits per byte touching 300 B per token: 10,667× fewer bytes than dense, at a lower loss "
        "(1.89). countmix reaches 1.38 touching 940 B, 3,404× fewer bytes."
    )
    assert "countmix" not in claim(*counted[:2], row("countmix", 1.571, 940.0))
    assert "countmix" not in claim(*counted[:2], row("countmix", 1.38, 4e6)), "heavier than the reference"


def test_the_second_sentence_waits_for_the_seeds():
    """Differences to the hero of -0.19 ± 0.02, and of -0.02 with a spread of 0.1."""
    summary = example((row("dense", 1.9, 3e6), row("a", 1.57, 300.0), row("b", 1.38, 940.0)), seeds=(0, 1, 2))
    for b, told in (((1.38, 1.37, 1.39), True), ((1.45, 1.60, 1.63), False)):
        losses = {"dense": (1.9, 1.91, 1.92), "a": (1.57, 1.58, 1.57), "b": b}
        for model in summary["models"]:
            model["bits_per_byte"] = losses[model["name"]][model["seed"]]
        assert ("b reaches" in str(headline(gather(summary)))) == told


def test_claim_when_nothing_light_is_as_good():
    told = claim(row("dense", 1.90, 3e6), row("feather", 2.00, 1e5), row("ngram", 2.3, 500.0))
    assert told == (
        "No model reaches the 1.90 bits per byte of dense with fewer bytes. feather comes closest: 2.00, touching "
        "100 kB per token, 30× fewer bytes."
    )


def test_claim_when_the_reference_is_lightest():
    assert claim(row("dense", 1.9, 1e5), row("moe", 2.0, 2e5)).endswith(": no other model does better.")
    assert claim(row("dense", 1.9, 1e5), row("moe", 1.8, 2e5)).endswith("; moe reaches 1.80 touching 2.0× the bytes.")
    assert claim(row("dense", 1.9, 1e5), row("moe", 1.8, 1e5)).endswith("; moe reaches 1.80 touching as many bytes.")


def test_claim_shows_a_third_decimal_where_two_would_hide_the_difference():
    told = claim(row("dense", 1.934, 3e6), row("feather", 1.931, 1e5))
    assert "1.931" in told and "lower loss (1.934)" in told
    assert claim(row("dense", 1.9311, 3e6), row("feather", 1.9312, 1e5)).startswith("No model reaches")
    assert claim(row("dense", 1.9312, 3e6), row("feather", 1.9311, 1e5)).endswith("at the same loss.")


def test_claim_of_one_model_of_none_and_without_a_dense_one():
    assert claim(DEMO[1]) == "feather reaches 1.93 bits per byte touching 118 kB per token."
    assert claim(row("a", math.nan, 1.0)) == "No model finished with a finite loss."
    assert "fewer bytes than moe" in claim(row("moe", 2.0, 1e6), row("ssm", 1.9, 1e5))


def test_seeds_decide_whether_a_loss_is_lower():
    """Paired differences: 0.05 ± 0.01 is lower; 0.01 with a spread of 0.05 cannot be told."""
    summary = example((row("dense", 2.0, 3e6), row("feather", 1.9, 1e5)), seeds=(0, 1, 2))
    losses = {"dense": (2.00, 2.10, 2.20), "feather": (1.951, 2.049, 2.150)}
    for model in summary["models"]:
        model["bits_per_byte"] = losses[model["name"]][model["seed"]]
    assert "at a lower loss" in str(headline(gather(summary)))
    for model in summary["models"]:
        if model["name"] == "feather":
            model["bits_per_byte"] = (2.05, 2.03, 2.18)[model["seed"]]
    assert "cannot tell from" in str(headline(gather(summary)))


def unpaired_groups():
    """Two models that share no seed, three seeds and four."""
    summary = example((row("dense", 2.0, 3e6), row("feather", 1.9, 1e5)), seeds=(0, 1, 2, 3, 4, 5, 6))
    losses = {"dense": dict(zip((0, 1, 2), DENSE)), "feather": dict(zip((3, 4, 5, 6), FEATHER))}
    summary["models"] = [
        {**model, "bits_per_byte": losses[model["name"]][model["seed"]]}
        for model in summary["models"]
        if model["seed"] in losses[model["name"]]
    ]
    return gather(summary)


DENSE, FEATHER = (2.00, 2.08, 2.03), (1.90, 1.99, 1.93, 1.96)


def test_seeds_that_do_not_pair_give_welchs_interval():
    """Oracle: the standard formula of Welch and Satterthwaite, and Student's density integrated with small steps."""
    (pair,) = against_best(unpaired_groups())
    a, b = statistics.variance(DENSE) / 3, statistics.variance(FEATHER) / 4
    df = (a + b) ** 2 / (a**2 / 2 + b**2 / 3)
    apart = pair.difference.apart
    assert pair.name == "dense" and apart.mean == pytest.approx(statistics.mean(DENSE) - statistics.mean(FEATHER))
    t = apart.half / math.sqrt(a + b)
    x = (np.arange(1_000_000) + 0.5) * (t / 1_000_000)
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    inside = 2 * scale * float(((1 + x * x / df) ** (-(df + 1) / 2)).sum()) * (t / 1_000_000)
    assert inside == pytest.approx(0.95, abs=1e-8)
    assert pair.evidence == "unpaired, Welch's interval over 3 and 4 seeds: apart"
    assert pair.written == f"+{apart.mean:.4f} ± {apart.half:.4f}"


@pytest.mark.parametrize(
    "one, other",
    [
        (DENSE, FEATHER),
        (FEATHER, DENSE[:2]),
        ((1.0, 1.01), FEATHER),
        ((0.1, 0.2), (5.0, 5.5)),
        ((1.0, 2.0), (0.0, 1e-9)),
    ],
)
def test_welchs_interval_is_that_of_scipy(one, other):
    stats = pytest.importorskip("scipy.stats")
    low, high = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    found = unpaired(one, other)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-6)


def test_without_two_values_of_each_there_is_no_interval():
    assert unpaired((1.0, math.nan), (2.0, 3.0)).half is None
    assert unpaired((1.0, 1.0), (2.0, 2.0)) == Estimate(-1.0, 0.0, 4)


def test_a_loss_is_not_called_lower_where_unpaired_seeds_cannot_tell():
    """Both ways: as above it is apart; with one seed of feather far off it is not."""
    groups = unpaired_groups()
    assert "at a lower loss" in str(headline(groups))
    next(g for g in groups if g.name == "feather").members[0]["bits_per_byte"] = 2.15
    groups = [dataclasses.replace(g) for g in groups]  # what was computed of them goes
    assert "cannot tell from" in str(headline(groups))


def test_evidence_names_the_seeds():
    assert evidence(gather(example())).startswith("Single seed")
    assert evidence(gather(example(seeds=(0, 1, 2)))) == (
        "Mean ± half-width of a 95 % t interval over 3 seeds (ngram single seed)."
    )


@pytest.mark.parametrize("flops, told", [(0.0, "Counted, not trained: nothing here is random."), (1e12, "Single seed")])
def test_what_was_trained_without_a_curve_is_not_called_counted(flops, told):
    """A mixture records no learning curve, and yet chance had a hand in it."""
    summary = example([row for row in DEMO if row[1] == "ngram"])
    summary["models"][0]["training_flops"] = flops
    assert evidence(gather(summary)).startswith(told)


@pytest.mark.parametrize(
    "df, table", [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)]
)
def test_t_critical_against_the_printed_table(df, table):
    assert abs(t_critical(df) - table) < 6e-4  # the table has three decimals


def test_estimate_ignores_what_is_not_finite():
    assert estimate([math.nan, 2.0, math.inf]).n == 1 and estimate([2.0]).half is None
    assert not estimate([]).known
    both = estimate([1.0, 3.0])
    assert both.mean == 2.0 and abs((both.half or 0) - 12.7062) < 1e-3  # s = sqrt 2, s / sqrt 2 = 1


def test_names_with_their_seed_are_one_model():
    summary = example(DEMO[:2], seeds=(0, 1))
    for model in summary["models"]:
        model["name"] += f"-seed{model['seed']}"
    assert [(g.name, len(g.members)) for g in gather(summary)] == [("feather", 2), ("dense", 2)]
    summary = example((row("small-100", 2.0, 1e5), row("small-200", 2.0, 2e5)))
    assert [g.name for g in gather(summary)] == ["small-100", "small-200"]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_front_is_what_brute_force_finds(points):
    groups = gather(example([row(f"m{i}", float(b), float(t)) for i, (b, t) in enumerate(points)]))
    found = {(g.loss.mean, g.touched.mean) for g in pareto(groups)}
    expected = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    assert found == expected


@pytest.mark.parametrize("width, height", [(880, 500), (380, 400), (1460, 670)])
@pytest.mark.parametrize("models", [DEMO, ZOO, ZOO[3:6]])
def test_labels_do_not_overlap(models, width, height):
    font = 23 if width > 1000 else 14 if width > 600 else 13
    layout = lay_out(gather(example(models)), Style(width, height, font=font))
    boxes = [m.label.box for m in layout.marks]
    for a, b in itertools.combinations(boxes, 2):
        assert a.shared(b) == 0
    for box in boxes:
        assert box.shared(layout.plot) >= 0.85 * box.area
        for mark in layout.marks:
            r = layout.style.radius
            assert box.shared(Box(mark.x - r, mark.y - r, mark.x + r, mark.y + r)) < 0.25 * 4 * r * r


@pytest.mark.parametrize("style", [Style(880, 500), Style(380, 400, font=13, radius=6.5), Style(1460, 670, 23, 12)])
@pytest.mark.parametrize("between, is_drawn", [(1.949, True), (1.998, False), (2.0, False), (2.004, False)])
def test_the_arrow_of_the_gain_crosses_no_mark(between, is_drawn, style):
    """Oracle: the marks' boxes.  The arrow lies at the reference's loss, 2.0, from 3 MB to 500 B."""
    models = (row("dense", 2.0, 3e6), row("feather", between, 120e3), row("ngram", 1.9, 500.0))
    layout = lay_out(gather(example(models)), style)
    assert (layout.gain is not None) == is_drawn
    if layout.gain is not None:
        at = next(mark for mark in layout.marks if mark.group.name == "feather")
        assert abs(at.y - layout.gain.y) > style.radius


def test_labels_of_a_dense_cluster_are_led_away():
    draw = random.Random(3)
    anchors = [Anchor(300 + draw.uniform(-20, 20), 200 + draw.uniform(-20, 20), 6, 70, 18) for _ in range(8)]
    placed = place_labels(anchors, Box(0, 0, 600, 400))
    assert all(a.box.shared(b.box) == 0 for a, b in itertools.combinations(placed, 2))
    assert any(p.leader for p in placed)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_spread_keeps_order_gap_and_bounds(wanted):
    placed = spread(wanted, 10.0, 0.0, 100.0)
    ranked = sorted(zip(wanted, placed))
    positions = sorted(placed)
    assert [p for _, p in ranked] == pytest.approx(positions) or len(set(wanted)) < len(wanted)
    assert all(b - a > 10 - 1e-6 for a, b in zip(positions, positions[1:]))
    assert positions[0] > -1e-6 and positions[-1] < 100 + 1e-6


def test_accents_are_distinct_and_stable():
    pairs = [(name, family) for name, family, *_ in ZOO]
    found = accents(pairs)
    assert len({(a.light, a.shape) for a in found.values()}) == len(ZOO)
    assert accents([("dense", "dense")])["dense"].light == found["dense"].light == HUES[1][0]


def _contrast(one: str, other: str) -> float:
    """WCAG contrast of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_accent_reads_on_its_page():
    """WCAG AA asks 4.5 of text."""
    for light, dark in HUES:
        assert _contrast(light, "#fdfcfa") >= 4.5 and _contrast(dark, "#171614") >= 4.5


def test_markdown_has_every_model_its_numbers_and_the_command():
    summary = example(seeds=(0, 1, 2))
    summary["models"][0]["name"] = summary["models"][1]["name"] = summary["models"][2]["name"] = "de|nse"
    lines = markdown_table(summary).splitlines()
    assert [line.count(" | ") for line in lines[:1]] == [9] and len(lines[2:5]) == 3
    assert lines[3].startswith("| feather | 1.9") and "118 kB" in lines[3] and "±" in lines[3]
    assert lines[4].startswith("| de\\|nse | ")
    assert "weightless demo --seeds 0 1 2" in lines and "14 of 14 checks passed." in "\n".join(lines)


def test_terminal_table_tells_a_failed_check():
    from rich.console import Console

    summary = example()
    summary["models"][0]["checks"][0]["ok"] = False
    console = Console(width=140, record=True, file=open("/dev/null", "w"))
    with console.file:
        console.print(terminal_table(summary))
    shown = " ".join(console.export_text().split())
    assert "1 of 6 checks FAILED. dense: formula = engine log." in shown and "118 kB" in shown and "1.931" in shown


def test_png_is_whole_and_of_the_stated_size(tmp_path):
    path = frontier_png(example(ZOO), tmp_path / "frontier.png")
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (1600, 900)
    assert zlib.crc32(data[12:29]) == struct.unpack(">I", data[29:33])[0]
    assert len(data) < 200_000
    with pytest.raises(WeightlessError, match="no frontier"):
        frontier_png(example((row("a", math.nan, 1.0),)), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
