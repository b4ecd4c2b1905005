"""A server in a thread of the test's own process, and questions to it over a socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed: ./do setup dev")
pytest.importorskip("uvicorn", reason="the extra serve is not installed: ./do setup dev")

from weightless.serve import completions, guards, server
from weightless.serve.app import Desk, build, quiet
from weightless.serve.guards import Limits
from weightless.serve.metrics import Metrics
from weightless.serve.room import EngineRoom
from weightless.serve.served import open_models

LIMITS = {"headers": server.HEADER_SECONDS, "body": guards.BODY_SECONDS, "reader": completions.WRITE_SECONDS}
"""As they are before the tests' server is given shorter ones."""
JSON = {"Content-Type": "application/json"}


class Answer:
    """Status, headers, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        assert set(self.json) == {"error"} and set(self.json["error"]) == {"message", "type", "param", "code"}
        return self.json["error"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of a stream that ended as it should."""
        return events_of(self.body)


def events_of(body: bytes) -> list[dict[str, Any]]:
    *told, done, rest = body.split(b"\n\n")
    assert done == b"data: [DONE]" and rest == b""
    return [json.loads(event.removeprefix(b"data: ")) for event in told]


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
) -> Answer:
    """One request by a connection of its own; a body that is no bytes is sent as JSON."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        line.request(method, path, content, {**(JSON if body is not None else {}), **(headers or {})})
        return Answer(line.getresponse())
    finally:
        line.close()


def complete(port: int, **values: Any) -> Answer:
    return ask(port, "POST", "/v1/completions", values)


def raw(port: int, content: bytes) -> socket.socket:
    """A connection with some bytes sent."""
    line = socket.create_connection(("127.0.0.1", port), timeout=20)
    line.sendall(content)
    return line


def posted(values: Any) -> bytes:
    """The bytes of a request for a completion."""
    body = json.dumps(values).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def everything(line: socket.socket) -> bytes:
    """What comes until the other side closes."""
    with line:
        return b"".join(iter(lambda: line.recv(65536), b""))


def metric(port: int, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = ask(port, "GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def until(true, seconds: float = 20.0) -> None:
    """Wait for something to become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never became so"
        time.sleep(0.01)


@contextlib.contextmanager
def running(
    paths: list[str], key: str = "", together: int = 4, queue: int = 8, body: int = 100_000, connections: int = 100
) -> Iterator[int]:
    """The port of a server of these models."""
    quiet()
    metrics = Metrics()
    room = EngineRoom(together, queue, metrics)
    models = open_models(paths)
    for model in models.values():
        model.warm_up()
    desk = Desk(models, room, metrics, key, Limits(body, 20_000))
    listening = server.bound("127.0.0.1", 0)
    port = listening.getsockname()[1]
    made = server.Server(server.settings(build(desk), connections))
    made.desk = desk
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: made.started)
        yield port
    finally:
        made.handle_exit(15, None)
        thread.join(20)
        assert not thread.is_alive()
