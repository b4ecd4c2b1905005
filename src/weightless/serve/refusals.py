"""What is refused, as OpenAI's clients read it: a status and {"error": {message, type, param, code}}.  Floor 10."""

from __future__ import annotations

import json
from typing import Any

from weightless.artifact.strict_json import load_strict
from weightless.base.errors import LONGEST, nearest

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
SHOWN = 60
"""Characters of a stranger's value that an answer repeats."""


class Refusal(Exception):
    """A request that gets no answer, and why; `param` is the parameter at fault, `wait` seconds until asking anew."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, wait: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.wait = status, param, code, wait

    def told(self) -> dict[str, Any]:
        """The body of the answer."""
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(self))[:LONGEST]
        kind = KINDS.get(self.status, KINDS[400 if self.status < 500 else 500])
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


def shown(value: Any) -> str:
    """A value as a message names it, never longer than a line bears."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (str, int, float, bool, type(None))) else ""
    names = {dict: "an object", list: "a list"}
    return names.get(type(value), text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; Refusal for what is none, holds NaN or a key twice, or is nested too deeply."""
    try:
        value = load_strict(body)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8: send a JSON object") from None
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON that can be trusted: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, f"the body should be a JSON object, not {shown(value)}")
    return value


def refuse_unknown(values: dict[str, Any], known: set[str]) -> None:
    """Refusal naming the first key that means nothing here, and the nearest that does."""
    for name in values:
        if name not in known:
            raise Refusal(400, f"unknown parameter {shown(name)}: {nearest(name, known)}", param=name[:SHOWN])
