"""Bits of a validation text given the training text: general compressors beside a packed model of count mixing.

    python benchmarks/compressors.py --train books_train.txt.xz --validation books_valid.txt.xz --artifact model.wl
    python benchmarks/compressors.py ... --limit 3MB --only zpaq ppmd-6 --results found.json

A compressor is asked twice, for the training text alone and with the validation text behind it; what the second answer
is longer by are the bits of the validation text given the other, with unlimited context and adapting on the way.
`frozen` is the artifact as `weightless eval` scores it, in windows of its context: bits of its own coding, as an
arithmetic coder would write them to within a byte; `adaptive` learns every token that it has scored, one after the
other.  What a decoder needs is counted in no row: neither programs nor the artifact, whose size stands beside.  Bits
are per byte of the validation text as it is given, with its document marks.

zpaq is a program (Debian: apt-get install zpaq), ppmd the package pyppmd (the extra `oracle`); a peer that is missing
is told and left out.  Every row is printed when it is known, and kept in --results, from which the same command goes
on.  On the books (121 MB) everything takes about an hour of one core, most of it zpaq's, and 5 GB of memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from weightless.base.compressed import open_bytes
from weightless.base.cores import cores
from weightless.base.errors import WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.base.progress import told_if_slow
from weightless.base.units import human_bytes, human_seconds, parse_bytes

LARGEST_PPMD = 2 << 30
LARGEST_XZ = 1536 << 20
ZPAQ = ("-m511", "-t1", "-noattributes")
"""Method 5 in blocks of 2^11 MiB, so that the texts are in one; one thread."""


def zpaq(path: Path) -> int:
    """Bytes of an archive of the file."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        archive = Path(folder) / "text.zpaq"
        command = ["zpaq", "a", str(archive), path.name, *ZPAQ]
        subprocess.run(command, check=True, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return archive.stat().st_size


def ppmd(order: int) -> Callable[[Path], int]:
    """Bytes of PPMd variant H."""

    def size(path: Path) -> int:
        from pyppmd import Ppmd7Encoder

        text = path.read_bytes()
        encoder = Ppmd7Encoder(order, min(LARGEST_PPMD, max(16 << 20, 64 * len(text))))
        return len(encoder.encode(text)) + len(encoder.flush())

    return size


def xz(wide: bool) -> Callable[[Path], int]:
    """Bytes of LZMA2, -9e; `wide` with a dictionary that holds all of the text."""

    def size(path: Path) -> int:
        text = path.read_bytes()
        chosen: dict[str, Any] = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}
        if wide:
            chosen["dict_size"] = min(LARGEST_XZ, 1 << max(26, (len(text) - 1).bit_length()))
        return len(lzma.compress(text, lzma.FORMAT_XZ, filters=[chosen]))

    return size


COMPRESSORS: dict[str, Callable[[Path], int]] = {
    "xz": xz(False),
    "xz-wide": xz(True),
    "ppmd-6": ppmd(6),
    "ppmd-16": ppmd(16),
    "zpaq": zpaq,
}
OURS = ("frozen", "adaptive")


def ours(name: str, artifact: Path, validation: Path) -> float:
    """Bytes of the validation text in windows of the artifact's context; `adaptive` learns what it has scored."""
    import numpy as np

    from weightless.data.text.sources import open_source
    from weightless.evals.adaptive import evaluate_adaptive
    from weightless.evals.bits_per_byte import evaluate
    from weightless.export.packed import open_packed

    packed = open_packed(artifact)
    tokenizer, parts = packed.tokenizer, []
    for document in open_source(str(validation)):
        parts += [np.array([tokenizer.end_of_text]), tokenizer.encode_ordinary_array(document)]
    tokens = np.concatenate(parts)
    if name == "adaptive":
        nats = evaluate_adaptive(packed, tokens, None).nats
    else:
        nats = evaluate(packed, tokens, None, n_threads=1).nats
    return nats / math.log(2) / 8


def why_missing(name: str, artifact: Path | None) -> str:
    """Why a row cannot be had; empty where it can."""
    if name in OURS:
        return "" if artifact else "no --artifact was given"
    if name == "zpaq" and shutil.which("zpaq") is None:
        return "the program zpaq is not installed (Debian: apt-get install zpaq)"
    if name.startswith("ppmd") and importlib.util.find_spec("pyppmd") is None:
        return "the package pyppmd is not installed (pip install pyppmd, or the extra oracle)"
    return ""


def in_own_process(name: str, text: Path, artifact: Path | None) -> dict[str, float]:
    """Bytes, seconds of the wall clock and of the processor, peak resident bytes of one answer."""
    command = [sys.executable, __file__, "--one", name, str(text), *([str(artifact)] if artifact else [])]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=said, stderr=None if name in OURS else errors)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        said.seek(0)
        errors.seek(0)
        if child.returncode:
            last = (errors.read().decode(errors="replace").strip().splitlines() or ["(nothing said)"])[-1]
            raise WeightlessError(f"{name} ended with {child.returncode}: {last}")
        found = json.loads(said.read())
    scale = 1 if sys.platform == "darwin" else 1024
    processor = used.ru_utime + used.ru_stime
    return {**found, "seconds": seconds, "processor_seconds": processor, "peak": used.ru_maxrss * scale}


