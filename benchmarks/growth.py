"""How cost grows with the number of tokens, and what a thousand times as many would take.

    python benchmarks/growth.py [TEXT] [--largest 1e8] [--record growth.json] [--page docs/scale.md]
    python benchmarks/growth.py --only-page --page docs/scale.md

Stages: BPE training and encoding, writing and reading shards, counting an order-5 Kneser-Ney model, sorting a suffix
array, opening the counted model's file, decoding with it, the ledger.  Each is measured at 10^6, 3 * 10^6, 10^7 …
tokens up to --largest, in a fresh process, kernels compiled and loaded before its clock: wall and processor seconds,
peak of resident memory, bytes on the disk.  TEXT (default: books_train.txt.xz in the folder that WEIGHTLESS_DATA names)
is never repeated: beyond its end the stages of ids get generated ones (Zipfian, half copied phrases), those of text
stop.  A point that would need more than --most-memory is left out, and so is one whose input is missing.

Every point is written to --record at once, and one that is there is not measured again (--again does): an interrupted
run goes on.  A point is a single measurement; the load average before and after stands beside it.
The record gives the page (growth_page.py): exponents, what 10^9 and 10^10 tokens would take, and what breaks first.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from growth_page import page
from growth_stages import BYTES_PER_TOKEN, NEEDS, OF_TEXT, STAGES, point, set_up

from weightless.base.cores import cores
from weightless.base.files import atomic_write, read_json, write_json
from weightless.base.units import human_bytes, human_seconds, parse_bytes

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "runs/recorded/growth/growth.json"
SIZES = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000, 300_000_000)


def main() -> None:
    arguments = parse()
    if arguments.child:
        name, n = arguments.child
        print(json.dumps(point(name, int(n), arguments.folder)))
        return
    if not arguments.only_page:
        measure(arguments)
    if arguments.page:
        atomic_write(arguments.page, page(read_json(arguments.record)))
        print(f"{arguments.page} is written from {arguments.record}")


def parse() -> argparse.Namespace:
    data = os.environ.get("WEIGHTLESS_DATA")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=Path(data) / "books_train.txt.xz" if data else None)
    parser.add_argument("--largest", type=float, default=1e8, help="tokens of the largest point")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, help="write the page from the record")
    parser.add_argument("--only-page", action="store_true", help="measure nothing")
    parser.add_argument("--stages", nargs="+", choices=[*STAGES], default=[*STAGES])
    parser.add_argument("--again", action="store_true", help="measure points anew that the record has")
    parser.add_argument("--most-memory", type=parse_bytes, default=parse_bytes("6GB"))
    parser.add_argument("--folder", type=Path, help="keep ids and models here; default: a temporary folder")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.text is None and not arguments.only_page and not arguments.child:
        parser.error("give a text file, or name a folder with books_train.txt.xz in WEIGHTLESS_DATA")
    return arguments


def measure(arguments: argparse.Namespace) -> None:
    """Every point that is wanted and missing; the record is rewritten after each."""
    record: dict[str, Any] = read_json(arguments.record) if arguments.record.exists() else {"points": []}
    record["machine"] = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        n_real = prepared(arguments.text, folder)
        record["text"] = {"name": arguments.text.name, "tokens": n_real}
        for n in (size for size in SIZES if size <= arguments.largest):
            for name in STAGES:
                why = left_out(name, n, n_real, record, arguments)
                if why is None:
                    found = in_own_process(name, n, folder)
                    record["points"] = [p for p in record["points"] if (p["stage"], p["tokens"]) != (name, n)]
                    record["points"] = sorted([*record["points"], found], key=in_order)
                    arguments.record.parent.mkdir(parents=True, exist_ok=True)
                    write_json(arguments.record, record)
                    print(line(found), flush=True)
                elif why:
                    print(f"{n:>12,}  {name:17s} left out: {why}", flush=True)
            clear(folder, n)


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": platform.machine(),
        "cores": cores(),
        "memory_bytes": memory,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def prepared(text: Path, folder: Path) -> int:
    """How many ids the text has; makes what every stage reads, once per folder."""
    if not (folder / "tokens.npy").exists():
        opened = lzma.open if text.suffix == ".xz" else open
        with opened(text, "rb") as packed, open(folder / "text", "wb") as plain:
            shutil.copyfileobj(packed, plain)
        set_up(folder / "text", folder)
    return len(np.load(folder / "tokens.npy", mmap_mode="r"))


def left_out(name: str, n: int, n_real: int, record: dict[str, Any], arguments: argparse.Namespace) -> str | None:
    """Why a point is not measured; empty: nobody asked for it or it is there; None: it is to be measured."""
    there = {(p["stage"], p["tokens"]) for p in record["points"]}
    wanted = [s for s in arguments.stages if arguments.again or (s, n) not in there]
    is_needed = any(NEEDS.get(s) == name for s in wanted)  # its file is read by a stage that is to be measured
    if name not in wanted and not is_needed:
        return ""
    if name in OF_TEXT and n > n_real:
        return f"the text ends after {n_real:,} tokens"
    needed = BYTES_PER_TOKEN.get(NEEDS.get(name, name), 0) * n
    return f"it would take {human_bytes(needed)} of memory" if needed > arguments.most_memory else None


def in_own_process(name: str, n: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, str(n), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(f"{name} at {n:,} tokens failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def clear(folder: Path, n: int) -> None:
    """Remove what the stages of one size have left."""
    for path in (*folder.glob(f"*.{n}"), *folder.glob(f"*.{n}.*")):
        path.unlink()


def in_order(found: dict[str, Any]) -> tuple[int, int]:
    return [*STAGES].index(found["stage"]), found["tokens"]


def line(found: dict[str, Any]) -> str:
    return (
        f"{found['tokens']:>12,}  {found['stage']:17s} {human_seconds(found['wall']):>9} wall "
        f"{human_seconds(found['processor']):>9} processor, {found['before_mb']:7,.0f} -> {found['peak_mb']:7,.0f} MB, "
        f"disk {human_bytes(found['disk_bytes'])}, load {found['load'][0]} to {found['load'][1]}, {found['text']}"
    )


if __name__ == "__main__":
    main()
