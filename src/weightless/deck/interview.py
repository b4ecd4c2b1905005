"""`weightless deck run`: ask a model all cards, keep every exchange, turn answers into files (floor 9, no PyTorch).

    NAME/asked.json             whom, where, how: what has to be the same when the command is given again
    NAME/exchanges/CARD.jsonl   one line an exchange, written as soon as it is over, answered or not
    NAME/CARD/…                 the files of the answers, by the rules of answers.py

A conversation is: RULES as the system's message, then PROMPT.md and INTERFACE.md as they are.  With more than one try
the model is then shown what is wrong with the form of its own answer (no file, cut off, pinned names missing), never a
result of a check.  What an answer means follows from the exchanges alone, so a killed run goes on by reading them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import append_line, json_line, read_json, read_log, write_json
from weightless.deck.answers import Answer, answer_of, write_answer
from weightless.deck.card import Card
from weightless.deck.endpoint import Endpoint, Reply, Unanswered, ask
from weightless.deck.scaffold import INTERFACE, PROMPT

RULES = """You answer a programming challenge. Your answer is turned into files by a program and graded by a program.
Give every file whole, in one fenced code block each, and write its name on the line that opens the block, like this:

```python solution.py
def answer():
    ...
```

INTERFACE.md, below the challenge, says which file is called (solution.py where it names no other) and what that has to
define. Where it says nothing else, code runs with Python's standard library and NumPy alone, without a network. What
the challenge asks you to explain belongs into comments, or into a file called NOTES.md."""
ASKED = "asked.json"

Contract = Callable[[Card, Path], str]
"""What is wrong with the form of the files in a card's folder, found without running them; '' when nothing is."""


@dataclass(frozen=True)
class Asked:
    """How one card went: questions answered, files written, what is wrong with their form ('' for nothing)."""

    card: str
    tries: int
    files: tuple[str, ...]
    wrong: str


@dataclass(frozen=True)
class Spent:
    """What an attempt took: questions, tokens (None when an endpoint did not tell), seconds, money by given prices."""

    questions: int
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    cost: float | None


def begin(folder: Path, endpoint: Endpoint, price_in: float | None, price_out: float | None) -> None:
    """Write asked.json, or hold this command to the one that is there.  Raises ConfigError where they differ."""
    fresh: dict[str, Any] = {
        "model": endpoint.model,
        "endpoint": endpoint.url,
        "sampling": dict(endpoint.sampling),
        "rules": hashlib.sha256(RULES.encode()).hexdigest(),
    }
    path = folder / ASKED
    if path.exists():
        before = read_asked(folder)
        odd = next((key for key, value in fresh.items() if before.get(key) != value), None)
        if odd:
            told = "other rules for answers" if odd == "rules" else f"{odd} {before.get(odd)!r}, now {fresh[odd]!r}"
            raise ConfigError(f"{folder} was asked with {told}: choose another name with -n")
    write_json(path, {**fresh, "price_in": price_in, "price_out": price_out})


def read_asked(folder: Path) -> dict[str, Any]:
    """asked.json.  Raises CorruptFileError when it is no table."""
    found = read_json(folder / ASKED)
    if not isinstance(found, dict):
        raise CorruptFileError(f"{folder / ASKED} is no table of keys: choose another name with -n")
    return found


def ask_card(
    card: Card,
    folder: Path,
    endpoint: Endpoint,
    tries: int,
    contract: Contract,
    told: Callable[[str], None] = lambda line: None,
    asking: Callable[..., Reply] = ask,
) -> Asked:
    """Ask one card until its answer has the right form or `tries` answers are there; what is logged counts.

    Raises Refused when the endpoint takes no questions.  A question without an answer is logged and ends the card for
    now: the next call asks it again.
    """
    log = exchanges_file(folder, card.name)
    place, first = folder / card.name, _opening(folder / card.name)
    answers = [line for line in read_log(log, _is_whole) if line["error"] is None]
    if answers and _opening_of(answers[0]) != _hash(first):
        raise ConfigError(f"{place}: PROMPT.md or INTERFACE.md changed since it was asked; choose another name with -n")
    messages, files, wrong = list(first), set[str](), "not answered"
    for number in range(1, tries + 1):
        if number <= len(answers):
            line = answers[number - 1]
        else:
            line = _asked(endpoint, messages, number, told, asking)
            log.parent.mkdir(exist_ok=True)
            append_line(log, json_line({**line, "opening": _hash(first)}))
            if line["error"] is not None:
                return Asked(card.name, number - 1, tuple(sorted(files)), line["error"])
        answer = answer_of(line["answer"], [pinned.name for pinned in card.pinned])
        files |= set(write_answer(answer, place))
        wrong = _wrong(answer, line["finish"], card, place, contract)
        for left in answer.left_out:
            told(f"{card.name}: {left}")
        if not wrong:
            return Asked(card.name, number, tuple(sorted(files)), "")
        messages += [{"role": "assistant", "content": line["answer"]}, {"role": "user", "content": _complaint(wrong)}]
    return Asked(card.name, tries, tuple(sorted(files)), wrong)


