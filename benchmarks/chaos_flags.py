"""Random values for the flags of every verb: exit 0 or 2, one line, never a traceback; never 0 for what cannot be.

A case takes one command line that works, over small files of its own, and gives one or two of the verb's flags (those
its --help names) an odd value.  What certainly is invalid (a number that is none, a negative count, a text where a
number belongs) must not end with 0.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import tempfile
import traceback
from pathlib import Path

from chaos_damage import FAULT, RAN, REFUSED, Bench, hunted_by
from chaos_shelf import TRAIN, run_verb
from chaos_specimens import BrokenPromise, one_line
from chaos_workers import TryCase

CUT = "cut short"
SECONDS = 20
NUMBERS = ["-1", "0", "1", "2", "-0", "1.5", "1e3", "1e-310", "1e309", "nan", "inf", "-inf", "9" * 30]
TEXTS = ["", " ", "x", "²", "٣", "0x10", "None", "true", "a b", "é", "\udcff", "--", "-", "{}"]
PLACES = ["..", "missing.txt", "data", "x/y/z"]  # all inside the worker's own folder: what is named may be written
VALUES = NUMBERS + TEXTS + PLACES
NEVER = {"nan", "-inf", "x", "²", "0x10", "a b", "{}", "1e309"}
NUMBER = re.compile(r"--([a-z][\w-]*) \{?(INT|FLOAT)")
FLAG = re.compile(r"--([a-z][\w-]*)(?:[ =,]|$)", re.MULTILINE)
MAY_BE_NEGATIVE = re.compile(r"seed|alpha|end.of.text")
COMMANDS = [
    ["tokenizer", "train", "fables.txt", "--vocab_size", "300", "--out", "t.json"],
    ["tokenizer", "encode", "data/tokenizer.json", "Once"],
    ["tokenizer", "decode", "data/tokenizer.json", "1", "2"],
    ["data", "prepare", "new", "--text", "fables.txt", "--vocab_size", "300"],
    ["data", "import", "shards", "new", "--vocab_size", "320"],
    ["data", "inspect", "data"],
    ["data", "verify", "data"],
    ["train", "dense", "--data", "data", "--out", "new", *TRAIN],
    ["train", "feather", "--data", "data", "--out", "new", *TRAIN],
    ["pack", "model", "--data", "data"],
    ["eval", "ngram.wl", "--data", "data", "--tokens", "40", "--threads", "1"],
    ["count", "ngram.wl"],
    ["count", "dense"],
    ["fit", "dense", "--touched", "300kB"],
    ["audit", "ngram.wl", "--data", "data", "--positions", "20"],
    ["generate", "ngram.wl", "--prompt", "Once", "--max_tokens", "4"],
    ["report", "run"],
]


def hunted(options: argparse.Namespace) -> int:
    """The hunt of chaos_damage, over command lines."""
    return hunted_by(options, _bench, (REFUSED, RAN, CUT, FAULT, "HANG", "CRASH"))


def _bench(folder: Path, seed: int) -> TryCase:
    return Lines(folder, seed, Path(tempfile.mkdtemp(prefix="chaos-flags-"))).try_case


class Lines(Bench):
    """One worker's files, and the flags of every verb as its help names them."""

    def __init__(self, shelf: Path, seed: int, scratch: Path) -> None:
        super().__init__([], seed, scratch)
        self.shelf, self.flags = shelf, [_flags(command) for command in COMMANDS]

    def _fresh(self) -> None:
        here, shelf = self.scratch / "x", self.shelf
        os.chdir(self.scratch)
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(shelf / "corpus/data", here / "data")
        shutil.copytree(shelf / "training/model", here / "model")
        shutil.copytree(shelf / "import-shards", here / "shards")
        shutil.copy2(shelf / "text/fables.txt", here / "fables.txt")
        shutil.copy2(shelf / "artifact-ngram/model.wl", here / "ngram.wl")
        shutil.copytree(shelf / "run", here / "run")
        os.chdir(here)

    def _try_case(self, number: int) -> tuple[str, str, str]:
        rng = random.Random(f"{self.seed}/flags/{number}")
        which = rng.randrange(len(COMMANDS))
        names, numbers = self.flags[which]
        flags = [rng.choice(names) for _ in range(rng.choice([1, 1, 2]))]
        chosen = [(flag, rng.choice(NUMBERS if flag in numbers and rng.random() < 0.8 else VALUES)) for flag in flags]
        line = [*COMMANDS[which], *(part for name, value in chosen for part in (f"--{name}={value}",))]
        self._fresh()
        what = f"{' '.join(COMMANDS[which][:2])}: {' '.join(f'--{name}={value!a}' for name, value in chosen)}"
        try:
            code, out, told = run_verb(line)
        except KeyboardInterrupt:
            return what, CUT, ""
        except Exception as error:
            self._show()
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return what, FAULT, f"{type(error).__name__} {Path(frame.filename).name}:{frame.lineno}: {str(error)[:120]}"
        return what, *_judged(code, out, told, chosen, numbers)


def _judged(code: int, out: str, told: str, chosen: list[tuple[str, str]], numbers: set[str]) -> tuple[str, str]:
    if code not in (0, 2):
        return FAULT, f"exit {code}: {told[-120:]!r}"
    if code == 0:
        wrong = [
            f"--{name}={value}" for name, value in dict(chosen).items() if name in numbers and _is_never(name, value)
        ]
        return (FAULT, f"exit 0 although {wrong}") if wrong and "usage" not in out else (RAN, "")
    lines = [line for line in told.splitlines() if line.startswith("weightless ")]
    try:
        for line in lines:
            one_line(line)
    except BrokenPromise as error:
        return FAULT, str(error)
    return REFUSED, ""


def _is_never(name: str, value: str) -> bool:
    return value in NEVER or (value == "-1" and not MAY_BE_NEGATIVE.search(name))


def _flags(command: list[str]) -> tuple[list[str], set[str]]:
    """(flags of a verb, those that take a number), read off its help."""
    verb = command[:2] if command[0] in ("tokenizer", "data", "train", "count", "fit") else command[:1]
    shown = run_verb([*verb, "--help"])[1]
    names = sorted(set(FLAG.findall(shown)) - {"help", "overwrite", "shards", "launcher"})
    return names or ["nothing"], {name for name, _ in NUMBER.findall(shown)}
