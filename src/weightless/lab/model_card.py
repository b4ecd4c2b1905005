"""The README.md of a packed model on the hub: front matter that the hub reads, then what it is and what it costs.

    written(facts) -> str       pure text; `Facts` is gathered by publishing.py
    is_ours(text) -> bool       whether a README.md came from here, so that pushing again may replace it

Losses are stated with their seeds: mean ± half-width of a 95 % interval, or the words "single seed".  Words of
strangers (names, descriptions) are flattened, so that nothing in them is read as Markdown.  Floor 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.units import human_bytes
from weightless.lab.report.groups import Group
from weightless.lab.report.headline import spelled
from weightless.lab.report.summary import number
from weightless.lab.report.table import flat_markdown

MARK = "<!-- written by weightless push: pushing again replaces this file -->"


@dataclass(frozen=True)
class Scored:
    """What a run says of the artifact: its own entry, its group over seeds, the corpus, doubts about it."""

    run: str
    entry: dict[str, Any]
    group: Group
    corpus: dict[str, Any]
    doubt: str = ""


@dataclass(frozen=True)
class Facts:
    """All that a card says.  `ledger` has touched, components, stored, flops_per_token, as a summary's entry has."""

    repository: str
    file: str
    sha256: str
    family: str
    config: dict[str, Any]
    ledger: dict[str, Any]
    is_exact: bool
    parameters: int
    context: int
    vocab_size: int
    has_tokenizer: bool
    license: str = ""
    scored: Scored | None = None
    beside: tuple[str, ...] = ()
    version: str = ""


def is_ours(text: str) -> bool:
    """Whether weightless push wrote it."""
    return MARK in text


def written(facts: Facts) -> str:
    """The whole card."""
    parts = [_front_matter(facts), MARK, _what(facts), _ledger(facts), _scores(facts), _use(facts), _provenance(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Facts) -> str:
    tags = ["weightless", facts.family, *(["text-generation"] if facts.has_tokenizer else [])]
    lines = ["---", "library_name: weightless"]
    lines += [f"license: {facts.license}"] if facts.license else []
    lines += ["tags:", *(f"- {tag}" for tag in tags), "---"]
    return "\n".join(lines)


def _what(facts: Facts) -> str:
    told = facts.scored.group.description if facts.scored else ""
    touched, most = facts.ledger["touched"]["T"]["mean"], "" if facts.is_exact else "at most "
    lines = [
        f"# {flat_markdown(facts.repository.split('/')[1])}",
        "",
        f"A language model of the family `{facts.family}`, packed by weightless {facts.version} as one file, "
        f"`{facts.file}`: a program of operators and the weights that it reads. It needs no PyTorch and runs no code "
        "of this repository.",
        "",
        f"It touches {most}{human_bytes(touched)} per token and takes {human_bytes(facts.ledger['stored']['file'])} "
        f"on disk. {facts.parameters:,} parameters, a context of {facts.context:,} tokens, a vocabulary of "
        f"{facts.vocab_size:,}.",
    ]
    lines += ["", f"The recipe says of it: {flat_markdown(told)}"] if told else []
    return "\n".join(lines)


def _ledger(facts: Facts) -> str:
    """Bytes touched and stored by component, and FLOPs."""
    ledger = facts.ledger
    stored = {part["name"]: part["bytes"] for part in ledger["stored"]["components"]}
    touched = {part["name"]: part for part in ledger["components"]}
    names = sorted({**stored, **touched}, key=lambda n: -touched.get(n, {"T": 0})["T"])
    rows = []
    for name in names:
        counted = touched.get(name, {})
        known = (counted.get("T"), counted.get("U"), stored.get(name))
        rows.append([flat_markdown(name), *("" if n is None else human_bytes(n) for n in known)])
    total = [ledger["touched"]["T"]["mean"], ledger["touched"]["U"]["mean"], ledger["stored"]["weights"]]
    rows.append(["all", *(human_bytes(number(n)) for n in total)])
    heads = ("component", "bytes touched / token", "unique bytes / token", "stored")
    how = (
        "Means over positions, as the run recorded them."
        if facts.scored and facts.is_exact
        else "Means over positions, counted from the program."
        if facts.is_exact
        else "Upper bounds: how much is touched depends on the text."
    )
    n_flops = f"{number(ledger['flops_per_token']):,.0f} FLOPs / token"
    tail = f"{how} The whole file is {ledger['stored']['file']:,} bytes. {n_flops}."
    return f"## What it costs\n\n{_table(heads, rows)}\n\n{tail}"


def _scores(facts: Facts) -> str:
    scored = facts.scored
    if scored is None:
        return "## Scores\n\nNo run record lay beside the file, so nothing is claimed about its loss."
    entry, group, corpus = scored.entry, scored.group, scored.corpus
    finite = [member for member in group.members if number(member["bits_per_byte"]) == number(member["bits_per_byte"])]
    per_seed = [str(member["seed"]) for member in finite]
    if group.loss.n > 1:
        told = f"{spelled(group.loss, 4)} (mean and 95 % interval over {group.loss.n} seeds: {', '.join(per_seed)})"
    else:
        told = f"{spelled(group.loss, 4)} (single seed)"
    told += f"; {group.n_diverged} more without a finite loss" if group.loss.known and group.n_diverged else ""
    rows = [
        ["bits per byte, this model over its seeds", told],
        ["bits per byte, this file", f"{_figure(entry, 4)} (seed {entry['seed']})"],
    ]
    rows += [["nats per token, this file", f"{_figure(entry, 4, 'nats_per_token')}"]]
    text = flat_markdown(str(corpus["name"]))
    sha = f" (SHA-256 {corpus['sha256'][:16]}…)" if isinstance(corpus.get("sha256"), str) else ""
    n_scored = f"{entry['eval_tokens']:,} tokens scored" if isinstance(entry.get("eval_tokens"), int) else "scored"
    scope = f"Held-out part of {text}{sha}, {n_scored}, by the run {flat_markdown(scored.run)}."
    doubt = [f"**{flat_markdown(scored.doubt)}**"] if scored.doubt else []
    picture = (
        ["![loss against bytes touched, all models of the run](frontier.png)"] if "frontier.png" in facts.beside else []
    )
    return "\n\n".join(["## Scores", _table(("", "value"), rows), scope, *doubt, *picture])


def _figure(entry: dict[str, Any], digits: int, key: str = "bits_per_byte") -> str:
    value = entry.get(key)
    return "none" if value is None else f"{value:.{digits}f}"


def _use(facts: Facts) -> str:
    name = f"hf://{facts.repository}/{facts.file}"
    lines = [f"weightless count {name}"]
    if facts.has_tokenizer:
        lines += [f'weightless generate {name} --prompt "Once upon a time"', f"weightless eval {name} --text FILE.txt"]
    else:
        lines += [f"weightless eval {name} --data CORPUS", f"weightless audit {name} --data CORPUS"]
    return (
        "## How to use it\n\n```\n"
        + "\n".join(lines)
        + "\n```\n\nThese fetch the file once, check its hash, and keep it in the cache."
    )


def _provenance(facts: Facts) -> str:
    config = ", ".join(f"{key} = {value}" for key, value in facts.config.items() if value is not None)
    lines = [f"SHA-256 of `{facts.file}`: `{facts.sha256}`"]
    lines += [f"Configuration: {flat_markdown(config)}"] if config else []
    told = {"recipe.toml": "the recipe of the run", "summary.json": "the record of the run"}
    lines += [f"`{name}`: {told[name]}" for name in facts.beside if name in told]
    return "## Where it comes from\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = "|---|" + "---:|" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows)])
