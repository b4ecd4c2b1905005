"""The routes of the server as a Starlette application.  Floor 10.

GET  /v1/models, /v1/models/{name}, /health, /metrics, /        POST /v1/completions, /v1/xray
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from weightless.base.errors import WeightlessError, nearest
from weightless.serve.completions import Answering, Events, Gone, refusal_for
from weightless.serve.guards import Limits, check_caller, read_body
from weightless.serve.metrics import Metrics
from weightless.serve.parameters import read_completion, read_text
from weightless.serve.refusals import Refusal, parsed, refuse_unknown, shown
from weightless.serve.room import EngineRoom, Stopping
from weightless.serve.served import Served
from weightless.serve.tokens import detokenized, tokenized, tokenizer_info

LONGEST_XRAY = 512
"""Tokens of a text that are looked through."""
MOST_XRAYS = 8
"""X-rays that may wait: one is made at a time."""
PATHS = ("/v1/completions", "/v1/models", "/v1/xray", "/health", "/metrics", "/", "/tokenize", "/detokenize")
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}


@dataclass
class Desk:
    """All that a handler needs."""

    models: dict[str, Served]
    room: EngineRoom
    metrics: Metrics
    key: str = ""
    limits: Limits = Limits()
    one_xray: asyncio.Lock = field(default_factory=asyncio.Lock)
    n_xrays: int = 0

    def model(self, name: Any, is_needed: bool = True) -> Served:
        """Refusal (404 naming the nearest, 400 for no string); where it need not be named, no name is the first."""
        if name is None and not is_needed:
            return next(iter(self.models.values()))
        read_text("model", name)
        if name not in self.models:
            told = f"no model {shown(name)} here: {nearest(str(name), self.models)}"
            raise Refusal(404, told, param="model", code="model_not_found")
        return self.models[name]


Handler = Callable[[Desk, Request], Awaitable[Any]]


class Endpoint:
    """A handler as an ASGI application: the guards before it, refusals as JSON behind it, and the count of both."""

    def __init__(self, desk: Desk, handler: Handler, path: str) -> None:
        self._desk, self._handler, self._path = desk, handler, path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request, status = Request(scope, receive), 499
        try:
            check_caller(request.headers, self._path, self._desk.key)
            response = await self._handler(self._desk, request)
            status = getattr(response, "status_code", 200)
        except Gone:
            response = None
        except Refusal as refusal:
            response, status = refused(refusal), refusal.status
        except Exception:
            traceback.print_exc(file=sys.stderr)
            response, status = refused(Refusal(500, "the server failed; its log says how")), 500
        self._desk.metrics.count("weightless_requests_total", path=self._path, status=str(status))
        if response is not None:
            await response(scope, receive, send)


def build(desk: Desk) -> Starlette:
    """The application; the engine room runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: Starlette):  # type: ignore[no-untyped-def]
        desk.room.start(asyncio.get_running_loop())
        yield
        desk.room.stop()
        await asyncio.to_thread(desk.room.join, 10.0)

    async def failed(request: Request, error: Exception) -> Response:
        return _lost(desk, request, error)

    routes = [
        Route(path, Endpoint(desk, handler, path.replace(":path", "")), methods=[method])
        for method, path, handler in (
            ("GET", "/health", health),
            ("GET", "/metrics", metrics),
            ("GET", "/", page),
            ("GET", "/v1/models", models),
            ("GET", "/v1/models/{name:path}", one_model),  # USER/NAME is a name, too
            ("POST", "/v1/completions", completions),
            ("POST", "/v1/xray", xray),
            ("GET", "/tokenizer_info", about_tokens),
            ("POST", "/tokenize", tokenize),
            ("POST", "/detokenize", detokenize),
        )
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: failed})
    app.router.redirect_slashes = False
    return app


def refused(refusal: Refusal) -> Response:
    """A refusal as an answer."""
    headers = dict(SAFE)
    if refusal.wait is not None:
        headers["retry-after"] = str(refusal.wait)
    if refusal.status in (408, 413):
        headers["connection"] = "close"  # what is left of the body would be read as a request
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(refusal.told(), refusal.status, headers)


