"""What every input said about one token, as a picture: inputs by steps of the path (`lab/overheard.py` has the data).

A cell holds what the input says when it is asked alone, the probability of the side that the token is on, and beneath
it its weight in the sum.  Its colour is the product, logit times weight: how far it pushed towards the token, or away.
The pictures of this family carry both colour schemes, and stand on paper of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from weightless.lab.report.palette import HUES, INK, MUTED, PAPER, RULE
from weightless.lab.report.svg import drawing, element, escape, shorten, text, text_width, visible

Record = Mapping[str, Any]

WIDTH, MARGIN = 960.0, 18.0
FONT, SMALL, HEAD = 14.0, 12.0, 18.0
FOR, AGAINST = "var(--for)", "var(--against)"
_PAINT, _STRONGEST, _DARKEST = {"ink": INK, "muted": MUTED, "rule": RULE, "paper": PAPER}, 1.6, 0.62
_LEFT, _ROW, _GROUP, _TOP = 238.0, 35.0, 28.0, 124.0


def sheet(height: float, title: str, told: str, body: Sequence[str], key: str) -> str:
    """The whole SVG, light or dark as its reader's screen is."""
    colours = {**_PAINT, "for": HUES[1], "against": HUES[0]}
    light, dark = (";".join(f"--{name}:{pair[side]}" for name, pair in colours.items()) for side in (0, 1))
    style = f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}text{{fill:var(--ink)}}"
    around = {"x": -MARGIN, "y": -MARGIN, "width": WIDTH + 2 * MARGIN, "height": height + 2 * MARGIN}
    paper = element("rect", **around, style="fill:var(--paper)")
    face = "font-family:system-ui,'DejaVu Sans',sans-serif"
    parts = [element("style", style), paper, *body]
    namespace = "http://www.w3.org/2000/svg"
    return drawing(WIDTH, height, title, told, parts, key, MARGIN, xmlns=namespace, style=face) + "\n"


def say(x: float, y: float, content: str, size: float = FONT, **more: Any) -> str:
    """A line of text; `fill` and the rest as SVG has them."""
    fill = more.pop("fill", None)
    style = f"fill:{fill}" if fill else None
    return text(x, y, content, font_size=size, style=style, **more)


def shown(piece: str) -> str:
    """A token as it can be seen: a middle dot for a space, an arrow for a line break."""
    marks = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
    return visible("".join(marks.get(c, c) for c in piece)) or "∅"


def percent(p: float) -> str:
    """No more digits than are needed to tell it from none and from all."""
    if 0.01 <= p <= 0.99:
        return f"{100 * p:.0f} %"
    return f"{100 * p:.1f} %" if 0.001 <= p <= 0.999 else "<0.1 %" if p < 0.5 else ">99.9 %"


def sentence(record: Record, y: float) -> str:
    """What stands before the token, as much as there is room for, and the token."""
    token, content = shown(record["token"]), visible("".join(record["before"])).replace("\n", " ↵ ")
    room, cut = WIDTH - text_width(token, FONT) - 40, content
    while text_width(cut, FONT) > room:
        cut = cut[1:]
    before = cut if cut == content else f"…{cut[1:]}"
    last = element("tspan", escape(token), dx=5.0, font_weight=700, style=f"fill:{FOR}")
    words = element("tspan", escape(before), style="fill:var(--muted)")
    return element("text", words, last, x=0.0, y=float(y), font_size=FONT)


def overheard_svg(record: Record) -> str:
    """Inputs by steps: who said what, and who was believed."""
    steps, rows = record["steps"], _rows(record["inputs"])
    wide = min(92.0, (WIDTH - _LEFT - 12) / len(steps))
    p_token = math.exp(-record["nats"])
    body, y = _heading(record, p_token, wide), _TOP
    for group, members in rows:
        body.append(say(0, y + 18, group, SMALL, font_style="italic"))
        y += _GROUP
        for k, name, spoken in members:
            body += _input(record, k, name, spoken, y, wide)
            y += _ROW
    body += _together(steps, y + 12, wide)
    body += _legend(y + 94)
    title = f"What every input said about the token {shown(record['token'])}"
    told = f"Steps: {len(steps)}. P of the token: {p_token:.4f}. Sides: " + ", ".join(
        ("right" if s["right"] else "left") + f" {percent(_p(s))}" for s in steps
    )
    return sheet(y + 98, title, told, body, "overheard")


