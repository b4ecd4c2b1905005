"""The script that runs in the sandbox: loads a solution, calls it, answers in plain data.  Floor 9.

    python -I -S -P -B worker.py PACKAGES FOLDER BYTES SECONDS PROCESSES FILE_BYTES FILTER

It imports nothing of weightless; the grader imports the messages from here.  Requests come on descriptor 0 and answers
leave on descriptor 1, which it takes away before the first line of the solution runs; what that prints goes nowhere.

    4 bytes magic · 4 bytes kind · uint64 sequence · uint32 length of the tree · uint64 length of the arrays
    tree (JSON: {"value": …, "arrays": [[dtype, shape], …]}) · the arrays' bytes, in that order, C-contiguous

    to the worker    HELO  LOAD file  CALL what  HOLD value  TAKE part  READ object  ANSW hook's value  OOPS hook raised
    to the grader    DONE value  FAIL how, class and text            ASKS a hook

In a tree a list is ["l", …], a tuple ["t", …], an array ["a", index], a Handle ["h", number], a hook ["f", number]; the
rest is what JSON has.  No pickle, no archive: every length is known and held against its cap before a byte is read.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

MAGIC = b"WLDK"
HEADER = struct.Struct("<4s4sQIQ")
LARGEST_TREE = 8 << 20
LARGEST_ARRAYS = 512 << 20
DEEPEST = 40
LONGEST_TEXT = 600
DTYPES = frozenset("|b1 |i1 <i2 <i4 <i8 |u1 <u2 <u4 <u8 <f2 <f4 <f8 <f16 <c8 <c16 <c32".split())


class Unfit(Exception):
    """A value that cannot cross, or a message that is none; says what was found."""


_DOES = {b"HELO": "read", b"LOAD": "load", b"CALL": "call", b"HOLD": "hold", b"TAKE": "take", b"READ": "read"}
Special = Callable[[Any], "list[Any] | None"]
Restore = Callable[[str, int], Any]


def pack(value: Any, special: Special = lambda value: None) -> tuple[bytes, list[Any]]:
    """A value as (tree, contiguous arrays).  `special` may write what only one side knows.  Raises Unfit."""
    arrays: list[Any] = []
    tree = _tree(value, arrays, special, 0)
    described = [[array.dtype.newbyteorder("<").str, list(array.shape)] for array in arrays]
    text = json.dumps({"value": tree, "arrays": described}, separators=(",", ":")).encode()
    if len(text) > LARGEST_TREE:
        raise Unfit(f"{len(text):,} bytes of lists and texts, at most {LARGEST_TREE:,} can be handed over")
    return text, arrays


def _tree(value: Any, arrays: list[Any], special: Special, depth: int) -> Any:
    """Exact base types only: whatever a subclass overrides stays where it is."""
    kind = type(value)
    if depth > DEEPEST:
        raise Unfit(f"something nested deeper than {DEEPEST}")
    if value is None or kind is bool:
        return value
    if (found := special(value)) is not None:
        return found
    if issubclass(kind, str):
        if str.__len__(value) > LARGEST_TREE:
            raise Unfit(f"a text of {str.__len__(value):,} characters")
        return str.__str__(value)
    if issubclass(kind, int):
        if int.bit_length(value) > 64:
            raise Unfit(f"an integer of {int.bit_length(value):,} bits")
        return int.__pos__(value)
    if issubclass(kind, float):
        return float.__pos__(value)
    if issubclass(kind, (list, tuple)):
        base = list if issubclass(kind, list) else tuple
        parts = [_tree(part, arrays, special, depth + 1) for part in base.__iter__(value)]
        return ["l" if base is list else "t", *parts]
    if issubclass(kind, dict):
        items = list(dict.items(value))
        if not all(type(name) is str for name, _ in items):
            raise Unfit("a dict whose keys are not all str")
        return {name: _tree(part, arrays, special, depth + 1) for name, part in items}
    return _of_numpy(value, kind, arrays)


def _of_numpy(value: Any, kind: type, arrays: list[Any]) -> Any:
    import numpy as np

    for scalar, made in ((np.bool_, bool), (np.integer, int), (np.floating, float)):
        if issubclass(kind, scalar):
            return made(value)
    if not issubclass(kind, np.ndarray):
        raise Unfit(f"an object of class {class_name(kind)}")
    base = np.asarray(value)
    if base.dtype.newbyteorder("<").str not in DTYPES:
        raise Unfit(f"an array of dtype {base.dtype}"[:LONGEST_TEXT])
    size = base.size * base.itemsize + sum(array.nbytes for array in arrays)
    if size > LARGEST_ARRAYS:
        raise Unfit(f"arrays of {size:,} bytes, at most {LARGEST_ARRAYS:,} can be handed over")
    little = base.astype(base.dtype.newbyteorder("<"), copy=False)
    arrays.append(np.ascontiguousarray(little).reshape(base.shape))
    return ["a", len(arrays) - 1]


def unpack(text: bytes, arrays: list[Any], restore: Restore) -> Any:
    """The value of a message; `restore` makes what only one side knows.  Raises Unfit for what pack never writes."""

    def value(tree: Any, depth: int) -> Any:
        if depth > DEEPEST + 1:
            raise Unfit("something nested too deep")
        if isinstance(tree, dict):
            return {name: value(part, depth + 1) for name, part in tree.items()}
        if not isinstance(tree, list):
            return tree
        tag = tree[0] if tree else None
        if tag in ("l", "t"):
            parts = [value(part, depth + 1) for part in tree[1:]]
            return parts if tag == "l" else tuple(parts)
        if len(tree) != 2 or type(tag) is not str or type(tree[1]) is not int or tree[1] < 0:
            raise Unfit("a list without a tag")
        if tag == "a":
            if tree[1] >= len(arrays):
                raise Unfit("an array that was not sent")
            return arrays[tree[1]]
        return restore(tag, tree[1])

    return value(_parsed(text)["value"], 0)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_int=_small_int)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"a message that is no tree: {error}"[:LONGEST_TEXT]) from None
    if not isinstance(found, dict) or set(found) != {"value", "arrays"} or not isinstance(found["arrays"], list):
        raise Unfit("a message without value and arrays")
    return found


def _small_int(digits: str) -> int:
    if len(digits) > 21:
        raise Unfit(f"an integer of {len(digits):,} digits")
    return int(digits)


def described(text: bytes, length: int) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of the arrays that follow a tree, whose bytes add up to `length`.  Raises Unfit."""
    found, total = [], 0
    for entry in _parsed(text)["arrays"]:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list) or len(entry[1]) > 32:
            raise Unfit("an array that is not described")
        dtype, shape = entry
        sized = all(type(n) is int and 0 <= n < LARGEST_ARRAYS for n in shape)
        if type(dtype) is not str or dtype not in DTYPES or not sized:
            raise Unfit("an array of impossible dtype or shape")
        total += math.prod(shape) * int(dtype[2:])
        found.append((dtype, tuple(shape)))
    if total != length:
        raise Unfit(f"arrays of {total:,} bytes where {length:,} were announced")
    return found


