"""python -m weightless.kernels.cuda [gpu | cpu | cubin]: build the CUDA kernels, and say where they are."""

from __future__ import annotations

import sys

from weightless.base.errors import WeightlessError, nearest
from weightless.kernels.cuda.build import SOURCES, cpu_library, cubin, folder_of_builds, gpu_library

KINDS = ("gpu", "cpu", "cubin")


def main(arguments: list[str]) -> int:
    """Build all sources in one way; exit code 2 with one line when that cannot be done."""
    kind = arguments[0] if arguments else "gpu"
    try:
        if kind not in KINDS:
            raise WeightlessError(f"no build {kind!r}: {nearest(kind, KINDS)}")
        folder_of_builds().mkdir(parents=True, exist_ok=True)
        for name in SOURCES:
            built = {"gpu": gpu_library, "cpu": cpu_library}.get(kind)
            path, said = (built(name), "") if built else cubin(name, folder_of_builds())
            print(path)
            print(said, end="")
    except WeightlessError as error:
        print(f"weightless.kernels.cuda: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