def _p(step: Record) -> float:
    return step["p_right"] if step["right"] else 1 - step["p_right"]


def _rows(inputs: Sequence[Sequence[str]]) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Inputs under the memory that they come from, in the order of the model."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for k, (name, spoken) in enumerate(inputs):
        window = name.startswith("window")
        group = "counted in this window" if window else "not counted" if name in ("bias", "neural") else _TRAINED
        found.setdefault(group, []).append((k, name.removeprefix("window "), spoken))
    return list(found.items())


_TRAINED = "counted in the training text"


def _heading(record: Record, p_token: float, wide: float) -> list[str]:
    token = shown(record["token"])
    body = [
        say(0, 20, f"Who knew that {token} comes next?  P = {p_token:.2f}", HEAD, font_weight=700),
        sentence(record, 50),
        say(0, _TOP - 30, "step on the path", SMALL, fill="var(--muted)"),
        say(0, _TOP - 11, "tokens still possible", SMALL, fill="var(--muted)"),
    ]
    for k, step in enumerate(record["steps"]):
        x = _LEFT + wide * (k + 0.5)
        side = f"{k + 1} right" if step["right"] else f"{k + 1} left"
        body.append(say(x, _TOP - 30, side, FONT, text_anchor="middle", font_weight=600))
        n = sum(s["tokens"] for s in step["sides"])
        body.append(say(x, _TOP - 11, f"{n:,}", SMALL, text_anchor="middle", fill="var(--muted)"))
    return body


def _input(record: Record, k: int, name: str, spoken: str, y: float, wide: float) -> list[str]:
    body = [
        say(0, y + 22, name, FONT, font_weight=600),
        say(62, y + 22, shorten(spoken, 28), SMALL, fill="var(--muted)"),
    ]
    for i, step in enumerate(record["steps"]):
        body += _cell(step, step["logits"][k], step["weights"][k], _LEFT + wide * i, y, wide)
    return body


def _cell(step: Record, logit: float, weight: float, x: float, y: float, wide: float) -> list[str]:
    if logit == 0:
        return [say(x + wide / 2, y + 21, "–", SMALL, text_anchor="middle", fill="var(--rule)")]
    towards = logit if step["right"] else -logit
    push = towards * weight
    strength = round(_DARKEST * min(1.0, abs(push) / _STRONGEST) + 0.03, 3)
    paint = {"fill_opacity": strength, "style": f"fill:{FOR if push > 0 else AGAINST}"}
    box = element("rect", x=x + 1.5, y=y + 1.5, width=wide - 3, height=_ROW - 3, rx=3.0, **paint)
    said = percent(1 / (1 + math.exp(-towards)))
    return [
        box,
        say(x + wide / 2, y + 16, said, 13.0, text_anchor="middle"),
        say(x + wide / 2, y + 29, f"× {weight:.2f}".replace("-", "−"), 10.5, text_anchor="middle"),
    ]


def _together(steps: Sequence[Record], y: float, wide: float) -> list[str]:
    """The mixed probability of each step as a bar that is full at 100 %."""
    body = [say(0, y + 22, "all together", FONT, font_weight=700), say(0, y + 40, "P of this side", SMALL)]
    for i, step in enumerate(steps):
        x, p, tall = _LEFT + wide * i, _p(step), 34.0
        frame = {"x": x + 1.5, "width": wide - 3, "rx": 3.0}
        body.append(element("rect", **frame, y=y, height=tall, fill="none", style="stroke:var(--muted)"))
        full = {"y": y + tall * (1 - p), "height": tall * p, "fill_opacity": 0.55}
        body.append(element("rect", **frame, **full, style=f"fill:{FOR if p >= 0.5 else AGAINST}"))
        body.append(say(x + wide / 2, y + 51, percent(p), FONT, text_anchor="middle", font_weight=700))
    return body


def _legend(y: float) -> list[str]:
    body, x = [], 0.0
    for colour, words in ((FOR, "pushed towards the token"), (AGAINST, "pushed away from it")):
        body.append(element("rect", x=x, y=y - 11, width=14.0, height=14.0, fill_opacity=0.6, style=f"fill:{colour}"))
        body.append(say(x + 20, y, words, SMALL))
        x += 50 + text_width(words, SMALL)
    rest = "In a cell: what it says alone, and × its weight. –: it has never seen this, and is silent."
    return [*body, say(x, y, rest, SMALL, fill="var(--muted)")]
