"""A server under load: 64 streams at once for two minutes, beside readers that are slow, cut lines or send nonsense.

    python benchmarks/serving.py MODEL.wl [MODEL2.wl …] [--streams 64] [--seconds 120] [--tokens 64] [--out FILE.json]

`weightless serve` runs as a process of its own; the readers run here, so both share the machine's cores.  Each of
--streams readers asks for one text after the other, as a stream, and every text is compared with what
`decode.generate` writes with the same seed (written before, from the artifact).  Beside them: four readers that take a
few bytes a second, four that cut their line behind the first token, and one that goes round among half a request, a
body of 10 MB, no JSON and an unknown parameter.

Gates: no error, every text equal, every kind of nonsense with its status, the server's memory at the end within a
tenth of what it was after a quarter of the time, exit code 0 on SIGTERM.  Reported: seconds to the first token (p50,
p99), between tokens, tokens per second; there is a place for every reader, so nobody waits for one.  Before that, in
interleaved rounds, the step that the server does not take: `BatchRunner` over as many rows against one engine per text,
milliseconds of processor time per token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from weightless.decode.batch_runner import BatchRunner, unsupported
from weightless.decode.generate import generate
from weightless.decode.sampling import Sampling
from weightless.export.packed import Packed, open_packed

PROMPTS = ("Once upon a time", "The fox said", "", "It was the best of times, it was", "In the beginning")
SEEDS = 4
LARGE = 10_000_000
ROUNDS = 5


@dataclass
class Seen:
    """What the readers have seen."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    texts: int = 0
    tokens: int = 0
    cut: int = 0
    slow: int = 0
    nonsense: dict[str, int] = field(default_factory=dict)


def expected(models: dict[str, Packed], n_tokens: int) -> list[tuple[dict[str, Any], str]]:
    """(request, the text that it should get)."""
    found = []
    for name, packed in models.items():
        for prompt in PROMPTS:
            for seed in range(SEEDS):
                sampling = Sampling(0.8, 0.95, seed, n_tokens)
                asked = {"model": name, "prompt": prompt, "seed": seed, "max_tokens": n_tokens, "stream": True}
                wanted = generate(packed, prompt, sampling)["text"]
                found.append(({**asked, "temperature": 0.8, "top_p": 0.95}, wanted))
    return found


def bytes_of(values: Any) -> bytes:
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def reader(
    port: int, requests: Sequence[tuple[dict[str, Any], str]], number: int, end: float, seen: Seen
) -> None:
    """One text after the other; the next is asked for when the last has ended."""
    while time.monotonic() < end:
        asked, wanted = requests[number % len(requests)]
        number += 7
        line, out = await asyncio.open_connection("127.0.0.1", port)
        before = began = time.perf_counter()
        out.write(bytes_of(asked))
        text, events = "", 0
        async for event in events_from(line):
            now = time.perf_counter()
            if "error" in event:
                seen.wrong.append(json.dumps(event)[:200])
                break
            if event["choices"][0]["finish_reason"] is None:
                (seen.between if events else seen.first).append(now - before)
                events, before = events + 1, now
            text += event["choices"][0]["text"]
        out.close()
        seen.texts, seen.tokens = seen.texts + 1, seen.tokens + events
        if text != wanted:
            seen.wrong.append(f"{asked}: {text!r}, not {wanted!r}, after {time.perf_counter() - began:.1f} s")


async def events_from(line: asyncio.StreamReader):  # type: ignore[no-untyped-def]
    """The events of a stream; one of its own when it ends without [DONE]."""
    async for row in line:
        if row == b"data: [DONE]\n":
            return
        if row.startswith(b"data: "):
            yield json.loads(row[6:])
        elif row.startswith(b"HTTP/1.1 ") and b" 200 " not in row:
            yield {"error": row.decode()}
    yield {"error": "the stream ended without [DONE]"}


async def slow_reader(port: int, asked: dict[str, Any], end: float, seen: Seen) -> None:
    """Takes a few bytes a second of a stream, and counts those that it has begun."""
    while time.monotonic() < end:
        line, out = await asyncio.open_connection("127.0.0.1", port, limit=64)
        out.write(bytes_of(asked))
        seen.slow += 1
        while time.monotonic() < end and await line.read(16):
            await asyncio.sleep(0.5)
        out.transport.abort()


async def cutter(port: int, asked: dict[str, Any], end: float, seen: Seen) -> None:
    """Cuts its line behind the first token."""
    while time.monotonic() < end:
        line, out = await asyncio.open_connection("127.0.0.1", port)
        out.write(bytes_of({**asked, "max_tokens": 4000, "ignore_eos": True}))
        while not (await line.readline()).startswith(b"data: "):
            pass
        out.transport.abort()
        seen.cut += 1
        await asyncio.sleep(0.2)


