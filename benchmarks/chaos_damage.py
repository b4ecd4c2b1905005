"""Damaged files by the hundred thousand: each is opened as a user would open it, and gets a verdict.

    refused     one line that says what is wrong (WeightlessError); a verb ends with 2 and that line
    equal       opened, and everything it gives is what the undamaged file gives
    another     opened as another valid file: only where no checksum could know, or where a forger made it fit
    ran         a verb of the command line ended with exit code 0
    FAULT       any other exception, a hang, a crash of the process, memory beyond the limit, or a silent change

Case number n of a seed is always the same case: `--case N` repeats one and shows its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chaos_mutations import damaged
from chaos_specimens import BrokenPromise, Specimen, is_told, one_line, refuse, run_verb, shelf
from chaos_workers import CRASH, HANG, Result, TryCase, hunt, limit_memory

from weightless.base.errors import WeightlessError

REFUSED, EQUAL, ANOTHER, RAN, FAULT = "refused", "equal", "another", "ran", "FAULT"
VERDICTS = (REFUSED, EQUAL, ANOTHER, RAN, FAULT, HANG, CRASH)
VERB_SHARE = 0.03
REPORT_SECONDS = 60


class Bench:
    """One worker's copies of all specimens, and what each gives undamaged."""

    def __init__(self, specimens: list[Specimen], seed: int, scratch: Path) -> None:
        self.specimens, self.seed, self.scratch = specimens, seed, scratch
        self.weights = [specimen.weight for specimen in specimens]
        self.wanted: dict[str, str] = {}
        for specimen in specimens:
            shutil.copytree(specimen.folder, self._home(specimen))

    def try_case(self, number: int) -> tuple[str, str, str]:
        """(what was done to what, verdict, what was seen); an error of the hunt itself is a FAULT too."""
        try:
            return self._try_case(number)
        except Exception as error:
            self._show()
            return "the hunt", FAULT, f"{type(error).__name__} {_where(error)}: {error}"

    def _try_case(self, number: int) -> tuple[str, str, str]:
        rng = random.Random(f"{self.seed}/{number}")
        specimen = rng.choices(self.specimens, self.weights)[0]
        victim = rng.choice(sorted(specimen.victims))
        way = rng.choice(specimen.victims[victim])
        home, path = self._home(specimen), self._home(specimen) / victim
        self._expected(specimen)
        content = path.read_bytes()
        other = rng.choice([s for s in self.specimens if s.kind.split()[0] == specimen.kind.split()[0]])
        done, changed = way(content, rng, self._some_file(other, rng))
        repaired = specimen.repair is not None and way is damaged and rng.random() < 0.4
        what = f"{specimen.kind}: {victim}: {done}{' (checksums repaired)' if repaired else ''}"
        path.unlink()  # never in place: a map of the old file may still be open
        path.write_bytes(changed)
        if repaired and specimen.repair:
            specimen.repair(home, victim)
        sealed = way is damaged and not repaired and victim in specimen.sealed
        try:
            return what, *self._verdict(specimen, rng, sealed)
        finally:
            self._restore(specimen)

    def _show(self) -> None:
        """The traceback, where there is a terminal to show it: a worker has none."""
        traceback.print_exc(file=sys.__stderr__)

    def _home(self, specimen: Specimen) -> Path:
        return self.scratch / specimen.kind.replace(" ", "-") / "x"

    def _restore(self, specimen: Specimen) -> None:
        """Put every file back that a case has changed, and take away what it has made."""
        home, pristine = self._home(specimen), specimen.folder
        for path in sorted(home.rglob("*"), reverse=True):
            if not (pristine / path.relative_to(home)).exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for source in pristine.rglob("*"):
            target = home / source.relative_to(pristine)
            if source.is_file() and not _same(source, target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                shutil.copy2(source, target)

    def _some_file(self, specimen: Specimen, rng: random.Random) -> bytes:
        return (specimen.folder / rng.choice(sorted(specimen.victims))).read_bytes()

    def _expected(self, specimen: Specimen) -> str:
        if specimen.kind not in self.wanted:
            self.wanted[specimen.kind] = _digest(specimen.probe(self._home(specimen)))
            self._restore(specimen)
        return self.wanted[specimen.kind]

    def _verdict(self, specimen: Specimen, rng: random.Random, sealed: bool) -> tuple[str, str]:
        """Open it, by the probe or by one of the verbs, and judge what comes out."""
        verb: list[str] = []
        try:
            with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if specimen.verbs and rng.random() < VERB_SHARE:
                    verb = [part.replace("@", str(self._home(specimen))) for part in rng.choice(specimen.verbs)]
                    code, shown, told = run_verb(verb)
                    if is_told(verb, code, shown):
                        return REFUSED, ""
                    refuse(code, told)
                    return RAN, ""
                given = _digest(specimen.probe(self._home(specimen)))
        except WeightlessError as error:
            return _refused(str(error))
        except BrokenPromise as error:
            return FAULT, f"BrokenPromise {error}"
        except Exception as error:  # whatever else comes out is what we hunt
            self._show()
            return FAULT, f"{type(error).__name__} {_where(error)}: {str(error)[:160]!r} {' '.join(verb[:2])}"
        if given == self._expected(specimen):
            return EQUAL, ""
        return (FAULT, "silent change") if sealed else (ANOTHER, "")


def _same(source: Path, target: Path) -> bool:
    try:
        a, b = source.stat(), target.stat()
    except OSError:
        return False
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _refused(message: str) -> tuple[str, str]:
    try:
        one_line(message)
    except BrokenPromise as error:
        return FAULT, f"BrokenPromise {error}"
    return REFUSED, ""


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _where(error: Exception) -> str:
    """The innermost line of the package in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "weightless" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}"


def hunted(options: argparse.Namespace) -> int:
    """The hunt for damage that is not told."""
    return hunted_by(options, _bench, VERDICTS)


def hunted_by(options: argparse.Namespace, bench: Callable[[Path, int], TryCase], verdicts: Sequence[str]) -> int:
    """Make the shelf, try cases for the time given, print counts and keep the faults; 1 when there were any."""
    folder = Path(options.folder).resolve()
    shelved = multiprocessing.get_context("fork").Process(target=shelf, args=(folder / "shelf",))
    shelved.start()  # in a process of its own: this one must stay free of threads, because it forks
    shelved.join()
    if shelved.exitcode:
        return 1
    make = partial(bench, folder / "shelf", options.seed)
    if options.case is not None:
        limit_memory(options.memory << 20)
        print(make()(options.case))
        return 0
    counts: Counter[tuple[str, str]] = Counter()
    faults: dict[str, list[Result]] = {}
    began = shown = time.monotonic()
    numbers = range(options.start, options.start + options.cases)
    for result in hunt(make, numbers, options.workers, options.hang, options.memory << 20, began + options.seconds):
        counts[result.what.split(":")[0], result.verdict] += 1
        if result.verdict in (FAULT, HANG, CRASH):
            _keep(folder, options.seed, result, faults)
        if time.monotonic() - shown > REPORT_SECONDS:
            shown = time.monotonic()
            print(f"{sum(counts.values()):,} cases in {shown - began:.0f} s", flush=True)
    _print_counts(counts, faults, time.monotonic() - began, verdicts)
    return 1 if faults else 0


def _bench(folder: Path, seed: int) -> TryCase:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Bench(shelf(folder), seed, Path(tempfile.mkdtemp(prefix="chaos-", dir=place))).try_case


def _keep(folder: Path, seed: int, result: Result, faults: dict[str, list[Result]]) -> None:
    """Tell the first of each kind, and write every one down with what repeats it."""
    kind = f"{result.what.split(':')[0]}: {result.verdict} {re.sub(r'[0-9]{3,}', 'N', result.detail)[:90]}"
    if kind not in faults:
        print(f"--case {result.number}: {result.what}: {result.verdict} {result.detail}", flush=True)
    faults.setdefault(kind, []).append(result)
    with open(folder / "faults.jsonl", "a") as file:
        file.write(json.dumps({"seed": seed, **dataclasses.asdict(result)}) + "\n")


def _print_counts(
    counts: Counter[tuple[str, str]], faults: dict[str, list[Result]], seconds: float, verdicts: Sequence[str]
) -> None:
    kinds = sorted({kind for kind, _ in counts})
    print(f"\n{'what':<24}" + "".join(f"{verdict:>11}" for verdict in verdicts))
    for kind in kinds:
        print(f"{kind:<24}" + "".join(f"{counts[kind, verdict]:>11,}" for verdict in verdicts))
    totals = [sum(counts[kind, verdict] for kind in kinds) for verdict in verdicts]
    print(f"{'all':<24}" + "".join(f"{total:>11,}" for total in totals))
    print(
        f"{sum(totals):,} cases in {seconds:,.0f} s; {sum(map(len, faults.values())):,} faults of {len(faults)} kinds"
    )
    for kind, found in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"  {len(found):>6} x {kind}   (--case {found[0].number})")
