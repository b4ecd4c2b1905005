"""A loopback server that answers as it is told: a list of what to do with one request after another."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Deed = Callable[[BaseHTTPRequestHandler], None]


def says(text: Any, finish: str = "stop", usage: Any = None) -> Deed:
    """An answer of a chat."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return raw(json.dumps({"choices": [choice], "usage": usage}).encode(), kind="application/json")


def raw(body: bytes, status: int = 200, kind: str = "text/html", **headers: str) -> Deed:
    """Any body with any status; header names with _ for -."""

    def deed(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return deed


def drops(handler: BaseHTTPRequestHandler) -> None:
    """Promises a thousand bytes, sends ten, and hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A byte every tenth of a second, for ever: no single read ever times out."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def flood(sent: list[int]) -> Deed:
    """A hundred megabytes, if anybody reads them; `sent` counts those that went."""

    def deed(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for number in range(100):
            handler.wfile.write(b"x" * 1_000_000)
            sent.append(number)

    return deed


@contextmanager
def serving(*deeds: Deed) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(base address, what was asked so far); the last deed goes on for ever."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "body": body, "key": self.headers.get("Authorization")})
            try:
                deeds[min(len(asked), len(deeds)) - 1](self)
            except OSError:
                pass  # nobody listens any more

        def do_GET(self) -> None:
            asked.append({"path": self.path, "body": None, "key": self.headers.get("Authorization")})
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