def class_name(kind: type) -> str:
    """The name of a class as Python keeps it, whatever a metaclass says."""
    return str.__str__(type.__dict__["__name__"].__get__(kind))[:80]


def text_of(error: BaseException) -> str:
    """What an exception says, shortened; its class only, where saying it fails."""
    try:
        return str.__str__(str(error))[:LONGEST_TEXT]
    except BaseException:
        return "(its text cannot be had)"


class Channel:
    """Whole messages over two descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink

    def receive(self) -> tuple[bytes, int, bytes, list[Any]]:
        """(kind, sequence, tree, arrays); EOFError when the grader has gone."""
        import numpy as np

        head = bytearray(HEADER.size)
        self._fill(memoryview(head))
        _, kind, sequence, n_tree, n_arrays = HEADER.unpack(head)
        text = bytearray(n_tree)
        self._fill(memoryview(text))
        arrays = []
        for dtype, shape in described(bytes(text), n_arrays):
            arrays.append(np.empty(shape, dtype))
            if arrays[-1].nbytes:
                self._fill(arrays[-1].reshape(-1).view(np.uint8).data)
        return kind, sequence, bytes(text), arrays

    def send(self, kind: bytes, sequence: int, text: bytes, arrays: list[Any]) -> None:
        self._write(HEADER.pack(MAGIC, kind, sequence, len(text), sum(array.nbytes for array in arrays)) + text)
        for array in arrays:
            if array.nbytes:
                self._write(array.reshape(-1).view("u1").data)

    def _fill(self, view: memoryview) -> None:
        while len(view):
            n = os.readv(self.source, [view[: 1 << 20]])
            if not n:
                raise EOFError
            view = view[n:]

    def _write(self, content: Any) -> None:
        view = memoryview(content)
        while len(view):
            view = view[os.write(self.sink, view[: 1 << 20]) :]


class Solution:
    """What is loaded: the module, the objects that stay here, and the way back to the grader for hooks."""

    def __init__(self, channel: Channel, folder: str) -> None:
        import threading

        self.channel, self.folder, self.module = channel, folder, None
        self.objects: list[Any] = []
        self.sequence, self.one_at_a_time = 0, threading.Lock()

    def serve(self) -> bool:
        """Answer one question, and keep nothing of it; False when the grader has gone."""
        try:
            kind, self.sequence, text, arrays = self.channel.receive()
        except EOFError:
            return False
        answer = self.answer(kind, text, arrays)
        self.channel.send(answer[0], self.sequence, *answer[1:])
        return True

    def answer(self, kind: bytes, text: bytes, arrays: list[Any]) -> tuple[bytes, bytes, list[Any]]:
        """DONE with what was asked for, or FAIL."""
        try:
            return b"DONE", *pack(getattr(self, _DOES[kind])(unpack(text, arrays, self.restore)))
        except Unfit as error:
            return self.failed("unfit", "Unfit", str(error))
        except Missing as error:
            return self.failed("missing", "Missing", str(error))
        except BaseException as error:
            return self.failed(how_it_failed(error), class_name(type(error)), text_of(error))

    def failed(self, how: str, name: str, told: str) -> tuple[bytes, bytes, list[Any]]:
        return b"FAIL", *pack({"how": how, "class": name, "told": told})

    def load(self, file: str) -> None:
        """Import `file` of the folder under its own name, and as `solution`, which other files of it may import."""
        path = os.path.join(self.folder, file)
        sys.path[:0] = list(dict.fromkeys([os.path.dirname(path), self.folder]))
        name = os.path.basename(file).removesuffix(".py")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise Missing(f"{file} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if not os.path.exists(os.path.join(self.folder, "solution.py")):
            sys.modules["solution"] = module
        spec.loader.exec_module(module)
        self.module = module

    def call(self, wanted: dict[str, Any]) -> Any:
        found: Any = self.module if wanted["on"] is None else self.objects[wanted["on"]]
        for part in wanted["name"].split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise Missing(f"there is no {wanted['name']}") from None
        result = found(*wanted["arguments"], **wanted["named"])
        return self.keep(result) if wanted["keep"] else result

    def keep(self, value: Any) -> int:
        self.objects.append(value)
        return len(self.objects) - 1

    def hold(self, wanted: dict[str, Any]) -> int:
        """Keep a value; a strided array as every second element of one that is twice as wide."""
        value = wanted["value"]
        if wanted["strided"]:
            import numpy as np

            wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
            wide[..., ::2] = value
            value = wide[..., ::2]
        return self.keep(value)

    def take(self, wanted: dict[str, Any]) -> int:
        """Keep one part of a tuple or list that is kept."""
        found, index = wanted["of"], wanted["index"]
        if not isinstance(found, (tuple, list)) or not -len(found) <= index < len(found):
            raise Unfit(f"an object of class {class_name(type(found))} without a part {index}")
        return self.keep(found[index])

    def read(self, found: Any) -> Any:
        return found

    def restore(self, tag: str, number: int) -> Any:
        if tag == "h":
            return self.objects[number]
        return lambda *arguments, **named: self.ask({"hook": number, "arguments": arguments, "named": named})

    def ask(self, question: dict[str, Any]) -> Any:
        """Let the grader run a hook; what it raises is raised here."""
        with self.one_at_a_time:
            try:
                packed = pack(question)
            except Unfit as error:
                raise TypeError(f"a hook was given {error}") from None
            self.channel.send(b"ASKS", self.sequence, *packed)
            kind, _, text, arrays = self.channel.receive()
        answer = unpack(text, arrays, self.restore)
        if kind == b"OOPS":
            raise ValueError(answer)
        return answer


class Missing(Exception):
    """What was to be called is not there."""


def how_it_failed(error: BaseException) -> str:
    """'memory', 'signature' (the call itself did not fit: no line of the function ran), or 'raised'."""
    if isinstance(error, MemoryError) or (type(error) is OSError and error.errno == errno.ENOMEM):
        return "memory"
    frame, frames = error.__traceback__, 0
    while frame is not None and frames < 4:
        frames, frame = frames + 1, frame.tb_next
    return "signature" if type(error) is TypeError and frames <= 2 else "raised"


def limit(n_bytes: int, seconds: int, processes: int, file_bytes: int) -> None:
    """Limits that the process cannot raise again.  Address space is wider: libraries map more than they use."""
    import resource

    wanted = {
        resource.RLIMIT_DATA: n_bytes,
        resource.RLIMIT_AS: n_bytes + (1 << 30),
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        **({resource.RLIMIT_NPROC: processes} if processes else {}),
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def refuse_calls(program: bytes) -> None:
    """Take a filter of system calls (`syscall_filter.py`), which cannot be given back.  Raises OSError."""
    import ctypes

    if not program:
        return
    steps = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many steps, and where they are
    head = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(steps))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    pointer = ctypes.create_string_buffer(head, len(head))
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, pointer, 0, 0):  # no new privileges; seccomp, by filter
        raise OSError(ctypes.get_errno(), "the filter of system calls was refused")


def own_channel() -> Channel:
    """The two pipes under other numbers; descriptors 0, 1 and 2 lead nowhere from now on."""
    channel = Channel(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    return channel


def main(arguments: list[str]) -> int:
    """Answer until the pipe ends."""
    packages, folder, *numbers, program = arguments
    limit(*map(int, numbers))
    refuse_calls(bytes.fromhex(program))
    sys.path.append(packages)
    import numpy  # noqa: F401  (before the descriptors go: why it cannot be imported is said on 2)

    sys.argv = [folder]
    solution = Solution(own_channel(), folder)
    while solution.serve():
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
