"""report.html: oracles are html.parser and xml.etree (other people's parsers) and the summary itself."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lab.example_summary import DEMO, ZOO, example

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.data.text.split import overlap_warning, split_notes
from weightless.lab.report import byte_breakdown_svg, check_summary, markdown_table, terminal_table, write_report
from weightless.lab.report.page import page

VOID = {"meta", "br", "link", "img", "hr"}


class Reader(HTMLParser):
    """Checks that tags nest, and gathers text by the innermost tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def words(self, *tags: str) -> str:
        return "".join(data for tag, data in self.text if not tags or tag in tags)


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    return reader


def diverged() -> dict:
    summary = example(seeds=(0, 1))
    summary["models"][0]["checks"][0].update(ok=False, detail="3 bytes apart at position 17")
    summary["models"][1].update(bits_per_byte=None, nats_per_token=math.nan)
    for line in summary["models"][1]["curve"][8:]:
        line["val_loss"] = math.inf
    return summary


CASES = {
    "single seed": example(),
    "three seeds": example(seeds=(0, 1, 2)),
    "one model": example(DEMO[1:2]),
    "only counted": example(DEMO[2:]),
    "twelve models": example(ZOO),
    "diverged and failed": diverged(),
}


@pytest.mark.parametrize("case", CASES)
def test_page_is_whole_well_formed_and_alone(case, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(CASES[case]))
    path = write_report(tmp_path)
    markup = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html" and len(markup.encode()) < 500_000
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", markup.replace("// Hover", ""))
    reader = read(markup)
    assert not any(tag in ("link", "img", "iframe", "object") for tag, _ in reader.tags)
    assert not any("src" in attrs for _, attrs in reader.tags)
    ids = [attrs["id"] for _, attrs in reader.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert "nan" not in reader.words("text", "td", "p", "h1").lower().split()
    for svg in re.findall(r"<svg.*?</svg>", markup, re.S):
        root = ElementTree.fromstring(svg)
        assert root.find("title") is not None and root.find("desc") is not None
        assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', re.sub(r"<(title|desc)[^>]*>.*?</\1>", "", svg))


def test_table_holds_the_numbers_of_the_summary():
    words = read(page(example())).words("td")
    for expected in (
        "1.931",
        "2.013",
        "2.214",
        "118 kB",
        "3.28 MB",
        "512 B",
        "91.2 MB",
        "3.10 MB",
        "6.20 MB",
        "8,342",
        "61,230",
        "12.6 M",
    ):
        assert expected in words
    nats = 1.931 * math.log(2) * 3.787
    assert f"{nats:.3f}" in words


def test_interval_is_the_t_interval_of_the_seeds():
    summary = example(seeds=(0, 1, 2))
    losses = [m["bits_per_byte"] for m in summary["models"] if m["name"] == "feather"]
    mean = sum(losses) / 3
    half = 4.302653 * math.sqrt(sum((x - mean) ** 2 for x in losses) / 2 / 3)  # 4.302653: t table, 2 degrees
    assert f"{mean:.3f} ± {half:.3f}" in read(page(summary)).words("td")


def test_hostile_text_is_shown_and_never_run():
    summary = example(DEMO[1:2])
    model = summary["models"][0]
    model["name"] = '<img src=x onerror="alert(1)">'
    model["description"] = "<b>bold</b>"
    model["sample"] = {
        "prompt": "</blockquote><script>",
        "text": "\x1b[31m \x00 \ufffd \u202e \ud800 <script>x</script> & \uffff",
    }
    model["checks"][0]["detail"] = "</td><script>"
    model["commands"]["train"] = "echo '<&>'"
    markup = page(check_summary(summary))
    reader = read(markup)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "img" not in {tag for tag, _ in reader.tags}
    assert "‹1B›[31m ‹00› \ufffd ‹U+202E› \ufffd <script>x</script> & \ufffd" in reader.words("span")
    assert reader.words("mark") == "</blockquote><script>"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", markup)
    for svg in re.findall(r"<svg.*?</svg>", markup, re.S):
        ElementTree.fromstring(svg)


def test_text_that_repeats_its_prompt_shows_it_once():
    summary = example(DEMO[1:2])
    summary["models"][0]["sample"] = {"prompt": "Once", "text": "Once more"}
    reader = read(page(summary))
    assert reader.words("mark") == "Once" and " more" in reader.words("span")
    assert "Once more" not in reader.words("span")


def test_a_failed_check_is_loud_and_a_passed_run_is_calm():
    loud = page(diverged())
    assert 'role="alert"' in loud and "1 check failed" in loud and "3 bytes apart at position 17" in loud
    assert loud.index('role="alert"') < loud.index("<h1")
    assert 'role="alert"' not in page(example()) and "6 of 6 checks passed" in page(example())
    none = example()
    for model in none["models"]:
        model["checks"] = []
    assert "No checks were recorded" in page(none)


def test_a_validation_text_that_repeats_training_is_loud_wherever_results_are_shown():
    """Oracle: the sentence that `data prepare` says of the same manifest (data/test_split.py)."""
    manifest = {
        "splits": {"train": {"documents": 90, "bytes": 90}, "val": {"documents": 10, "bytes": 10}},
        "split": {
            "method": "given",
            "max_overlap": 1.0,
            "dropped_documents": 0,
            "overlapping_documents": 4,
            "equal_documents": 2,
        },
    }
    (said,) = split_notes(manifest)
    summary = example()
    summary["corpus"]["warning"] = overlap_warning(manifest)
    sentence = said.removeprefix("WARNING: v")
    loud = page(summary)
    assert loud.index('role="alert"') < loud.index(f"V{sentence}.") < loud.index("<h1")
    assert f"**V{sentence}.**" in markdown_table(summary)
    assert f"V{sentence}." in str(terminal_table(summary).caption)
    summary["corpus"]["warning"] = ""
    assert "repeats" not in page(summary) + markdown_table(summary) + str(terminal_table(summary).caption)
    summary["corpus"]["warning"] = 4
    with pytest.raises(CorruptFileError, match="corpus.warning should be text"):
        check_summary(summary)


def test_commands_stand_under_the_figures():
    reader = read(page(example()))
    code = reader.words("code")
    for command in (
        "weightless demo --seeds 0",
        "--model feather --seed 0",
        "weightless eval runs/demo/models/dense",
        "weightless count runs/demo/models/ngram",
        "weightless generate",
    ):
        assert command in code


def test_every_missing_key_is_named(tmp_path):
    """Deleting each required key in turn gives a CorruptFileError that says which."""
    summary = example(DEMO[1:2])
    needed = (
        "name",
        "command",
        "corpus.bytes_per_token",
        "models",
        "models.0.family",
        "models.0.touched.T.p99",
        "models.0.components.0.T",
        "models.0.stored.file",
        "models.0.curve.3.val_loss",
        "models.0.checks.1.ok",
        "models.0.sample.text",
    )
    for dotted in needed:
        broken: Any = copy.deepcopy(summary)
        *steps, last = dotted.split(".")
        inner = broken
        for step in steps:
            inner = inner[int(step)] if step.isdigit() else inner[step]
        del inner[last]
        (tmp_path / "summary.json").write_text(json.dumps(broken))
        named = re.sub(r"\.(\d+)", r"[\1]", dotted)
        with pytest.raises(CorruptFileError, match=re.escape(f"{named} is missing")) as caught:
            write_report(tmp_path)
        assert "run the experiment again" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "change, told",
    [
        ({"models": []}, "models is empty"),
        ({"models": "x"}, "models should be a list"),
        ({"name": 3}, "name should be text, not int"),
        ({"wall_seconds": True}, "wall_seconds should be a number, not bool"),
        ({"corpus": None}, "corpus should be an object"),
    ],
)
def test_wrong_kinds_are_named(change, told):
    with pytest.raises(CorruptFileError, match=told):
        check_summary({**example(), **change})


