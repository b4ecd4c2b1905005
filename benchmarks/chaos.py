"""Chaos: damaged files, killed commands and wrong flags; nothing may be lost, silently wrong, or end in a traceback.

    python benchmarks/chaos.py damage --seconds 3600     files of every kind damaged; --case N repeats one
    python benchmarks/chaos.py kills --kills 100         commands killed (-9) at random moments and resumed
    python benchmarks/chaos.py flags --seconds 600       random values for the flags of every verb

Each prints counts and every kind of fault with what repeats it, and ends with 1 when there was a fault.
What is promised, and what these runs have found: docs/reliability.md.  POSIX only: workers are forked.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from weightless.base.cores import cores

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before any of them is loaded: processes that fork must have no threads


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=0, help="every case is a function of it and of its number")
    common.add_argument(
        "--folder",
        default=str(Path(tempfile.gettempdir()) / "weightless-chaos"),
        help="where specimens and faults are kept",
    )
    common.add_argument("--workers", type=int, default=cores())
    hunts = argparse.ArgumentParser(add_help=False)
    hunts.add_argument("--seconds", type=float, default=3600)
    hunts.add_argument("--cases", type=int, default=10**9, help="at most so many")
    hunts.add_argument("--start", type=int, default=0, help="the number of the first case")
    hunts.add_argument("--case", type=int, default=None, help="repeat one case, with its traceback")
    hunts.add_argument("--hang", type=float, default=30, help="seconds after which a case counts as hanging")
    hunts.add_argument("--memory", type=int, default=3072, help="MiB that a worker may take beyond its start")
    verbs.add_parser("damage", parents=[common, hunts])
    verbs.add_parser("flags", parents=[common, hunts])
    kills = verbs.add_parser("kills", parents=[common])
    kills.add_argument("--kills", type=int, default=100)
    kills.add_argument("--only", default="", help="only commands with this in their name")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    if options.verb == "damage":
        from chaos_damage import hunted
    elif options.verb == "kills":
        from chaos_kills import hunted
    else:
        from chaos_flags import hunted
    return hunted(options)


if __name__ == "__main__":
    sys.exit(main())
