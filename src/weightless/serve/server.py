"""The server itself: a socket, uvicorn on it, and an end that leaves nobody waiting.  Floor 10.

uvicorn gives a request line and its headers all the time in the world; here they have HEADER_SECONDS.  SIGTERM and
Ctrl-C end texts that are being written with an error event and [DONE], whole answers with 503, and the process with 0;
a second signal does not wait for readers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from weightless.base.errors import WeightlessError
from weightless.serve.app import Desk, build, quiet
from weightless.serve.refusals import Refusal

HEADER_SECONDS = 10.0
LAST_SECONDS = 5
"""How long the end waits for readers to take their last words."""
BACKLOG = 256
SPARE_CONNECTIONS = 256
"""Beside one for every text that is written or waits; whoever comes then is told so and cut."""


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address, not yet listening; WeightlessError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        made.close()
        told = getattr(error, "strerror", None) or str(error)
        raise WeightlessError(f"cannot listen at {host} port {port} ({told}): choose another --port, or 0") from None
    return made


class Protocol(H11Protocol):
    """HTTP/1.1 with a time limit on headers, JSON for what is no HTTP, and a most of connections."""

    most_connections = 512
    _patience: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._patience = self.loop.call_later(HEADER_SECONDS, self._too_slow)
        if len(self.connections) > self.most_connections:
            self._say(Refusal(503, f"{self.most_connections} connections are open: ask again later"))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self._be_patient()
        elif self._patience is None and self.conn.our_state is h11.IDLE:
            self._patience = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._say(Refusal(400, "this is no HTTP/1.1 request"))

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        self._patience = None
        if self.cycle is None or self.cycle.response_complete:
            self._say(Refusal(408, f"the request's headers did not arrive within {HEADER_SECONDS:g} seconds"))

    def _say(self, refusal: Refusal) -> None:
        """Words that need no request to answer to, and the end of the connection."""
        if self.transport.is_closing():
            return
        body = json.dumps(refusal.told()).encode()
        status = {400: "400 Bad Request", 408: "408 Request Timeout", 503: "503 Service Unavailable"}[refusal.status]
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class Server(uvicorn.Server):
    """A signal ends it, and is not raised anew: this is how a server is meant to end."""

    desk: Desk
    announce: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.announce is not None:
            self.announce()

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self.desk.room.stop()


def settings(app: Any, connections: int) -> uvicorn.Config:
    """uvicorn as it is used here: one process, HTTP/1.1 alone, no log of requests, nothing told of itself."""

    class Limited(Protocol):
        most_connections = connections

    how: dict[str, Any] = {"http": Limited, "ws": "none", "lifespan": "on", "log_config": None, "access_log": False}
    limits: dict[str, Any] = {"backlog": BACKLOG, "timeout_graceful_shutdown": LAST_SECONDS, "timeout_keep_alive": 15}
    return uvicorn.Config(app, server_header=False, proxy_headers=False, **how, **limits)


def serve(desk: Desk, listening: socket.socket, announce: Callable[[], None]) -> None:
    """Answer until a signal comes; `announce` is called as soon as there are answers."""
    quiet()
    server = Server(settings(build(desk), desk.room.most + desk.room.queue + SPARE_CONNECTIONS))
    server.desk, server.announce = desk, announce
    server.run(sockets=[listening])