def test_absent_and_damaged_files(tmp_path: Path):
    with pytest.raises(WeightlessError, match="summary.json"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text('{"name": ')
    with pytest.raises(CorruptFileError, match="not valid JSON"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text("[]")
    with pytest.raises(CorruptFileError, match="should be an object"):
        write_report(tmp_path)


def test_unknown_numbers_are_dashes():
    summary = example(DEMO[1:2])
    for key in ("train_seconds", "tokens_seen", "optimizer_bytes", "decode_tokens_per_second", "flops_per_token"):
        summary["models"][0][key] = None
    summary["models"][0].update(curve=None, sample=None, commands=None, description=None)
    assert read(page(check_summary(summary))).words("td").count("–") >= 5


def _numbers_of(value, path=()):
    """Paths of every number within a summary."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers_of(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@pytest.mark.parametrize("start", range(40))
def test_any_number_may_be_missing_or_absurd(start):
    """A page comes out, and parses, whatever a tenth of the numbers are (seeded, 40 draws)."""
    draw = random.Random(start)
    summary = example(seeds=(0, 1))
    for path in list(_numbers_of(summary)):
        if draw.random() < 0.1:
            inner: Any = summary
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = draw.choice([None, math.nan, math.inf, 0, -1, 1e-30, 1e30])
    markup = page(check_summary(summary))
    read(markup)
    for svg in re.findall(r"<svg.*?</svg>", markup, re.S):
        ElementTree.fromstring(svg)


def test_breakdown_alone_is_an_svg_file_whose_bars_add_up():
    ledgers = {
        name: next(m["components"] for m in example()["models"] if m["name"] == name) for name in ("dense", "feather")
    }
    root = ElementTree.fromstring(byte_breakdown_svg(ledgers))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    bars = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("height") == "30"]
    widths = sum(float(r.get("width", 0)) for r in bars)
    assert len(bars) == 12
    assert abs(widths - 2 * 880) < 2 * 12  # each bar fills the width but for 1.5 px gaps
    shown = "".join(root.itertext())
    assert "3.28 MB per token" in shown and "118 kB per token" in shown
    assert "No bytes" in byte_breakdown_svg({"empty": []})


def test_a_divergence_is_told_and_crossed_out_where_it_happened():
    """Oracle: the words of the record, and one cross in each of the two panels."""
    summary = example()
    summary["models"][1].update(
        bits_per_byte=None,
        nats_per_token=None,
        diverged={"detail": "diverged at step 31, batch 31: loss inf", "tokens": 900_000, "seconds": 60.0},
    )
    drawn = page(check_summary(summary))
    assert "feather: diverged at step 31, batch 31: loss inf, not drawn." in drawn
    assert drawn.count("×</text>") == 2 and "<td>diverged</td>" in drawn
    summary["models"][1]["diverged"] = {"tokens": 3}
    with pytest.raises(CorruptFileError, match="diverged.detail is missing"):
        check_summary(summary)
