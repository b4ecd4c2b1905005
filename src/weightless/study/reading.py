"""Reads the text of a prediction into its claim: tokens, then recursive descent; the grammar is prediction.py's.

Errors: ConfigError with the character at which the text cannot be read on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from weightless.base.errors import ConfigError, nearest
from weightless.study.claims import (
    UNITS,
    Comparison,
    Diverges,
    Expression,
    Number,
    Order,
    Place,
    Ref,
    Sum,
    Within,
)

OPERATORS = ("<", "<=", ">", ">=")
LONGEST, DEEPEST = 400, 40
_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r'|(?P<quoted>"[^"]*"(?:\.[^\W\d]\w*)?)'
    r"|(?P<name>[^\W\d](?:[\w.=-]*\w)?)"
    r"|(?P<sign><=|>=|[-<>()+*/,=])"
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: int


@dataclass
class Reader:
    """Recursive descent; `units` gathers the units of losses that numbers carry."""

    text: str
    tokens: Sequence[Token]
    next: int = 0
    depth: int = 0
    units: list[str] = field(default_factory=list)

    def fail(self, what: str, at: int | None = None) -> ConfigError:
        return error(self.text, self.peek().at if at is None else at, what)

    def peek(self, ahead: int = 0) -> Token:
        i = self.next + ahead
        return self.tokens[i] if i < len(self.tokens) else Token("end", "", len(self.text))

    def take(self, wanted: str | None = None) -> Token:
        token = self.peek()
        if wanted is not None and token.text != wanted:
            raise self.fail(f"expected {wanted!r}, found {token.text or 'the end'!r}")
        self.next += 1
        return token

    def claim(self) -> Comparison | Within | Order | Diverges:
        called = self.peek(1).text == "("
        if called and self.peek().text == "order":
            return self.order()
        if called and self.peek().text == "diverges":
            self.next += 2
            arm = self.ref()
            self.take(")")
            return Diverges(arm)
        begins_within = self.peek().kind == "number" and self.peek(1).text == "within"
        if (called and self.peek().text in ("best", "edge")) or begins_within:
            return self.within()
        left = self.sum()
        token = self.peek()
        if token.text not in OPERATORS:
            raise self.fail(f"expected one of {' '.join(OPERATORS)}, found {token.text or 'the end'!r}")
        self.next += 1
        return Comparison(left, token.text, self.sum())

    def order(self) -> Order:
        self.next += 2
        arms = [self.ref()]
        while self.peek().text == ",":
            self.next += 1
            arms.append(self.ref())
        self.take(")")
        if len(arms) < 2:
            raise self.fail("order(…) takes two arms or more", arms[0].at)
        return Order(tuple(arms))

    def within(self) -> Within:
        one = self.place()
        self.take("within")
        token = self.take()
        if token.kind != "number" or self.peek().text != "x":
            raise self.fail("expected a factor such as 4x behind 'within'", token.at)
        self.next += 1
        factor = float(token.text)
        if not 1 <= factor < 1e12:
            raise self.fail("the factor is at least 1", token.at)
        self.take("of")
        other = self.place()
        if not (isinstance(one, Place) or isinstance(other, Place)):
            raise self.fail("two numbers are no prediction: name best(KEY) or edge(KEY)", 0)
        return Within(one, factor, other)

    def place(self) -> Place | Number:
        token = self.take()
        if token.kind == "number":
            value = float(token.text)
            if value <= 0:
                raise self.fail("factors are of positive numbers", token.at)
            return Number(value, "", token.at)
        if token.text not in ("best", "edge"):
            raise self.fail(f"expected best(KEY), edge(KEY) or a number, found {token.text or 'the end'!r}", token.at)
        self.take("(")
        key = self.word("a key such as train.max_lr")
        where: dict[str, str] = {}
        while self.peek().text == ",":
            self.next += 1
            name, value = self.condition()
            where[name] = value
        self.take(")")
        return Place(token.text, key, where, token.at)

    def condition(self) -> tuple[str, str]:
        """KEY = value; without spaces it is one token."""
        at = self.peek().at
        name, sign, value = self.word("KEY = value").partition("=")
        if not sign:
            self.take("=")
            value = self.take().text.strip('"')
        if not name or not value:
            raise self.fail("expected KEY = value", at)
        return name, value

    def word(self, what: str) -> str:
        token = self.take()
        if token.kind not in ("name", "quoted"):
            raise self.fail(f"expected {what}, found {token.text or 'the end'!r}", token.at)
        return token.text.strip('"')

    def sum(self) -> Expression:
        left = self.product()
        while self.peek().text in ("+", "-"):
            token = self.take()
            left = Sum(token.text, left, self.product(), token.at)
        return left

    def product(self) -> Expression:
        left = self.factor()
        while self.peek().text in ("*", "/"):
            token = self.take()
            left = Sum(token.text, left, self.factor(), token.at)
        return left

    def factor(self) -> Expression:
        token = self.peek()
        if token.text in ("-", "("):
            return self.nested()
        return self.number() if token.kind == "number" else self.ref()

    def nested(self) -> Expression:
        token = self.peek()
        if self.depth >= DEEPEST:
            raise self.fail(f"nested more than {DEEPEST} deep")
        self.next += 1
        self.depth += 1
        if token.text == "-":
            inside: Expression = Sum("*", Number(-1.0, "", token.at), self.factor(), token.at)
        else:
            inside = self.sum()
            self.take(")")
        self.depth -= 1
        return inside

    def number(self) -> Number:
        token = self.take()
        kind, scale = "", 1.0
        if self.peek().kind == "name":
            unit = self.take()
            if unit.text not in UNITS:
                raise self.fail(f"no unit {unit.text!r}; {nearest(unit.text, UNITS)}", unit.at)
            kind, scale = UNITS[unit.text]
            if kind in ("nats", "bits"):
                self.units.append(kind)
        if not math.isfinite(float(token.text) * scale):
            raise self.fail(f"{token.text} is beyond any float", token.at)
        return Number(float(token.text) * scale, kind, token.at)

    def ref(self) -> Ref:
        token = self.take()
        if token.kind not in ("name", "quoted"):
            raise self.fail(f"expected an arm, found {token.text or 'the end'!r}", token.at)
        if token.kind == "name":
            return Ref(token.text, None, False, token.at)
        name, _, figure = token.text[1:].partition('"')
        return Ref(name, figure[1:] or None, True, token.at)


def tokens(text: str) -> list[Token]:
    """The text cut up; ConfigError at the first character that begins nothing."""
    found, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            what = 'a name that is opened by " and never closed' if text[at] == '"' else f"{text[at]!r} begins nothing"
            raise error(text, at, what)
        found.append(Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    return found


def error(text: str, at: int, what: str) -> ConfigError:
    shown = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return ConfigError(f"prediction {shown!r}, character {at + 1}: {what}")
