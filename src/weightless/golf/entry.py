"""What the script of a submission does: decode, score and, where it was built to, train; from its folder alone.

    python train_gpt.py --score DATA [--split val] [--tokens N] [--stride N] [--whole_windows] [--json]
    python train_gpt.py --generate PROMPT [--max_tokens N] [--seed N]
    python train_gpt.py --train CORPUS --out FOLDER        (a script that was built with its training)
    python train_gpt.py --sizes

What names.NEEDS says is all it needs; training needs torch, safetensors and tomli-w as well.  DATA is a prepared
corpus, a token shard (.bin) or a text.  Errors are one line, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.golf.names import ARTIFACT, PIECES, RECIPE, SCRIPT
from weightless.golf.sizes import Sizes

FLAGS = (
    ("score", None, str, "score DATA: a prepared corpus, a token shard (.bin) or a text"),
    ("split", "val", str, "the part of a corpus: val or train"),
    ("tokens", 0, int, "about so many targets, in windows spread evenly; 0: all"),
    ("stride", 0, int, "windows start every so many tokens; 0: side by side"),
    ("threads", 0, int, "threads that share the windows; 0: every core"),
    ("path", "auto", str, "stepped, blocked or auto"),
    ("generate", None, str, "continue PROMPT"),
    ("max_tokens", 100, int, "tokens to draw"),
    ("seed", None, int, "seed of drawing, or of training instead of the recipe's"),
    ("train", None, str, "train on CORPUS, a prepared one, as the recipe in the script says"),
    ("out", "trained", str, "where training writes"),
)
SWITCHES = (
    ("whole_windows", "cut the stream to a multiple of the window"),
    ("json", "print JSON"),
    ("sizes", "print code, weights and total"),
)


ACTIONS = {
    "score": ("split", "tokens", "stride", "threads", "path", "whole_windows", "json"),
    "generate": ("max_tokens", "seed"),
    "train": ("out", "seed"),
    "sizes": (),
}
"""What the script does, and the flags that mean something then."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help lists the flags")


def main(folder: Path, arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    try:
        return _done(folder, _parsed(arguments))
    except WeightlessError as error:
        print(f"{SCRIPT}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as missing:
        told = f"the package {missing.name} is missing: install it (README.md says what is needed)"
        print(f"{SCRIPT}: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog=SCRIPT, allow_abbrev=False)
    for name, default, kind, text in FLAGS:
        parser.add_argument(*_spellings(name), default=default, type=kind, help=text, dest=name)
    for name, text in SWITCHES:
        parser.add_argument(*_spellings(name), action="store_true", help=text, dest=name)
    options, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        known = [f"--{name}" for name, *_ in (*FLAGS, *SWITCHES)]
        raise ConfigError(f"unknown argument {unknown[0]!r}: {nearest(unknown[0], known)}")
    asked = [name for name in ACTIONS if getattr(options, name) not in (None, False)]
    if len(asked) != 1:
        raise ConfigError("say one of --score DATA, --generate PROMPT, --train CORPUS, --sizes")
    given = {word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")}
    for name, *_ in (*FLAGS, *SWITCHES):
        if name in given - {*asked, *ACTIONS[asked[0]]}:
            raise ConfigError(f"--{name} does nothing with --{asked[0]}: leave it out")
    return options


def _spellings(name: str) -> list[str]:
    """With underscores and with dashes, as everywhere."""
    return [f"--{name}"] if "_" not in name else [f"--{name}", f"--{name.replace('_', '-')}"]


def _done(folder: Path, options: argparse.Namespace) -> int:
    if options.sizes:
        print(*measured(folder).lines(), sep="\n")
        return 0
    if options.train is not None:
        return _train(options)
    return _generate(folder, options) if options.generate is not None else _score(folder, options)


def measured(folder: Path) -> Sizes:
    """Code and weights of a folder, by the file system."""
    sizes = []
    for name in (SCRIPT, ARTIFACT):
        path = folder / name
        if not path.is_file():
            raise WeightlessError(f"{folder} holds no {name}: give the script the whole folder that was built")
        sizes.append(path.stat().st_size)
    return Sizes(*sizes)


def _score(folder: Path, options: argparse.Namespace) -> int:
    from weightless.export.packed import open_packed
    from weightless.golf.scoring import Asked, score
    from weightless.golf.stream import stream_of

    packed = open_packed(folder / ARTIFACT)
    stream = stream_of(packed, Path(options.score), options.split, folder / PIECES)
    asked = Asked(options.tokens, options.stride, options.whole_windows, options.threads, options.path)
    found = score(packed, stream, asked)
    if options.json:
        print(json.dumps(found.to_plain()))
    else:
        print(*found.lines(), sep="\n")
    return 0


def _generate(folder: Path, options: argparse.Namespace) -> int:
    from weightless.decode.generate import Sampling, generate
    from weightless.export.packed import open_packed

    sampling = Sampling(max_tokens=options.max_tokens, seed=options.seed or 0)
    found = generate(open_packed(folder / ARTIFACT), options.generate, sampling)
    print(found["prompt"] + found["text"])
    return 0


def _train(options: argparse.Namespace) -> int:
    try:
        from weightless.golf.training import train_again
    except ModuleNotFoundError as missing:
        if missing.name == "weightless.golf.training":
            raise WeightlessError("this script was built with --decode-only: it decodes and scores, no more") from None
        raise WeightlessError(f"training needs {missing.name}: install torch, safetensors and tomli-w") from None
    recipe = Path(__file__).with_name(RECIPE)
    return train_again(recipe, Path(options.train), Path(options.out), options.seed)