async def stranger(port: int, end: float, seen: Seen) -> None:
    """Goes round among what should be refused, and compares the status."""
    large = bytes_of(b'{"prompt":"' + b"x" * LARGE + b'"}')
    kinds = {
        "half a request": (bytes_of({"model": "m", "prompt": "x"})[:90], b"408"),
        "10 MB": (large, b"413"),
        "no JSON": (bytes_of(b'{"model":'), b"400"),
        "unknown parameter": (bytes_of({"model": "m", "prompt": "x", "max_token": 1}), b"400"),
        "unknown model": (bytes_of({"model": "none such", "prompt": "x"}), b"404"),
    }
    while time.monotonic() < end:
        for name, (content, status) in kinds.items():
            line, out = await asyncio.open_connection("127.0.0.1", port)
            out.write(content)
            told = await line.readline()
            out.transport.abort()
            seen.nonsense[name] = seen.nonsense.get(name, 0) + 1
            if told.split(b" ")[1:2] != [status]:
                seen.wrong.append(f"{name}: {told!r}, not {status!r}")
            await asyncio.sleep(0.1)


async def everybody(
    port: int, requests: Sequence[tuple[dict[str, Any], str]], streams: int, seconds: float, watch: Any
) -> tuple[Seen, list[int]]:
    """All readers until the time is up; the server's memory after a quarter of it, and at its end."""
    seen, end = Seen(), time.monotonic() + seconds
    asked = requests[0][0]
    readers = [reader(port, requests, 3 * i, end, seen) for i in range(streams)]
    readers += [slow_reader(port, asked, end, seen) for _ in range(4)]
    readers += [cutter(port, asked, end, seen) for _ in range(4)]
    tasks = [asyncio.create_task(each) for each in (*readers, stranger(port, end, seen))]
    await asyncio.sleep(seconds / 4)
    memory = [watch.memory_info().rss]
    await asyncio.sleep(max(0.0, end - time.monotonic() - 0.2))
    memory.append(watch.memory_info().rss)
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, BaseException):
            seen.wrong.append(repr(done))
    return seen, memory


def load(paths: Sequence[str], streams: int, seconds: float, n_tokens: int) -> dict[str, Any]:
    """Serve, ask, compare; the figures, with all that was wrong under "wrong"."""
    models = {Path(path).absolute().parent.name + str(i): open_packed(path) for i, path in enumerate(paths)}
    requests = expected(models, n_tokens)
    command = [sys.executable, "-m", "weightless", "serve", *paths, "--names", *models, "--port", "0"]
    command += ["--together", str(streams + 8), "--queue", "64"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            found = next(filter(None, (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in server.stderr or ())))
            watch = psutil.Process(server.pid)
            seen, memory = asyncio.run(everybody(int(found[1]), requests, streams, seconds, watch))
            server.terminate()
            code = server.wait(20)
        finally:
            server.kill()
    if code != 0:
        seen.wrong.append(f"exit code {code} on SIGTERM")
    if memory[1] > 1.1 * memory[0]:
        seen.wrong.append(f"memory grew from {memory[0]:,} to {memory[1]:,} bytes")
    return {**figures(seen, seconds), "streams": streams, "memory": memory, "wrong": seen.wrong}


def figures(seen: Seen, seconds: float) -> dict[str, Any]:
    def percentiles(values: list[float]) -> dict[str, float]:
        cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [0.0] * 99
        return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4), "n": len(values)}

    told = {"first_token_s": percentiles(seen.first), "between_tokens_s": percentiles(seen.between)}
    counts = {"texts": seen.texts, "tokens": seen.tokens, "tokens_per_s": round(seen.tokens / seconds, 1)}
    return {**told, **counts, "cut": seen.cut, "slow": seen.slow, "nonsense": seen.nonsense, "seconds": seconds}


def steps(packed: Packed, rows: int) -> dict[str, float]:
    """Milliseconds of processor time per token: a batch of `rows`, and as many engines one after the other."""
    if unsupported(packed.program):
        return {}
    prompt = list(range(1, 33))
    runner = BatchRunner(packed.program, packed.weights, paged=True)
    sequences = [runner.begin() for _ in range(rows)]
    runner.forward([(sequence, prompt) for sequence in sequences])
    engines = [packed.engine() for _ in range(rows)]
    for engine in engines:
        for token in prompt:
            engine.feed(token)
    engines[0].distribution()
    spent: dict[str, list[float]] = {"batch": [], "engines": []}
    for turn in range(ROUNDS):
        began = time.process_time()
        runner.forward([(sequence, [40 + turn]) for sequence in sequences])
        middle = time.process_time()
        for engine in engines:
            engine.feed(40 + turn)
            engine.distribution()
        spent["batch"].append(middle - began)
        spent["engines"].append(time.process_time() - middle)
    return {name: round(1e3 * statistics.median(each) / rows, 4) for name, each in spent.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "ms_per_token": {path: steps(open_packed(path), options.streams) for path in options.models}
    }
    found |= load(options.models, options.streams, options.seconds, options.tokens)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
