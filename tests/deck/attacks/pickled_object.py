"""An object that runs a command when it is unpickled.

WRONG_SHAPE
"""


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def row_energy(x):
    return Bomb()


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
