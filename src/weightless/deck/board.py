"""`weightless deck board`: models × challenges as one page that opens from disk and needs nothing else (floor 9).

A row is a model in one wording, a cell five marks, one a level: filled as far as the attempts got.  Beneath it stands
what happened in words, so that colour is never the only carrier.  Then what failed, one line each, with links to the
evidence, and under which conditions it was graded.  Style and script are the house's (lab/report) and board.css.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from weightless.base.units import human_seconds
from weightless.deck.card import Card
from weightless.deck.interview import exchanges_file
from weightless.deck.outcome import LEVELS
from weightless.deck.results import Result
from weightless.deck.standing import Attempt, Cell, Row, doubts, level_with, missing, wilson
from weightless.lab.report.page import document
from weightless.lab.report.svg import element, escape

MANY, OPEN_UP_TO = 12, 4
_MARK, _GAP = 10.0, 2.0
_HERE = Path(__file__).parent
_METHOD = (
    "An attempt at a card passes or does not; levels are reached one after another. The interval is Wilson's of 95 %. "
    "Over all cards it pools cards of unequal difficulty, so it orders those who answered the same deck, and says "
    "nothing else. Own tests: how many of our mistakes the tests of a solution caught. They, and what a person or a "
    "model read in the write-up, stand beside the grade and are no part of it."
)


def page(rows: Sequence[Row], cards: Sequence[Card], title: str, at: Path) -> str:
    """The page as text; links to the evidence are relative to the folder `at`, in which the page will lie."""
    graded = sum(row.n for row in rows)
    attempts = sum(len(row.attempts) for row in rows)
    claim = _claim(rows)
    told = f"{_count(attempts, 'attempt')}, {_count(graded, 'graded answer')} to {_count(len(cards), 'challenge')}."
    if close := level_with(rows):
        told += (
            f" The intervals of {_count(len(close), 'other row')} reach into that of a first: more attempts would tell."
        )
    header = element(
        "header",
        element("p", f"weightless deck · {escape(title)}", class_="kicker"),
        _alarm(doubts(rows)),
        element("h1", escape(claim)),
        element("p", escape(told), class_="standfirst"),
    )
    body = [
        header,
        element(
            "section", _table(rows, cards), _legend(), element("p", escape(_METHOD), class_="note"), class_="first"
        ),
        element(
            "section", element("h2", "What failed, and the evidence"), *_failures(rows, cards, at), class_="failures"
        ),
        element("section", element("h2", "Conditions"), _conditions(rows)),
    ]
    style = (_HERE / "board.css").read_text(encoding="utf-8")
    return document(f"{title}: {claim}", element("main", *body), [], style)


def _claim(rows: Sequence[Row]) -> str:
    """Who leads in the first wording that there is."""
    first = [row for row in rows if row.variant == rows[0].variant and row.n]
    best = [row for row in first if row.rank == 1]
    if not best or not best[0].passes:
        return "Nobody has passed a challenge yet" if best else "Nothing is graded yet"
    names = [row.model for row in best]
    who = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    who = who if len(names) <= 3 else f"{len(names)} models"
    wording = f" in the {best[0].variant} wording" if len({row.variant for row in rows}) > 1 else ""
    return f"{who} {'leads' if len(names) == 1 else 'lead'} with {best[0].passes} of {best[0].n} passed{wording}"


def _alarm(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    head = element("strong", "Do not compare these grades before this is settled.")
    return element("div", head, element("ul", *(element("li", escape(s)) for s in sentences)), class_="alarm")


def _table(rows: Sequence[Row], cards: Sequence[Card]) -> str:
    costs = any(row.taken() for row in rows)
    heads = [element("th", "&#8203;", scope="col"), element("th", "model", scope="col", class_="model")]
    heads.append(element("th", "passed", element("small", "95 % interval"), scope="col"))
    for card in cards:
        name = escape(card.name).replace("_", "_&#8203;")
        heads.append(element("th", name, element("small", card.difficulty), scope="col", class_="card"))
    heads += [element("th", "took", scope="col", class_="took")] if costs else []
    several, lines = len({row.variant for row in rows}) > 1, list[str]()
    for number, row in enumerate(rows):
        if several and (number == 0 or rows[number - 1].variant != row.variant):
            part = element("th", f"{row.variant} wording", class_="part", colspan=len(heads), scope="colgroup")
            lines.append(element("tr", part))
        lines.append(_line(number, row, rows, cards, costs))
    many = " many" if len(rows) > MANY else ""
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_=f"board{many}")
    return element("div", table, class_="scroll", tabindex=0)


def _line(number: int, row: Row, rows: Sequence[Row], cards: Sequence[Card], costs: bool) -> str:
    twins = [other for other in rows if other.model == row.model and other.variant != row.variant and other.n]
    about = [_count(len(row.attempts), "attempt"), *(f"{o.variant} {o.passes}/{o.n}" for o in twins)]
    reads = [rubric.told() for attempt in row.attempts for rubric in attempt.rubrics.values() if rubric.told()]
    about += [f"{len(reads)} write-up{'s' if len(reads) > 1 else ''} read"] if reads else []
    link = element("a", escape(row.model), href=f"#row{number}")
    parts = [element("td", str(row.rank) if row.n else "–", class_="rank")]
    parts.append(element("th", link, element("small", escape(" · ".join(about))), scope="row", class_="model"))
    parts.append(element("td", _score(row), class_="score"))
    parts += [element("td", _cell(row, card)) for card in cards]
    parts += [element("td", _took(row), class_="took")] if costs else []
    return element("tr", *parts)


def _score(row: Row) -> str:
    if not row.n:
        return element("small", "not graded")
    low, high = wilson(row.passes, row.n)
    gone = missing(row, list(row.cells))
    told = element("small", f"{low:.0%} to {high:.0%}") + _reach(row.passes / row.n, low, high)
    return element("b", f"{row.passes}/{row.n}") + told + (element("small", f"{gone} not graded") if gone else "")


def _reach(share: float, low: float, high: float) -> str:
    """The interval as a band, the share as a dot, on a line from 0 to 1."""
    left, width = 5.0, 102.0
    line = element("line", x1=left, x2=left + width, y1=6.0, y2=6.0, class_="base")
    band = element("rect", x=left + low * width, y=2.5, width=(high - low) * width, height=7.0, rx=3.5, class_="band")
    dot = element("circle", cx=left + share * width, cy=6.0, r=3.6, class_="dot")
    return element("svg", line, band, dot, viewBox="0 0 112 12", class_="reach", aria_hidden="true")


def _cell(row: Row, card: Card) -> str:
    cell = row.cells[card.name]
    if not cell.n:
        given = any(card.name in attempt.given.cards for attempt in row.attempts)
        return element("span", element("small", "not graded" if given else "not given"), class_="cell")
    low, high = wilson(cell.passes, cell.n)
    tip = f"{card.name}: {cell.passes} of {cell.n} passed, {low:.0%} to {high:.0%}"
    if cell.decisive:
        tip += f". {cell.decisive.status}: {cell.decisive.told}"
    words, look = _in_words(cell)
    return element("span", marks(cell), element("small", escape(words), class_=look), class_="cell", data_tip=tip[:400])


def _in_words(cell: Cell) -> tuple[str, str]:
    """(what happened in two words, the class that colours them)."""
    share = f" {cell.passes}/{cell.n}" if cell.n > 1 else ""
    failed = cell.decisive
    if failed is None:
        return f"pass{share}", "passes"
    if failed.status == "NO_SUBMISSION" and not cell.passes:
        return f"no answer{share}", ""
    if cell.passes:
        return f"pass{share}", "passes" if 2 * cell.passes >= cell.n else "fails"
    return f"{short(failed.status)}{share}", "fails"


def short(status: str) -> str:
    """WRONG_NUMERIC -> wrong: what a reader sees in a narrow cell."""
    names = {"WRONG_NUMERIC": "wrong", "WRONG_SHAPE": "shape", "WRONG_DTYPE": "dtype"}
    return names.get(status, status.replace("_", " ").lower())


def marks(cell: Cell) -> str:
    """Five marks, each filled by the share of attempts that reached its level; a ring where all of them stopped."""
    drawn, stopped = [], False
    for number in range(1, len(LEVELS) + 1):
        share, x = cell.share(number) or 0.0, (number - 1) * (_MARK + _GAP)
        drawn.append(_mark(x, "off"))
        if share:
            fill = element(
                "rect", x=x, y=0.0, width=_MARK, height=_MARK, rx=2.5, class_="on", opacity=0.25 + 0.75 * share
            )
            drawn.append(fill)
        elif not stopped and any(result.status != "NO_SUBMISSION" for result in cell.results):
            drawn.append(_ring(x))
            stopped = True
    told = f"levels reached: {max((result.reached for result in cell.results), default=0)} of {len(LEVELS)}"
    return element("svg", *drawn, viewBox="0 0 58 10", role="img", aria_label=told)


def _mark(x: float, look: str, **more: object) -> str:
    return element("rect", x=x, y=0.0, width=_MARK, height=_MARK, rx=2.5, class_=look, **more)


def _ring(x: float) -> str:
    return element("rect", x=x + 0.8, y=0.8, width=8.4, height=8.4, rx=2.0, class_="stop")


def _legend() -> str:
    entries = [
        (_swatch([1.0] * 5), f"passed all levels: {', '.join(LEVELS)}"),
        (_swatch([1.0, 1.0], stop=2), "stopped at the third level"),
        (_swatch([1.0, 1.0, 0.6, 0.4, 0.4]), "paler: not in every attempt"),
    ]
    return element("p", *(element("span", drawn + escape(words)) for drawn, words in entries), class_="legend")


def _swatch(filled: Sequence[float], stop: int | None = None) -> str:
    places = [i * (_MARK + _GAP) for i in range(len(LEVELS))]
    drawn = [_mark(x, "off") for x in places]
    drawn += [_mark(x, "on", opacity=share) for x, share in zip(places, filled)]
    drawn += [_ring(places[stop])] if stop is not None else []
    return element("svg", *drawn, viewBox="0 0 58 10", aria_hidden="true")


def _took(row: Row) -> str:
    taken = row.taken()
    if taken is None:
        return ""
    told = ("" if taken.cost is None else f"{taken.cost:,.2f} · ") + human_seconds(taken.seconds)
    tokens = "" if taken.tokens_out is None else element("small", f"{taken.tokens_out:,} tokens")
    return escape(told) + tokens


def _failures(rows: Sequence[Row], cards: Sequence[Card], at: Path) -> list[str]:
    parts = []
    for number, row in enumerate(rows):
        lines = [line for attempt in row.attempts for card in cards for line in _evidence(row, attempt, card, at)]
        lines += [line for attempt in row.attempts for line in _alike(row, attempt, cards, at)]
        table = element("table", *lines) if lines else element("p", "Nothing was graded.", class_="empty")
        head, told = element("h3", escape(row.model)), f"{row.variant} · {row.passes} of {row.n} passed"
        summary = element("summary", head, element("span", escape(told)))
        opened = "open" if len(rows) <= OPEN_UP_TO else None
        parts.append(element("details", summary, table, id=f"row{number}", open=opened))
    return parts


def _evidence(row: Row, attempt: Attempt, card: Card, at: Path) -> list[str]:
    """The line of one attempt at one card that did not pass, or of which there is more to say: what was told, links."""
    result = attempt.results.get(card.name)
    rubric = attempt.rubrics.get(card.name)
    read = rubric.told() if rubric else ""
    if result is None or (result.status in ("PASS", "NO_SUBMISSION") and not read):
        return []
    told = [result.told] if result.status != "PASS" else []
    told += [f"own tests {result.own_tests}"] if result.own_tests else []
    told += [f"write-up: {read}"] if read else []
    links = [("result", result.path), ("files", attempt.folder / card.name)]
    links += [("exchanges", log)] if (log := exchanges_file(attempt.folder, card.name)).exists() else []
    quiet = " quiet" if result.status in ("PASS", "NO_SUBMISSION") else ""
    cells = [
        element("td", escape(card.name + _which(row, attempt))),
        element("td", escape(_status(result)), class_=f"status{quiet}"),
        element("td", escape("; ".join(told))),
        element("td", " · ".join(element("a", word, href=link_to(path, at)) for word, path in links), class_="links"),
    ]
    return [element("tr", *cells)]


def _alike(row: Row, attempt: Attempt, cards: Sequence[Card], at: Path) -> list[str]:
    """What needs no line each: the cards that an attempt passed, and those that it did not answer, with links."""
    lines = []
    for status, told in (("PASS", "passed"), ("NO_SUBMISSION", "without an answer")):
        found = [r for card in cards if (r := attempt.results.get(card.name)) and r.status == status]
        links = [element("a", escape(r.card), href=link_to(r.path, at)) + escape(_tests(r)) for r in found]
        if links:
            first = element("td", escape(f"{len(links)} {told}{_which(row, attempt)}"))
            lines.append(element("tr", first, element("td", ", ".join(links), class_="passed", colspan=3)))
    return lines


def _tests(result: Result) -> str:
    return f" (own tests {result.own_tests})" if result.own_tests else ""


def _which(row: Row, attempt: Attempt) -> str:
    return f" · {attempt.given.name}" if len(row.attempts) > 1 else ""


def _status(result: Result) -> str:
    level = result.failed_level
    return f"{result.status} at {level}" if level and level != "contract" else result.status


def link_to(path: Path, at: Path) -> str:
    """A relative address, or an absolute one where there is no relative path (another drive)."""
    try:
        return quote(Path(os.path.relpath(path.resolve(), at.resolve())).as_posix(), safe="/.~")
    except ValueError:
        return path.resolve().as_uri()


def _conditions(rows: Sequence[Row]) -> str:
    results = [result for row in rows for attempt in row.attempts for result in attempt.results.values()]
    given = [attempt.given for row in rows for attempt in row.attempts]
    terms = [
        ("wordings", _tally([g.variant for g in given])),
        ("sandbox", _tally([result.backend for result in results])),
        ("stamps", _tally([stamp for result in results for stamp in result.stamps])),
        ("deployed by", _tally([f"weightless {g.version}, commit {g.commit}" for g in given])),
        ("graders", _tally([result.hashes["grader"][:12] for result in results if "grader" in result.hashes])),
        ("graded", _span([result.graded for result in results])),
    ]
    shown = [element("div", element("dt", term), element("dd", escape(told))) for term, told in terms if told]
    return element("dl", *shown)


def _tally(words: Sequence[str]) -> str:
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return "; ".join(f"{word} ({n} times)" if len(counts) > 1 else word for word, n in counts.items())


def _span(times: Sequence[str]) -> str:
    days = sorted(time[:16].replace("T", " ") for time in times)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
