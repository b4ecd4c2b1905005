"""weightless pack: make an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from weightless.base.errors import ConfigError
from weightless.base.files import sha256_file
from weightless.base.units import human_bytes
from weightless.cli.artifact import corpus_of
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.lab.checkpoints import Rounding


@dataclass(frozen=True)
class Pack:
    """Turn the checkpoint of a model folder (as `train` and `run` leave it) into one artifact file, or an artifact into
    one of other formats."""

    model: Annotated[str, tyro.conf.Positional]
    """A folder with model.toml and checkpoint/, or an artifact (.wl, .wlz), whose codes stay as they are where their
    format does."""
    data: str = ""
    """The prepared corpus of a folder; found beside the model when empty."""
    out: str = ""
    """The artifact; model.wl in the model's folder when empty.  Needed for an artifact."""
    weight_format: str = ""
    """Another format for the matrices, rounded to nearest without training: f32, bf16, f16, int8, int6, int5, int4,
    int3, int2, t2, t5 (ternary) or binary; with _g32, _g128 or _row (columns of a scale, 64 when nothing is said), _s8
    (8-bit scales) and @absmax, @absmean, @std, @quantile or @lsq (how scales are chosen)."""
    plan: str = ""
    """A TOML file whose keys are patterns of tensors and whose values are formats, the first that meets a tensor
    deciding: "block.*.down" = "int8"."""
    gptq: int = 0
    """Round by GPTQ instead of to nearest, for the inputs that so many tokens of the training text give (65536 are
    plenty): each column's error is made up for by those behind it.  Of a folder only."""
    golf: bool = False
    """Squeeze it (.wlz, which opens bit for bit to the same artifact), and print code, weights and total beside the
    cap.  Above the cap nothing is written and the exit code is 2.  Without --golf a .wlz becomes an artifact again."""
    cap: str = "16000000"
    """With --golf: the most bytes, decimal."""
    code: str = ""
    """With --golf: the script that is submitted, whose bytes count."""
    coders: tuple[str, ...] = ("zlib", "zstd", "lzma")
    """With --golf: what to code with, the smallest for every section; brotli as well makes a file that needs the
    package of that name."""
    keep_over: bool = False
    """With --golf: write a file above the cap, too; the exit code stays 2."""
    published: bool = False
    """With --golf: round as the published baseline does (docs/formats.md)."""
    solve: str = ""
    """With --golf: turn a dial until code and weights fit: k (one clip, int8_row@stdK) or bits (a format for embedding,
    attention, feed-forward …).  Rounds from the numbers of a folder, or of an artifact."""
    formats: tuple[str, ...] = ()
    """With --solve: the base that k turns (int8), or the formats that bits chooses among."""
    seed_margin: str = "0"
    """With --solve: bytes to leave free, since another seed's weights take a little more or less."""


def main(verb: str, arguments: list[str]) -> int:
    return _pack(parse(Pack, verb, arguments))


def _pack(options: Pack) -> int:
    from weightless.artifact.squeezed import is_squeezed, unsqueeze
    from weightless.export.repack import load_plan, repack
    from weightless.lab.checkpoints import Rounding

    folder = Path(options.model)
    if options.golf:
        from weightless.cli.pack_golf import pack_golf

        if folder.is_file() and (options.data or options.gptq):
            raise ConfigError(f"{folder} is an artifact: leave --data and --gptq out")
        return pack_golf(
            options, lambda out, fmt, plan: _packed_folder(options, out, Rounding(fmt, plan, options.gptq))
        )
    plan = load_plan(Path(options.plan)) if options.plan else None
    if options.out.endswith(".wlz"):
        raise ConfigError(f"{options.out} is the name of a squeezed artifact: give --golf, or another name")
    if folder.is_file():
        if not options.out or options.data or options.gptq:
            raise ConfigError(
                f"{folder} is an artifact: say where to write with --out, and leave --data and --gptq out"
            )
        path = Path(options.out)
        if is_squeezed(folder) and not options.weight_format and plan is None:
            unsqueeze(folder, path)
        else:
            repack(folder, path, options.weight_format, plan)
        print(f"{path}: {human_bytes(path.stat().st_size)}, SHA-256 {sha256_file(path)}")
        return 0
    rounding = Rounding(options.weight_format, plan, options.gptq)
    path = _packed_folder(options, Path(options.out or folder / "model.wl"), rounding)
    print(f"{path}: {human_bytes(path.stat().st_size)}, SHA-256 {sha256_file(path)}")
    return 0


def _packed_folder(options: Pack, out: Path, rounding: Rounding) -> Path:
    """The checkpoint of the model's folder as an artifact at `out`."""
    from weightless.lab.checkpoints import pack_checkpoint

    folder = Path(options.model)
    data = Path(options.data) if options.data else corpus_of(folder / "model.wl").folder
    return pack_checkpoint(folder, data, out, rounding)
