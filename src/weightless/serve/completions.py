"""/v1/completions: a checked request becomes jobs, and their pieces an answer, whole or in events.  Floor 10.

A reader that goes away frees its places; one that is slow is written to at its own speed, up to WRITE_SECONDS for one
event, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.serve.jobs import Job
from weightless.serve.parameters import Completion
from weightless.serve.refusals import Refusal
from weightless.serve.room import EngineRoom
from weightless.serve.served import Served
from weightless.serve.writer import Entry, Piece, told_of

WRITE_SECONDS = 60.0
"""A reader that takes nothing for so long is cut off."""

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@dataclass
class Answering:
    """One request on its way through the engine room."""

    room: EngineRoom
    model: Served
    asked: Completion
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    jobs: list[Job] = field(default_factory=list)
    n_prompt: int = 0
    n_drawn: int = 0
    touched: int = 0
    arrived: asyncio.Queue[tuple[int, Piece | Exception]] = field(default_factory=asyncio.Queue)

    def begin(self) -> None:
        """Put all choices into the engine room; Refusal when one of the prompts cannot be, or there is no room."""
        self.room.check_number(len(self.asked.prompts) * self.asked.n)
        for prompt in self.asked.prompts:
            ids, n_marks = self.model.ids(prompt), self.model.n_marks(prompt)
            self.n_prompt += len(ids) - n_marks
            echo = None
            if self.asked.echo:
                echo = prompt if isinstance(prompt, str) else self.model.packed.tokenizer.decode(prompt)
            for k in range(self.asked.n):
                sampling = replace(self.asked.sampling, seed=self.asked.sampling.seed + k)
                deliver = self._receiver(len(self.jobs))
                self.jobs.append(Job(self.model, ids, n_marks, sampling, self.asked.logprobs, echo, deliver))
        self.room.submit(self.jobs)
        self.room.metrics.count("weightless_prompt_tokens_total", self.n_prompt, model=self.model.name)

    def _receiver(self, index: int) -> Callable[[Piece | Exception], None]:
        return lambda piece: self.arrived.put_nowait((index, piece))

    async def pieces(self, receive: Receive) -> AsyncGenerator[tuple[int, Piece], None]:
        """(choice, piece) as they come, until all have ended; Gone when the reader has, a Refusal on trouble."""
        left = len(self.jobs)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while left:
                coming = asyncio.ensure_future(self.arrived.get())
                await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    raise Gone
                index, piece = coming.result()
                if isinstance(piece, Exception):
                    raise refusal_for(piece, self.model)
                self.n_drawn += piece.n_tokens
                self.touched += piece.touched
                left -= piece.reason is not None
                yield index, piece
        finally:
            gone.cancel()
            if left:
                self.room.cancel(self.jobs)
                self.room.metrics.count("weightless_cancelled_total", left, model=self.model.name)

    async def whole(self, receive: Receive) -> dict[str, Any]:
        """The answer in one piece."""
        texts: list[list[str]] = [[] for _ in self.jobs]
        entries: list[list[Entry]] = [[] for _ in self.jobs]
        reasons: list[str | None] = [None for _ in self.jobs]
        async with contextlib.aclosing(self.pieces(receive)) as pieces:
            async for index, piece in pieces:
                texts[index].append(piece.text)
                entries[index] += piece.entries
                reasons[index] = piece.reason
        choices = [self._choice(i, "".join(texts[i]), entries[i], reasons[i]) for i in range(len(self.jobs))]
        return {**self._head(), "choices": choices, "usage": self.usage(), "weightless": self.extra()}

    async def stream(self, receive: Receive) -> AsyncGenerator[dict[str, Any], None]:
        """Events: one for every piece that says something, at last the usage where it was asked for."""
        nothing = {"usage": None} if self.asked.include_usage else {}
        async with contextlib.aclosing(self.pieces(receive)) as pieces:
            async for index, piece in pieces:
                if piece.text or piece.entries or piece.reason:
                    choice = self._choice(index, piece.text, piece.entries, piece.reason)
                    yield {**self._head(), "choices": [choice], **nothing}
        if self.asked.include_usage:
            yield {**self._head(), "choices": [], "usage": self.usage(), "weightless": self.extra()}

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model.name}

    def _choice(self, index: int, text: str, entries: list[Entry], reason: str | None) -> dict[str, Any]:
        logprobs = None if self.asked.logprobs is None else told_of(self.model, entries)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def usage(self) -> dict[str, int]:
        total = self.n_prompt + self.n_drawn
        return {"prompt_tokens": self.n_prompt, "completion_tokens": self.n_drawn, "total_tokens": total}

    def extra(self) -> dict[str, int]:
        """What OpenAI does not tell: bytes touched by the draws, and the seed of the first choice."""
        return {"bytes_touched": self.touched, "seed": self.asked.sampling.seed}


class Gone(Exception):
    """The reader has gone; nobody is left to be told."""


class Events:
    """The ASGI answer of a stream: server-sent events, `data: {…}`, and `data: [DONE]` whatever has happened."""

    def __init__(self, answering: Answering, headers: list[tuple[bytes, bytes]]) -> None:
        self._answering, self._headers = answering, headers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        kind = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": [*kind, *self._headers]})
        try:
            async with contextlib.aclosing(self._answering.stream(receive)) as events:
                async for event in events:
                    await self._write(send, _event(event))
        except Gone:
            return
        except Refusal as refusal:
            await self._write(send, _event(refusal.told()))
        except TimeoutError:
            abort(scope)
            return
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _write(self, send: Send, body: bytes) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": True}
        await asyncio.wait_for(send(message), WRITE_SECONDS)


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


async def _gone(receive: Receive) -> None:
    """Returns when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def abort(scope: Any) -> None:
    """Cut a connection whose buffers will never be empty."""
    if transport := scope.get("state", {}).get("transport"):
        transport.abort()


def refusal_for(error: Exception, model: Served) -> Refusal:
    """What may be told of an error: one's own words without the model's place on the disk, of a bug nothing."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, WeightlessError):
        return Refusal(500, str(error).replace(str(model.packed.artifact.path), model.name))
    return Refusal(500, f"{model.name} failed on this text; the server's log says how", code="internal_error")
