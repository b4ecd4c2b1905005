"""The tree over tokens as pictures: its first levels, and one token's way to the end (data: `lab/overheard.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weightless.lab.report.overheard import (
    AGAINST,
    FONT,
    FOR,
    HEAD,
    SMALL,
    WIDTH,
    Record,
    percent,
    say,
    sentence,
    sheet,
    shown,
)
from weightless.lab.report.svg import element, text_width

_STEP, _TOP, _BAR, _BAR_AT = 42.0, 104.0, 200.0, 372.0
_TALL, _HEAD_ROOM = 640.0, 80.0


def examples(pieces: Sequence[str], room: float, size: float) -> str:
    """As many tokens as there is room for, first ones first."""
    found = ""
    for piece in map(shown, pieces):
        longer = f"{found}  {piece}" if found else piece
        if text_width(longer, size) > room:
            break
        found = longer
    return found


def path_svg(record: Record) -> str:
    """Every step of one token's path: which tokens are on which side, P of either side, and the product so far."""
    body, p_token = _path_heading(record), 1.0
    for k, step in enumerate(record["steps"]):
        p_token *= step["p_right"] if step["right"] else 1 - step["p_right"]
        body += _path_step(k, step, p_token, _TOP + _STEP * k)
    y = _TOP + _STEP * len(record["steps"])
    token = shown(record["token"])
    end = f"{token} is alone: P = {p_token:.3f}, that is {-math.log2(p_token):.2f} bits"
    body.append(say(_BAR_AT + _BAR / 2, y + 24, end, FONT, text_anchor="middle", font_weight=700))
    told = ", ".join(("right" if s["right"] else "left") + f" {s['p_right']:.4f}" for s in record["steps"])
    return sheet(y + 28, f"The path to the token {token}", f"Sides and P(right): {told}", body, "path")


def _path_heading(record: Record) -> list[str]:
    token, muted = shown(record["token"]), {"fill": "var(--muted)"}
    n = len(record["steps"])
    return [
        say(0, 20, f"{n} steps lead to {token}", HEAD, font_weight=700),
        sentence(record, 50),
        say(0, _TOP - 14, "still possible", SMALL, **muted),
        say(_BAR_AT - 12, _TOP - 14, "on the left", SMALL, text_anchor="end", **muted),
        say(_BAR_AT + _BAR / 2, _TOP - 14, "P(left)   P(right)", SMALL, text_anchor="middle", **muted),
        say(_BAR_AT + _BAR + 12, _TOP - 14, "on the right", SMALL, **muted),
        say(WIDTH, _TOP - 14, "P so far", SMALL, text_anchor="end", **muted),
    ]


def _path_step(k: int, step: Record, p_token: float, y: float) -> list[str]:
    n = sum(side["tokens"] for side in step["sides"])
    body = [say(0, y + 21, f"{n:,}", FONT, fill="var(--muted)")]
    body.append(say(WIDTH, y + 21, f"{p_token:.3f}", FONT, text_anchor="end", font_weight=600))
    for right, side in enumerate(step["sides"]):
        taken = bool(right) == step["right"]
        p = step["p_right"] if right else 1 - step["p_right"]
        body += _half(bool(right), taken, p, 1 - step["p_right"], y)
        x = _BAR_AT + _BAR + 12 if right else _BAR_AT - 12
        words = examples(side["examples"], 272.0, 13.0)
        look: dict[str, Any] = {"font_weight": 600} if taken else {"fill": "var(--muted)"}
        body.append(say(x, y + 21, words, 13.0, text_anchor="start" if right else "end", **look))
    return body