def _asked(
    endpoint: Endpoint,
    messages: list[dict[str, str]],
    number: int,
    told: Callable[[str], None],
    asking: Callable[..., Reply],
) -> dict[str, Any]:
    """One exchange as its line in the log; a conversation's earlier messages stand in the lines before."""
    line: dict[str, Any] = {"try": number, "at": datetime.now().astimezone().isoformat(timespec="seconds")}
    line["sent"] = messages if number == 1 else messages[-1:]
    try:
        reply = asking(endpoint, messages, told=told)
    except Unanswered as error:
        return {**line, "answer": None, "error": str(error)}
    return {
        **line,
        "answer": reply.text,
        "finish": reply.finish,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "seconds": round(reply.seconds, 3),
        "retries": reply.retries,
        "error": None,
    }


def _wrong(answer: Answer, finish: str, card: Card, place: Path, contract: Contract) -> str:
    """What is wrong with the form of an answer, '' for nothing."""
    cut = "the answer was cut off at the limit of its length; " if finish == "length" else ""
    left = "; ".join(answer.left_out)
    if not answer.files:
        return f"{cut}no file was found in the answer" + (f": {left}" if left else "")
    found = contract(card, place)
    return cut + found + (f"; {left}" if left else "") if found else ""


def _complaint(wrong: str) -> str:
    return f"Your answer cannot be called as INTERFACE.md says: {wrong}\nGive every file again, whole."


def opening(prompt: str, interface: str) -> list[dict[str, str]]:
    """How every conversation about a card begins: the rules for answers, then the card's texts as they are."""
    return [{"role": "system", "content": RULES}, {"role": "user", "content": f"{prompt}\n\n{interface}"}]


def _opening(place: Path) -> list[dict[str, str]]:
    return opening(*((place / name).read_text(encoding="utf-8") for name in (PROMPT, INTERFACE)))


def _hash(messages: Sequence[dict[str, str]]) -> str:
    return hashlib.sha256(json_line(list(messages)).encode()).hexdigest()


def _opening_of(line: dict[str, Any]) -> Any:
    return line.get("opening")


def exchanges_file(folder: Path, card: str) -> Path:
    """The log of one card's exchanges."""
    return folder / "exchanges" / f"{card}.jsonl"


def _is_whole(line: dict[str, Any]) -> bool:
    if not isinstance(line.get("error", 0), (str, type(None))):
        return False
    return line["error"] is not None or (isinstance(line.get("answer"), str) and isinstance(line.get("finish"), str))


def spent(folder: Path) -> Spent | None:
    """What the exchanges of an attempt took; None for one that nobody asked through an endpoint."""
    if not (folder / ASKED).exists():
        return None
    prices = read_asked(folder)
    lines = [line for path in sorted((folder / "exchanges").glob("*.jsonl")) for line in read_log(path, _is_whole)]
    lines = [line for line in lines if line["error"] is None]
    tokens_in, tokens_out = (_total([line.get(key) for line in lines]) for key in ("tokens_in", "tokens_out"))
    cost = None
    price_in, price_out = (prices.get(key) for key in ("price_in", "price_out"))
    if None not in (tokens_in, tokens_out, price_in, price_out):
        cost = (tokens_in * price_in + tokens_out * price_out) / 1e6  # type: ignore[operator]
    return Spent(len(lines), tokens_in, tokens_out, sum(float(line.get("seconds") or 0) for line in lines), cost)


def _total(counts: Sequence[Any]) -> int | None:
    known = [n for n in counts if type(n) is int]
    return sum(known) if len(known) == len(counts) else None
