"""The process in which code under audit runs.  Started by entry_point.py as a script; it imports nothing of weightless.

    python -P entry_worker.py ENTRY MEMORY_BYTES CPU_SECONDS

Requests come on standard input and answers leave on standard output, both as messages of plain data:

    4 bytes kind · uint64 length (little-endian) · payload

    request   LOGP int64 prefix   SCOR int64 tokens   BYTE int64 tokens   RANG int64 [1]
    answer    INFO int64 [vocab_size or -1, context or -1, bits of what is offered]
              REAL float64 [...]   WHOL int64 [...]   FAIL UTF-8 text

What the code prints goes to standard error.  Limits of memory and processor time are set before its first line runs.
They stop accidents; they are no sandbox: the code has the rights of whoever starts the audit.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import resource
import struct
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<4sQ")
SURFACES = {b"LOGP": "log_probs", b"SCOR": "score", b"BYTE": "byte_counts", b"RANG": "scored_ranges"}
LONGEST_TEXT = 2000


class Channel:
    """Messages over two file descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink

    def receive(self) -> tuple[bytes, bytes] | None:
        """(kind, payload), or None when the auditor has gone."""
        head = self._read(HEADER.size)
        if len(head) < HEADER.size:
            return None
        kind, length = HEADER.unpack(head)
        return kind, self._read(length)

    def send(self, kind: bytes, payload: bytes) -> None:
        left = memoryview(HEADER.pack(kind, len(payload)) + payload)
        while left:
            left = left[os.write(self.sink, left) :]

    def _read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length and (part := os.read(self.source, min(length - len(parts), 1 << 20))):
            parts += part
        return bytes(parts)


class Function:
    """A bare function log_probs(prefix) as an object."""

    def __init__(self, log_probs: Callable[[Any], Any]) -> None:
        self.log_probs = log_probs


def own_channel() -> Channel:
    """The two pipes under private numbers; whoever prints or reads from now on does not meet them."""
    channel = Channel(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return channel


def limit(memory: int, cpu_seconds: int) -> None:
    """Limits that the process cannot raise again; where a system has none of a kind, it goes without."""
    wanted = ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_CORE, 0))
    for kind, value in wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def load(entry: str) -> Any:
    """The predictor that `module:attribute` or `path.py:attribute` names.

    A class, or a function without required arguments, is called; another function is log_probs itself.
    """
    where, _, attribute = entry.rpartition(":")
    if where.endswith(".py"):
        path = Path(where).resolve()
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{where} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    found: Any = reduce(getattr, attribute.split("."), module)
    if inspect.isclass(found) or (callable(found) and not hasattr(found, "log_probs") and not needs_arguments(found)):
        found = found()
    if not hasattr(found, "log_probs") and callable(found):
        found = Function(found)
    if not callable(getattr(found, "log_probs", None)):
        raise TypeError(f"{attribute} has no method log_probs(prefix)")
    return found


def needs_arguments(function: Callable[..., Any]) -> bool:
    """Whether it cannot be called without arguments."""
    empty, named = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(function).parameters.values()
    return any(p.default is empty and p.kind <= named for p in parameters)


def about(predictor: Any) -> list[int]:
    """vocab_size, context (-1 where unknown), and a bit for each surface offered."""
    sizes = [getattr(predictor, name, None) for name in ("vocab_size", "context")]
    bits = sum(1 << i for i, name in enumerate(SURFACES.values()) if callable(getattr(predictor, name, None)))
    return [*(-1 if size is None else int(size) for size in sizes), bits]


def answer(predictor: Any, kind: bytes, payload: bytes) -> tuple[bytes, bytes]:
    """One answer; what the code raises becomes the caller's FAIL."""
    import numpy as np

    given = np.frombuffer(payload, dtype="<i8").copy()
    value = getattr(predictor, SURFACES[kind])(int(given[0]) if kind == b"RANG" else given)
    if hasattr(value, "detach"):  # a PyTorch tensor, wherever it lies
        value = value.detach().cpu()
    whole = kind in (b"BYTE", b"RANG")
    array = np.ascontiguousarray(value, dtype="<i8" if whole else "<f8")
    return (b"WHOL" if whole else b"REAL"), array.tobytes()


def told(error: BaseException) -> bytes:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:LONGEST_TEXT]


def main(arguments: list[str]) -> int:
    """Answer until the pipe ends."""
    entry, memory, cpu_seconds = arguments
    channel = own_channel()
    limit(int(memory), int(cpu_seconds))
    sys.argv = [entry]
    try:
        predictor = load(entry)
        channel.send(b"INFO", struct.pack("<3q", *about(predictor)))
    except (Exception, SystemExit) as error:
        channel.send(b"FAIL", told(error))
        return 1
    while (message := channel.receive()) is not None:
        try:
            reply = answer(predictor, *message)
        except (Exception, SystemExit) as error:
            reply = (b"FAIL", told(error))
        channel.send(*reply)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
