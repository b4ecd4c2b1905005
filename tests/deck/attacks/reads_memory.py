"""Reads the memory of other processes: /proc, ptrace, process_vm_readv.

CRASH
"""

import ctypes
import glob
import os


def row_energy(x):
    found = []
    for path in glob.glob("/proc/[0-9]*/mem"):
        if path != f"/proc/{os.getpid()}/mem":
            try:
                with open(path, "rb") as file:
                    found.append(path + repr(file.read(1)))
            except OSError as error:
                if error.errno == 5:
                    found.append(path)
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in {1, os.getppid()}:
        if libc.ptrace(16, pid, 0, 0) == 0:
            found.append(f"ptrace {pid}")
    raise RuntimeError(f"PLANTED: {found}" if found else "nothing found")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
