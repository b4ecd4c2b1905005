"""The page's parts in words: samples, checks, conditions, and the commands that reproduce each figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightless.base.units import human_bytes
from weightless.lab.report.groups import Group, gather
from weightless.lab.report.palette import Accent
from weightless.lab.report.summary import number
from weightless.lab.report.svg import element, escape

_OPEN_UP_TO = 3


def commands(lines: Sequence[str]) -> str:
    """The commands beneath a figure; many of them fold away."""
    kept = [line for line in dict.fromkeys(lines) if line]
    if not kept:
        return ""
    block = element("pre", *(element("code", escape(line)) for line in kept))
    if len(kept) > _OPEN_UP_TO:
        folded = element("details", element("summary", f"Reproduce with {len(kept)} commands"), block)
        return element("div", folded, class_="command")
    return element("div", element("span", "Reproduce"), block, class_="command")


def commands_of(groups: Sequence[Group], verb: str) -> list[str]:
    """What each model records for train, eval, count or generate."""
    return [(m["commands"] or {}).get(verb) or "" for g in groups for m in g.members]


def samples(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    """One sample per model (its first seed that has one); the prompt stands apart from what the model wrote."""
    shown = []
    for group in groups:
        member = next((m for m in group.members if m.get("sample")), None)
        if member is not None:
            shown.append(_sample(group, member["sample"], colours[group.name]))
    return "".join(shown) or element("p", "No sample was recorded.", class_="empty")


def _sample(group: Group, sample: dict[str, Any], accent: Accent) -> str:
    prompt, written = sample["prompt"], sample["text"]
    if prompt and written.startswith(prompt):
        written = written[len(prompt) :]
    told = [
        f"{name.replace('_', '-')} {sample[name]}"
        for name in ("temperature", "top_p", "seed")
        if sample.get(name) is not None
    ]
    touched = number(sample.get("bytes_per_token"))
    if touched == touched:
        told.append(f"{human_bytes(touched)} touched per token while sampling")
    head = element(
        "figcaption",
        element("b", escape(group.name), style=f"color:{accent.paint}"),
        element("span", escape(" · ".join(told))),
    )
    mark = element("mark", escape(prompt), title="prompt, given to the model") if prompt else ""
    body = element("blockquote", mark, element("span", escape(written)), style=f"border-color:{accent.paint}")
    return element("figure", head, body, class_="sample")


def failures(summary: dict[str, Any]) -> list[tuple[str, object, str, str]]:
    """(model, seed, check, detail) of every failed check."""
    return [
        (m["name"], m["seed"], c["name"], c["detail"] or "")
        for m in summary["models"]
        for c in m["checks"]
        if not c["ok"]
    ]


def alarm(summary: dict[str, Any]) -> str:
    """Loud boxes at the head of the page: the corpus is not to be trusted, checks failed; nothing otherwise."""
    failed, doubt = failures(summary), warning(summary)
    boxes = element("div", element("strong", escape(doubt)), class_="alarm", role="alert") if doubt else ""
    if not failed:
        return boxes
    items = [
        element("li", element("b", escape(f"{model} (seed {seed}): {check}.")), escape(f" {detail}"))
        for model, seed, check, detail in failed
    ]
    count = "1 check failed" if len(failed) == 1 else f"{len(failed)} checks failed"
    head = element("strong", f"{count}. Do not trust the numbers of the models below.")
    return boxes + element("div", head, element("ul", *items), class_="alarm", role="alert")


def warning(summary: dict[str, Any]) -> str:
    """Why no loss on this corpus can be trusted, as a sentence for every place that shows results; usually empty."""
    told = summary["corpus"].get("warning") or ""
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def checks_told(summary: dict[str, Any]) -> str:
    """The state of all checks as a sentence, for every place that shows results."""
    n, failed = sum(len(m["checks"]) for m in summary["models"]), len(failures(summary))
    if not n:
        return "No checks were recorded for this run."
    return f"{failed} of {n} checks FAILED." if failed else f"{n} of {n} checks passed."


def verdict(summary: dict[str, Any]) -> str:
    """The state of all checks in one line."""
    n, failed = sum(len(m["checks"]) for m in summary["models"]), len(failures(summary))
    if not n:
        return element("p", checks_told(summary), class_="verdict failed")
    if failed:
        return element("p", f"✗ {checks_told(summary)}", class_="verdict failed")
    return element("p", f"✓ {checks_told(summary)}", class_="verdict ok")


def checks(summary: dict[str, Any]) -> str:
    """Failed checks one by one, then the passed ones, those of a model's seeds in one line."""
    rows = [(False, f"{model} · seed {seed}", check, detail) for model, seed, check, detail in failures(summary)]
    passed: dict[tuple[str, str], list[str]] = {}
    for group in gather(summary):
        for check in (c for m in group.members for c in m["checks"] if c["ok"]):
            passed.setdefault((group.name, check["name"]), []).append(check["detail"] or "")
    for (model, check), details in passed.items():
        seeds = f" · {len(details)} seeds" if len(details) > 1 else ""
        rows.append((True, model + seeds, check, "; ".join(dict.fromkeys(filter(None, details)))))
    if not rows:
        return ""
    heads = [element("th", h, scope="col") for h in ("", "model", "check", "detail")]
    lines = [_check_line(*row) for row in rows]
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="checks")
    return element("div", whole, class_="scroll")


def _check_line(ok: bool, *cells: str) -> str:
    state = element("td", "✓ ok" if ok else "✗ FAILED", class_="ok" if ok else "failed")
    return element("tr", state, *(element("td", escape(c)) for c in cells))


def hashes(summary: dict[str, Any]) -> list[str]:
    """The lines of SHA256SUMS: `sha256sum -c` in the run's folder checks every artifact against them."""
    found = [m["artifact"] for m in summary["models"] if m.get("artifact")]
    return [f"{artifact['sha256']}  {artifact['file']}" for artifact in found]


def artifacts(summary: dict[str, Any]) -> str:
    """The hashes, to compare with what another machine or another day makes of the same recipe."""
    lines = hashes(summary)
    if not lines:
        return ""
    told = element("summary", "SHA-256 of the artifacts: the same recipe makes the same bytes on the same machine")
    folded = element("details", told, element("pre", element("code", escape("\n".join(lines)))))
    return element("div", folded, class_="command")


def environment(summary: dict[str, Any]) -> str:
    """Machine, corpus and code, as a list of terms."""
    corpus, machine = summary["corpus"], dict(summary["machine"])
    memory = number(machine.pop("memory_bytes", None))
    terms: list[tuple[str, object]] = [("created", summary["created"]), ("commit", summary["commit"] or "not recorded")]
    terms += [(key.replace("_", " "), _flat(value)) for key, value in machine.items()]
    terms += [("memory", human_bytes(memory))] if memory == memory else []
    terms += [(f"corpus {key.replace('_', ' ')}", _flat(value)) for key, value in corpus.items() if key != "warning"]
    return element("dl", *(element("div", element("dt", escape(k)), element("dd", escape(v))) for k, v in terms))


def _flat(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_flat(v) for v in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
