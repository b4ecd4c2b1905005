"""One question to an OpenAI-compatible endpoint, and an answer that is trusted in nothing (floor 9, no PyTorch).

    ask(Endpoint("http://127.0.0.1:8000/v1", "model"), messages)  ->  Reply

POST {url}/chat/completions, not streamed.  An answer has a time in all (not per read), a size in all, is never
followed elsewhere (a redirect would carry the key to another host), and every field of it is checked.  What may pass
by itself (408, 409, 425, 429, 5xx, a broken connection, an answer that is no JSON) is tried again after the time that
Retry-After asks for, else after 1, 2, 4 … seconds.  Proxies of the environment are not used.

Errors: Refused when asking again cannot help (a wrong key or address, a redirect); Unanswered when this question got
no answer in all tries, with what the last one said.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from weightless.base.errors import ConfigError, WeightlessError

LARGEST_ANSWER = 8_000_000
LONGEST_WAIT = 300.0
SHOWN = 200
MAY_PASS = frozenset((408, 409, 425, 429))
HOPELESS = frozenset((401, 403, 404, 405, 410))


class Refused(WeightlessError):
    """The endpoint does not take questions like this at all."""


class Unanswered(WeightlessError):
    """One question got no answer."""


class Passing(Exception):
    """A failure that may pass; `after` is how many seconds the endpoint asked to wait, or None."""

    def __init__(self, told: str, after: float | None = None) -> None:
        super().__init__(told)
        self.after = after


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, whom, and how long to wait.  `key` is sent and never shown; `sampling` goes into every request."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    sampling: tuple[tuple[str, Any], ...] = ()
    seconds: float = 600.0
    retries: int = 5

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number, brackets that do not close
            known = False
        if not known:
            raise ConfigError(f"--endpoint {self.url!r} is no address: write http://HOST:PORT/v1 or https://HOST/v1")
        if parts.username or parts.password:
            raise ConfigError("--endpoint holds a password: put the key into an environment variable (--key_variable)")
        if any(not 32 < ord(letter) < 127 for letter in self.url):
            raise ConfigError(f"--endpoint {self.url!r} holds blanks or letters that an address cannot hold")
        if any(not 32 < ord(letter) < 127 for letter in self.key):
            raise ConfigError("the key holds blanks, line ends or letters that no header can carry")
        if not 0 < self.seconds < math.inf:
            raise ConfigError(f"--timeout {self.seconds:g} should be a number of seconds above 0")


@dataclass(frozen=True)
class Reply:
    """What came back: the text, why it ended, tokens in and out (None: not told), seconds, questions asked in vain."""

    text: str
    finish: str
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    retries: int


class Exchange(NamedTuple):
    """One HTTP exchange: status, headers in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    endpoint: Endpoint,
    messages: Sequence[dict[str, str]],
    wait: Callable[[float], None] = time.sleep,
    told: Callable[[str], None] = lambda line: None,
) -> Reply:
    """The reply to one conversation.  `wait` passes the time between tries; `told` hears why there is another one.

    Raises Refused or Unanswered.
    """
    body = json.dumps({"model": endpoint.model, "messages": list(messages), "stream": False, **dict(endpoint.sampling)})
    began = time.monotonic()
    for attempt in range(endpoint.retries + 1):
        try:
            text, finish, tokens_in, tokens_out = _once(endpoint, body.encode())
            return Reply(text, finish, tokens_in, tokens_out, time.monotonic() - began, attempt)
        except Passing as error:
            if attempt == endpoint.retries:
                raise Unanswered(f"no answer in {attempt + 1} tries; the last: {error}") from None
            pause = min(2.0**attempt, 60.0) if error.after is None else error.after
            if pause > LONGEST_WAIT:
                raise Refused(
                    f"{error}; it asks to wait for {pause:,.0f} s: give the same command again then"
                ) from None
            told(f"{error}; again in {pause:.0f} s")
            wait(pause)
    raise Unanswered("asked no question")