def _lost(desk: Desk, request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    status = getattr(error, "status_code", 404)
    try:
        check_caller(request.headers, request.url.path, desk.key)
    except Refusal as refusal:
        return refused(refusal)
    told = (
        f"no such path {shown(request.url.path)}: POST /v1/completions, /v1/xray; GET /v1/models, /health, /metrics, /"
    )
    if status == 405:
        allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
        told = f"{request.method} is not for {request.url.path}" + (f": use {allowed}" if allowed else "")
    desk.metrics.count("weightless_requests_total", path="other", status=str(status))
    answer = refused(Refusal(status, told))
    if status == 405:
        answer.headers["allow"] = (getattr(error, "headers", None) or {}).get("Allow", "")
    return answer


async def health(desk: Desk, request: Request) -> Response:
    if desk.room.stopping:
        raise Stopping
    return JSONResponse({"status": "ok"}, headers=SAFE)


async def metrics(desk: Desk, request: Request) -> Response:
    active, waiting = desk.room.load
    gauges = [
        ("weightless_active_texts", "texts that are being written", active),
        ("weightless_waiting_texts", "texts that wait for a place", waiting),
        ("weightless_places", "texts that can be written together", desk.room.most),
    ]
    return PlainTextResponse(desk.metrics.text(gauges), headers=SAFE, media_type="text/plain; version=0.0.4")


async def page(desk: Desk, request: Request) -> Response:
    """The X-ray page, allowed its own style and scripts and nothing else."""
    from weightless.xray.page import html, policy

    return HTMLResponse(html(None, wants_key=bool(desk.key)), headers={**SAFE, "content-security-policy": policy()})


async def models(desk: Desk, request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_about(model) for model in desk.models.values()]}, headers=SAFE)


async def one_model(desk: Desk, request: Request) -> Response:
    return JSONResponse(_about(desk.model(request.path_params["name"])), headers=SAFE)


def _about(model: Served) -> dict[str, Any]:
    """OpenAI's four fields, and what else is worth knowing."""
    known = {"id": model.name, "object": "model", "created": model.created, "owned_by": "weightless"}
    stored = model.packed.stored_bytes()
    more = {"family": model.packed.family, "context": model.context, "vocab_size": model.packed.program.vocab_size}
    return {**known, **more, "bytes": stored["file"]}


async def completions(desk: Desk, request: Request) -> Any:
    values = parsed(await read_body(request.headers, request.receive, desk.limits.body))
    asked = read_completion(values, desk.limits.tokens)
    answering = Answering(desk.room, desk.model(asked.model), asked)
    answering.begin()
    if asked.stream:
        return Events(answering, [(name.encode(), value.encode()) for name, value in SAFE.items()])
    return JSONResponse(await answering.whole(request.receive), headers=SAFE)


async def about_tokens(desk: Desk, request: Request) -> Response:
    return JSONResponse(tokenizer_info(desk.model(None, is_needed=False)), headers=SAFE)


async def tokenize(desk: Desk, request: Request) -> Response:
    values = parsed(await read_body(request.headers, request.receive, desk.limits.body))
    return JSONResponse(tokenized(desk.model(values.get("model"), is_needed=False), values), headers=SAFE)


async def detokenize(desk: Desk, request: Request) -> Response:
    values = parsed(await read_body(request.headers, request.receive, desk.limits.body))
    return JSONResponse(detokenized(desk.model(values.get("model"), is_needed=False), values), headers=SAFE)


async def xray(desk: Desk, request: Request) -> Response:
    """{"xray": record} of one text, the first LONGEST_XRAY tokens of it."""
    from weightless.xray.record import record

    values = parsed(await read_body(request.headers, request.receive, desk.limits.body))
    refuse_unknown(values, {"model", "text"})
    text, model = read_text("text", values.get("text")), desk.model(values.get("model"))
    if desk.n_xrays >= MOST_XRAYS:
        raise Refusal(429, f"{desk.n_xrays} X-rays wait already: ask again later", code="too_many_requests", wait=5)
    desk.n_xrays += 1
    try:
        async with desk.one_xray:
            if desk.room.stopping:
                raise Stopping
            found = await asyncio.to_thread(record, model.packed, text, limit=LONGEST_XRAY, name=model.name)
    except WeightlessError as error:
        told = refusal_for(error, model)
        raise Refusal(400, str(told), param="text") from error
    finally:
        desk.n_xrays -= 1
    return JSONResponse({"xray": found}, headers=SAFE)


def quiet() -> None:
    """uvicorn's own lines stay away; what goes wrong in a handler is printed by Endpoint."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
