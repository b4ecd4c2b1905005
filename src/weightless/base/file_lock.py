"""The operating system's lock on an open file: it ends with its process, however that dies.

flock on POSIX; on Windows a locked byte, far behind any content, because locks are mandatory there and one that
covered the content would hide who holds the file.  A forked process shares the lock of its parent.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_LOCKED_BYTE = 1 << 30


def locked(handle: int) -> bool:
    """Lock the file if nobody has; OSError where files cannot be locked."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def is_still_there(handle: int, path: Path) -> bool:
    """Whether the locked file is the one of that name: its last holder may have taken it away meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
