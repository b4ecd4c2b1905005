"""A second process that compiles what merges and what encodes, while this one compiles what counts words, and counts.

It is started only where nothing of it was compiled before, and where a second core seems idle.  What it has compiled
lies in numba's disk cache, from which this process loads it; what it has not, when it is needed, is compiled here.

    helper().start(pattern)               where that is worth it
    helper().wait_for(MERGING)            what merges is compiled, or nobody compiles it
    compile_all()                         everything that byte-level BPE needs, for GPT-2's pattern (`./do setup`)

It ends when it is done, or with this process.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys

from weightless.base.compiled import cache_folder
from weightless.base.cores import is_one_idle
from weightless.base.own_process import own_process
from weightless.tokenizer.patterns import pattern_code

MERGING, ENCODING = b"m", b"e"


class Helper:
    """The second process, once it is started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def start(self, pattern: str) -> None:
        """Start it, if there is something to compile, and a core to do it."""
        if self._process is None and not is_compiled("merge_loop.merge_pairs") and is_one_idle():
            self._process = own_process(__name__, "compile_as_told", {"pattern": pattern}, answers=True)
            atexit.register(self.end)

    def wait_for(self, part: bytes) -> None:
        """Return when the process has compiled this part, or has ended."""
        while self._process is not None and part not in self._said:
            assert self._process.stdout is not None
            said = self._process.stdout.read(1)
            self._said += said
            if not said:
                self.end()

    def end(self) -> None:
        """End the process: what it is compiling now, nobody waits for."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@functools.cache
def helper() -> Helper:
    """The one of this process."""
    return Helper()


def is_compiled(kernel: str) -> bool:
    """Whether the disk cache has this kernel, for whatever types."""
    return any(cache_folder().glob(f"*/{kernel}-*.nbi"))


def compile_as_told(told: str) -> None:
    """What a helper is asked for: {"pattern": by name}."""
    from weightless.tokenizer.bpe_train import load_kernels

    load_kernels()
    _say(MERGING)
    _compile_encoding(json.loads(told)["pattern"])
    _say(ENCODING)


def _say(part: bytes) -> None:
    sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def compile_all() -> None:
    """Compile, or load, what trains and encodes with GPT-2's pattern."""
    from weightless.tokenizer.bpe_train import load_counting, load_kernels

    load_counting("gpt2")
    load_kernels()
    _compile_encoding("gpt2")


def _compile_encoding(pattern: str) -> None:
    import numpy as np

    from weightless.tokenizer.encoder import Encoder
    from weightless.tokenizer.rules import OURS

    ids = {bytes([byte]): byte for byte in range(256)}
    Encoder(ids, [], {}, pattern_code(pattern), np.dtype(np.uint16), OURS).encode(b"a", with_special=False)