def _half(right: bool, taken: bool, p: float, p_left: float, y: float) -> list[str]:
    """One side's part of the bar, and its share where there is room to write it."""
    x, wide = (_BAR_AT + _BAR * p_left, _BAR * p) if right else (_BAR_AT, _BAR * p)
    colour = FOR if taken else "var(--rule)"
    body = [element("rect", x=x, y=y, width=max(wide - 1, 0.5), height=32.0, rx=2.0, style=f"fill:{colour}")]
    if wide > 46:
        fill = "var(--paper)" if taken else "var(--ink)"
        body.append(say(x + wide / 2, y + 21, percent(p), FONT, text_anchor="middle", font_weight=700, fill=fill))
    return body


def tree_svg(top: Record, record: Record | None = None) -> str:
    """The first levels from left to right: a branch is as tall as its share of a text; one token's way is outlined."""
    widths = (118.0, 148.0, 200.0, WIDTH + 4 - 558)
    body = [
        say(0, 20, "Every token is a leaf of one tree; here are its first four steps", HEAD, font_weight=700),
        say(
            0, 46, "A box is as tall as its share of the text, and shows its most frequent tokens.", fill="var(--muted)"
        ),
        say(0, 66, "· is a space, ↵ a line break. Up is left, down is right.", fill="var(--muted)"),
    ]
    way = [int(step["right"]) for step in record["steps"]] if record else []
    root = element("rect", x=0.0, y=_HEAD_ROOM, width=88.0, height=_TALL, rx=3.0, style="fill:var(--rule)")
    body += [root, say(44, _HEAD_ROOM + _TALL / 2, f"{top['tokens']:,}", FONT, text_anchor="middle", font_weight=600)]
    body.append(say(44, _HEAD_ROOM + _TALL / 2 + 18, "tokens", SMALL, text_anchor="middle"))
    boxes, outlined = _branches(top, 92.0, _HEAD_ROOM, widths, way if record else None)
    body += [*boxes, *outlined]
    if record:
        words = f"Outlined: the way to {shown(record['token'])}, which is followed below."
        body.append(say(0, _HEAD_ROOM + _TALL + 26, words, FONT, fill=AGAINST, font_weight=600))
    return sheet(_HEAD_ROOM + _TALL + (30 if record else 0), "The top of the tree over tokens", "", body, "tree")


def _branches(
    branch: Record, x: float, y: float, widths: Sequence[float], way: Sequence[int] | None
) -> tuple[list[str], list[str]]:
    """(boxes and words, outlines of the way) below a branch that begins at height y."""
    body: list[str] = []
    outlined: list[str] = []
    if not widths:
        return body, outlined
    for side, below in enumerate(branch["sides"]):
        tall, taken = _TALL * below["share"], way is not None and bool(way) and way[0] == side
        place = {"x": x, "y": y + 1, "width": widths[0] - 4, "height": max(tall - 2, 0.5), "rx": 3.0}
        body.append(element("rect", **place, fill_opacity=0.28 if side else 0.14, style=f"fill:{FOR}"))
        body += _inside(below, x, y, widths[0] - 4, tall)
        if taken:
            outlined.append(element("rect", **place, fill="none", stroke_width=2.5, style=f"stroke:{AGAINST}"))
        more, lines = _branches(below, x + widths[0], y, widths[1:], way[1:] if taken and way else None)
        body, outlined, y = body + more, outlined + lines, y + tall
    return body, outlined


def _inside(branch: Record, x: float, y: float, wide: float, tall: float) -> list[str]:
    """Lines of example tokens, as many as fit; the share above them where there is height for it."""
    left, line = list(branch["examples"]), 17.0
    n = min(int((tall - 6) // line), 8)
    body, at = [], y + (tall - n * line) / 2 + 12.5
    for k in range(n):
        if k == 0 and n > 1:
            head = f"{percent(branch['share'])} of the text, {branch['tokens']:,} tokens"
            head = head if text_width(head, SMALL) < wide - 24 else percent(branch["share"])
            body.append(say(x + 7, at, head, SMALL, fill="var(--muted)"))
        else:
            words = examples(left, wide - 12, 13.0)
            left = left[len(words.split("  ")) if words else 1 :]
            body.append(say(x + 7, at, words, 13.0))
        at += line
    return body
