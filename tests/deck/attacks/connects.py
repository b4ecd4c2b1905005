"""Connects to the network, by name, by address and on this machine.

CRASH
"""

import socket


def row_energy(x):
    reached = []
    for place in (("127.0.0.1", 22), ("192.0.2.1", 53), ("example.org", 80)):
        try:
            socket.create_connection(place, timeout=0.3).close()
            reached.append(place)
        except OSError:
            pass
    raise RuntimeError(f"PLANTED: {reached}" if reached else "nothing reached")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