def one(name: str, text: Path, artifact: Path | None) -> dict[str, float]:
    """What a process of its own says: bytes; the peak of a program that it ran is its own largest child's."""
    if name in OURS:
        assert artifact is not None
        return {"bytes": ours(name, artifact, text)}
    found: dict[str, float] = {"bytes": COMPRESSORS[name](text)}
    if name == "zpaq":
        import resource

        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        found["peak_of_program"] = peak * (1 if sys.platform == "darwin" else 1024)
    return found


class Results:
    """Answers by what was asked, kept in a file if one is named."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[str, dict[str, float]] = read_json(path) if path and path.exists() else {}

    def ask(self, name: str, text: Path, artifact: Path | None = None) -> dict[str, float]:
        key = " ".join([name, sha256_file(text)[:16], *([sha256_file(artifact)[:16]] if artifact else [])])
        if key not in self.known:
            with told_if_slow(f"{name}: {human_bytes(text.stat().st_size)}"):
                self.known[key] = in_own_process(name, text, artifact)
            if self.path:
                write_json(self.path, self.known)
        return self.known[key]


def rows(names: list[str], texts: dict[str, Path], artifact: Path | None, results: Results) -> Iterator[dict[str, Any]]:
    """One row after the other; what is missing as a reason."""
    n = texts["validation"].stat().st_size
    for name in names:
        if why := why_missing(name, artifact):
            yield {"name": name, "why": why}
            continue
        if name in OURS:
            asked = [results.ask(name, texts["validation"], artifact)]
            out = asked[0]["bytes"]
        else:
            asked = [results.ask(name, texts[part]) for part in ("train", "both")]
            out = asked[1]["bytes"] - asked[0]["bytes"]
        told = {key: sum(found[key] for found in asked) for key in ("seconds", "processor_seconds")}
        peak = max(found.get("peak_of_program", found["peak"]) for found in asked)
        yield {"name": name, "bits": 8 * out / n, "bytes": out, "peak": peak, "wholes": asked, **told}


def print_row(row: dict[str, Any]) -> None:
    if "why" in row:
        print(f"  {row['name']:<9} left out: {row['why']}", flush=True)
        return
    wholes = " of ".join(f"{found['bytes']:,.0f}" for found in reversed(row["wholes"]))
    print(
        f"  {row['name']:<9} {row['bits']:6.4f} bits per byte  {row['bytes']:>13,.0f} bytes  "
        f"{human_seconds(row['seconds']):>13}  ({human_seconds(row['processor_seconds'])} of a core)  "
        f"peak {human_bytes(row['peak'])}  ({wholes})",
        flush=True,
    )


def cut(source: Path, limit: int, target: Path) -> bytes:
    """The first `limit` bytes (0: all) of an unpacked text, written to `target`."""
    with open_bytes(source) as stream:
        text = stream.read(limit) if limit else stream.read()
    target.write_bytes(text)
    return text


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*COMPRESSORS, *OURS]
    parser.add_argument("--train", type=Path, help="the training text; .xz, .gz, .zst are unpacked")
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--artifact", type=Path, help="a packed model that was counted on that training text")
    parser.add_argument("--limit", default="0", help="only so many bytes of each text, from its beginning (3MB)")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--results", type=Path, help="keep answers here, and take from here what is known")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.one:
        asked, text, *artifact = options.one
        print(json.dumps(one(asked, Path(text), Path(artifact[0]) if artifact else None)))
        return 0
    folder = os.environ.get("WEIGHTLESS_DATA")
    for part in ("train", "validation"):
        if getattr(options, part) is None and folder:
            setattr(options, part, Path(folder) / f"books_{part.removesuffix('ation')}.txt.xz")
        if getattr(options, part) is None:
            print(
                f"compressors: name the {part} text with --{part}, or their folder in WEIGHTLESS_DATA", file=sys.stderr
            )
            return 2
    with tempfile.TemporaryDirectory() as name:
        texts = {part: Path(name) / f"{part}.txt" for part in ("train", "validation", "both")}
        limit = parse_bytes(options.limit)
        train, validation = (cut(getattr(options, part), limit, texts[part]) for part in ("train", "validation"))
        texts["both"].write_bytes(train + validation)
        print(
            f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, load average "
            f"{os.getloadavg()[0]:.1f}\ntraining text {len(train):,} bytes, validation text {len(validation):,} bytes; "
            "no decoder is counted, neither programs nor the artifact"
            + (f" ({options.artifact.stat().st_size:,} bytes)" if options.artifact else "")
        )
        del train, validation
        for row in rows(options.only, texts, options.artifact, Results(options.results)):
            print_row(row)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WeightlessError as error:
        sys.exit(f"compressors: {error}")
