"""weightless serve: packed models behind HTTP, as OpenAI's clients ask for completions."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.serve.served import Served

KEY = "WEIGHTLESS_API_KEY"
LEAST_KEY = 16


@dataclass(frozen=True)
class Serve:
    """Serve packed models: /v1/completions, /v1/models, /v1/xray, /health, /metrics, and a page at /."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Packed models (.wl), each called by its file name, or by its folder's where the file is model.wl."""
    names: tuple[str, ...] = ()
    """Other names for them, one each, in their order."""
    host: str = "127.0.0.1"
    """The address to listen at; any but this machine's own (127.0.0.1, ::1, localhost) needs a key."""
    port: int = 8000
    """The port to listen at; 0 takes a free one and tells it."""
    api_key: str | None = None
    """Requests must send it as Authorization: Bearer KEY; at least 16 characters. WEIGHTLESS_API_KEY in the
    environment does the same and is not shown to other users of this machine."""
    together: int = 64
    """Texts that are written at the same time; each takes the state of a sequence in memory."""
    queue: int = 128
    """Texts that may wait for a place; further ones are refused with 429."""
    most_tokens: int = 4096
    """The largest max_tokens of a request."""
    most_bytes: int = 1_000_000
    """The largest body of a request, in bytes."""


def main(verb: str, arguments: list[str]) -> int:
    options = parse(Serve, verb, arguments)
    key = os.environ.get(KEY, "") if options.api_key is None else options.api_key
    _check(options, key)
    try:
        from weightless.serve.app import Desk
        from weightless.serve.server import bound, serve
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("starlette", "uvicorn", "h11", "anyio"):
            raise
        told = "serving needs the extra serve: run ./do setup serve (or pip install starlette uvicorn)"
        raise WeightlessError(told) from None
    from weightless.serve.guards import Limits
    from weightless.serve.metrics import Metrics
    from weightless.serve.room import EngineRoom
    from weightless.serve.served import open_models

    models = open_models(options.models, options.names)
    listening = bound(options.host, options.port)
    for model in models.values():
        model.warm_up()
    metrics = Metrics()
    room = EngineRoom(options.together, options.queue, metrics)
    desk = Desk(models, room, metrics, key, Limits(options.most_bytes, options.most_tokens))
    serve(desk, listening, lambda: _tell(models, options, listening.getsockname()))
    print("the server has ended", file=sys.stderr)
    return 0


def _tell(models: dict[str, Served], options: Serve, address: tuple[Any, ...]) -> None:
    """Where, what, and how much memory it may come to."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    state = human_bytes(max(model.state_bytes for model in models.values()))
    print(
        f"serving {', '.join(models)} at http://{host}:{address[1]} "
        f"(up to {options.together} texts together, {state} of state each at most); Ctrl-C ends it",
        file=sys.stderr,
        flush=True,
    )


def _check(options: Serve, key: str) -> None:
    """Nothing is opened before this."""
    from weightless.serve.guards import is_loopback

    if not options.models:
        raise ConfigError("name at least one packed model: weightless serve MODEL.wl")
    if not is_loopback(options.host) and not key:
        raise ConfigError(
            f"--host {options.host!r} is reached from other machines: give --api_key, or {KEY} in the environment"
        )
    if options.api_key == "":
        raise ConfigError("--api_key is empty: give a key, or leave the flag out to serve this machine without one")
    if key and (len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key):
        raise ConfigError(f"the key should be at least {LEAST_KEY} printable ASCII characters without spaces")
    if not 0 <= options.port < 65536:
        raise ConfigError(f"--port {options.port} should be 0 (any) to 65535")
    for name in ("together", "most_tokens", "most_bytes"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} should be at least 1")
