"""Standard output and error as they are: not UTF-8, full, or closed by a reader that has seen enough.

A name whose bytes are no text stands in Python's strings as lone surrogates; it is printed as the bytes that it is.  A
character that the stream's encoding lacks is printed as its escape, so that nothing done is lost for want of a letter.
"""

from __future__ import annotations

import codecs
import os
import sys

HANDLER = "weightless.shown"


def prepare() -> None:
    """Make both streams take any string."""
    codecs.register_error(HANDLER, shown)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)  # type: ignore[union-attr]


def shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes for what cannot be encoded: the byte behind a surrogate of a file name, else a backslash escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    out = b""
    for letter in error.object[error.start : error.end]:
        code = ord(letter)
        out += bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else letter.encode("ascii", "backslashreplace")
    return out, error.end


def silence() -> None:
    """Let Python's last flush find a stream that takes everything: what could not be written is told already."""
    try:
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
    except (OSError, ValueError):  # no file behind it
        return