def _once(endpoint: Endpoint, body: bytes) -> tuple[str, str, int | None, int | None]:
    try:
        exchange = _exchange(endpoint, body)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Refused(f"{_host(endpoint)}: its certificate is not trusted ({error.verify_message})") from None
        if isinstance(error, socket.gaierror):
            raise Refused(f"no host {_host(endpoint)!r} is known here: look at --endpoint") from None
        raise Passing(f"{_host(endpoint)}: {_reason(error)}") from None
    if exchange.status == 200:
        return _read(exchange)
    said = f"HTTP {exchange.status}: {_said(exchange.body)}"
    if 300 <= exchange.status < 400:
        where = exchange.headers.get("location", "nowhere")[:SHOWN]
        raise Refused(f"HTTP {exchange.status} sends on to {where}: if that is right, give it as --endpoint")
    if exchange.status in MAY_PASS or exchange.status >= 500:
        raise Passing(said, _after(exchange.headers.get("retry-after")))
    if exchange.status in HOPELESS:
        raise Refused(f"{said}: look at --endpoint, the model's name and --key_variable")
    raise Unanswered(said)


def _exchange(endpoint: Endpoint, body: bytes) -> Exchange:
    """One POST within `seconds` in all: a clock beside it cuts the connection, however slowly bytes drip in."""
    parts = urlsplit(endpoint.url)
    secure = parts.scheme == "https"
    connection_of = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connection_of(parts.hostname or "", parts.port, timeout=endpoint.seconds)
    path = parts.path.rstrip("/")
    path += "" if path.endswith("/chat/completions") else "/chat/completions"
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "weightless-deck"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    over, opened = threading.Event(), list[socket.socket]()
    clock = threading.Timer(endpoint.seconds, _cut, (opened, over))
    clock.daemon = True
    clock.start()
    try:
        connection.connect()
        opened.append(connection.sock)  # the connection forgets it once the answer has begun
        connection.request("POST", path + (f"?{parts.query}" if parts.query else ""), body, headers)
        with connection.getresponse() as response:  # which holds the socket where the connection let go of it
            content = response.read(LARGEST_ANSWER + 1)
            headers_of, left = response.getheaders(), response.length
        if len(content) > LARGEST_ANSWER:
            raise Unanswered(f"HTTP {response.status} with more than {LARGEST_ANSWER:,} bytes, which no answer needs")
        if over.is_set():
            raise TimeoutError
        if left:  # what Content-Length promised and did not come
            raise http.client.IncompleteRead(content, left)
        return Exchange(response.status, {k.lower(): v for k, v in headers_of}, content)
    except (OSError, ValueError, http.client.HTTPException):
        if over.is_set():
            raise TimeoutError from None
        raise
    finally:
        clock.cancel()
        connection.close()


def _cut(opened: list[socket.socket], over: threading.Event) -> None:
    over.set()
    for connected in opened:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _read(exchange: Exchange) -> tuple[str, str, int | None, int | None]:
    """(text, why it ended, tokens in, tokens out) of a body that says 200."""
    try:
        found = json.loads(exchange.body)
        choice = found["choices"][0]
        content = choice["message"].get("content")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise Passing(f"HTTP 200, but no answer of a chat: {_said(exchange.body)}") from None
    if isinstance(content, list):  # parts, of which those of text count
        content = "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (n if type(n) is int and 0 <= n < 10**12 else None for n in tokens)
    finish = choice.get("finish_reason")
    return content if isinstance(content, str) else "", str(finish)[:40] if finish else "", tokens_in, tokens_out


def _after(value: str | None) -> float | None:
    """Seconds that Retry-After asks for: a number, or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _said(body: bytes) -> str:
    """What an error says in one short line: its message, or how its body begins."""
    text = body[:20_000].decode(errors="replace")
    try:
        found = json.loads(body[:20_000])
        error = found.get("error", found)
        text = str(error.get("message", text) if isinstance(error, dict) else error)
    except (ValueError, RecursionError, AttributeError):
        pass
    flat = " ".join(text.split())
    return (flat[:SHOWN] + "…" if len(flat) > SHOWN else flat) or "(nothing)"


def _host(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.url).netloc


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no whole answer within the time (--timeout)"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke in the middle of the answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
