"""`weightless VERB …`: find the verb, and turn what goes wrong with the input into one line.

Exit codes: 0 done, 2 an error of input or environment (told in one line), 3 a training that diverged (train alone; a
run records it and goes on), 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from weightless.base.errors import WeightlessError, nearest
from weightless.cli.streams import prepare, silence
from weightless.cli.together import done_together, is_one_of_several

VERBS = {
    "demo": ("run", "raw text in, packed models and a true count of their bytes out"),
    "run": ("run", "do what a recipe says: weightless run RECIPE.toml"),
    "report": ("run", "write report.html of a run folder anew"),
    "board": ("board", "a leaderboard by wall clock over runs and models of one text and protocol"),
    "tokenizer": ("tokenizer", "train, encode, decode, convert, compare, sweep and study vocabularies"),
    "data": ("data", "prepare, import, inspect, verify token shards"),
    "launch": ("launch", "run a command in n units: local processes, Slurm, Ray"),
    "train": ("train", "train one model on prepared data, and pack it"),
    "pack": ("pack", "turn a checkpoint into one artifact file"),
    "import": ("foreign", "a Hugging Face folder or a GGUF file (gpt2, llama, qwen3) becomes one artifact, exactly"),
    "export": ("foreign", "an artifact becomes what others read: a folder for transformers or mlx-lm, a GGUF file"),
    "push": ("push", "a packed model goes to the Hugging Face hub, with a card of what it costs"),
    "eval": ("artifact", "held-out loss of an artifact, by the engine that needs no PyTorch"),
    "families": ("families", "every family: kind, layers, bytes at three sizes; with a name, the fields it takes"),
    "count": ("count", "the ledger of a recipe, a checkpoint or an artifact; --training: FLOPs, memory, time"),
    "study": ("study", "a question, its runs, their statistics and a page about it: weightless study STUDY.toml"),
    "fit": ("fit", "the largest configuration of a family within budgets of bytes"),
    "audit": ("audit", "is it a predictor, are its bytes counted right: a packed model, a run, or Python code"),
    "explain": ("explain", "what every input of a countmix model said about one token, as a table and as pictures"),
    "xray": ("xray", "a page that shows every byte a model touches for every token of a text; one model or two"),
    "deck": ("deck", "eight challenges for coding models: deploy, grade, run, board, show"),
    "golf": ("golf", "submissions of sixteen megabytes: build, check, compare, logs"),
    "generate": ("generate", "continue prompts from an artifact: sampling, beams, speculation, streams, batches"),
    "serve": ("serve", "answer completions over HTTP as OpenAI's clients ask for them, with metrics and X-rays"),
}

_OF_A_PLACE = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
)
"""What makes a place on the disk unusable, wherever it is noticed; its reader tells of a file that is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return done_together(lambda: _told(arguments)) if is_one_of_several() else _told(arguments)


def _told(arguments: list[str]) -> int:
    """The exit code of a command line, and what went wrong in one line."""
    prepare()
    verb = next(iter(arguments), "")
    try:
        code = _done(arguments)
        sys.stdout.flush()
        return code
    except WeightlessError as error:
        print(f"weightless {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: what is finished is kept; the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        silence()
        return 141
    except OSError as error:
        is_made = os.fsdecode(error.filename or "").endswith(".part")  # base/files.py: what is written before its name
        if error.filename is not None and (error.errno in _OF_A_PLACE or (is_made and error.errno == errno.ENOENT)):
            told = WeightlessError(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}; name another place")
            print(f"weightless {verb}: {told}", file=sys.stderr)
            return 2
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        silence()
        print(f"weightless {verb}: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return 2


def _done(arguments: list[str]) -> int:
    """The exit code of the verb, or of what is asked about all of them."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        from weightless import __version__

        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        raise WeightlessError(f"no such verb {verb!r}: {nearest(verb, VERBS)}")
    try:
        return _room(VERBS[verb][0]).main(verb, rest) or 0
    except SystemExit as leaving:  # tyro's, after help
        sys.stdout.flush()
        raise leaving


def _room(name: str):  # type: ignore[no-untyped-def]
    """The module of a verb; only the one that is needed is imported, so that cheap verbs start fast."""
    match name:
        case "run":
            from weightless.cli import run as room
        case "tokenizer":
            from weightless.cli import tokenizer as room
        case "board":
            from weightless.cli import board as room
        case "data":
            from weightless.cli import data as room
        case "train":
            from weightless.cli import train as room
        case "pack":
            from weightless.cli import pack as room
        case "generate":
            from weightless.cli import generate as room
        case "serve":
            from weightless.cli import serve as room
        case "explain":
            from weightless.cli import explain as room
        case "xray":
            from weightless.cli import xray as room
        case "deck":
            from weightless.cli import deck as room
        case "golf":
            from weightless.cli import golf as room
        case "launch":
            from weightless.cli import launch as room
        case "count":
            from weightless.cli import count as room
        case "families":
            from weightless.cli import families as room
        case "study":
            from weightless.cli import study as room
        case "fit":
            from weightless.cli import fit as room
        case "foreign":
            from weightless.cli import foreign as room
        case "push":
            from weightless.cli import push as room
        case "audit":
            from weightless.cli import audit as room
        case _:
            from weightless.cli import artifact as room
    return room


def _usage() -> str:
    lines = [f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items()]
    return "usage: weightless VERB [options]     (weightless VERB --help)\n\n" + "\n".join(lines)
