"""What stands before every handler: who asks (key, host), how much and how slowly (body).  Floor 10, no Starlette.

Without a key the server listens to its own machine alone, and there a web page is the stranger: it may name this server
by a domain of its own (DNS rebinding), or post what needs no leave (a form).  So Host must name this machine, and a
body must be application/json, which no page may send elsewhere without asking first, and nobody here says yes.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from weightless.serve.refusals import Refusal

BODY_SECONDS = 20.0
MOST_DRAINED = 64_000_000
"""Of a body that is too large so much is read and thrown away, so that its sender gets to read the answer."""
OPEN = ("/health", "/")
"""Paths that need no key: they tell nothing about models."""

Receive = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    body: int = 1_000_000
    tokens: int = 4096


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_caller(headers: Mapping[str, str], path: str, key: str) -> None:
    """Refusal (401, 403) for who must not ask; keys are compared in constant time."""
    if key:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), key.encode())
        if path not in OPEN and not (scheme.lower() == "bearer" and is_right):
            told = "wrong key" if given else "no key"
            raise Refusal(401, f"{told}: send the header Authorization: Bearer KEY", code="invalid_api_key")
        return
    if not is_loopback(_host(headers.get("host", ""))):
        raise Refusal(403, "without a key this server answers to the names of its own machine alone (the Host header)")


def _host(header: str) -> str:
    """Without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


async def read_body(headers: Mapping[str, str], receive: Receive, most: int) -> bytes:
    """The body; Refusal for one that is too large (413), too slow (408), or not declared as JSON (415)."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "the body should be JSON: send the header Content-Type: application/json")
    declared = headers.get("content-length", "0")
    told = f"the body has more than {most:,} bytes, the most that this server reads"
    if declared.isascii() and declared.isdigit() and int(declared) > most and "expect" in headers:
        raise Refusal(413, told)
    try:
        return await asyncio.wait_for(_read(receive, most, told), BODY_SECONDS)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_SECONDS:g} seconds") from None


async def _read(receive: Receive, most: int, told: str) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the body ended before its end")
        size += len(message.get("body", b""))
        if size <= most:
            parts.append(message.get("body", b""))
        else:
            parts.clear()
        if size > most and (size > MOST_DRAINED or not message.get("more_body")):
            raise Refusal(413, told)
        if not message.get("more_body"):
            return b"".join(parts)
