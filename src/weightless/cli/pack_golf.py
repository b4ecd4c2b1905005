"""weightless pack MODEL --golf: a squeezed artifact, its bytes and those of the script beside the cap."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.files import atomic_write, sha256_file
from weightless.base.units import parse_bytes

if TYPE_CHECKING:
    from weightless.cli.pack import Pack
    from weightless.golf.solver import Solution

SHOWN = 16
"""Plans that are printed, the last of those considered."""


def pack_golf(options: Pack, packed_folder: Callable[[Path, str, dict[str, str] | None], Path]) -> int:
    """Check what was asked, make the file, print what it takes; `packed_folder` packs a model's folder to a path."""
    from weightless.artifact.coders import coders_of
    from weightless.golf.cap import Totals, code_bytes

    source, out = Path(options.model), _target(options)
    cap, margin = parse_bytes(options.cap), parse_bytes(options.seed_margin)
    code = code_bytes(Path(options.code)) if options.code else 0
    coders_of(options.coders)
    _check_rounding(options)
    if code + margin >= cap:
        raise ConfigError(f"{code:,} bytes of code and a margin of {margin:,} leave nothing of a cap of {cap:,}")
    with tempfile.TemporaryDirectory(prefix="weightless-golf-") as scratch:
        content = _content(options, source, Path(scratch), cap - code - margin, packed_folder)
    totals = Totals(code, len(content), cap)
    if not options.code:
        print("no script is counted: name the one that is submitted with --code")
    print("\n".join(totals.lines()))
    if not totals.fits and not options.keep_over:
        raise WeightlessError(f"{totals.verdict}; nothing was written (--solve makes it fit, --keep_over writes it)")
    atomic_write(out, content)
    print(f"{out}: {out.stat().st_size:,} bytes, SHA-256 {sha256_file(out)}")
    if totals.fits:
        return 0
    print(f"weightless pack: {totals.verdict}; {out} was written because of --keep_over", file=sys.stderr)
    return 2


def _target(options: Pack) -> Path:
    source = Path(options.model)
    if options.out:
        if not options.out.endswith(".wlz"):
            raise ConfigError(f"--golf writes a squeezed artifact: let {options.out} end with .wlz")
        return Path(options.out)
    if source.is_file() and source.suffix == ".wlz":
        raise ConfigError(f"{source} is squeezed already: say with --out where to write it anew")
    return source.with_suffix(".wlz") if source.is_file() else source / "model.wlz"


def _check_rounding(options: Pack) -> None:
    from weightless.golf.solving import DIALS, menu

    if options.solve and options.solve not in DIALS:
        raise ConfigError(f"--solve {options.solve}: {nearest(options.solve, DIALS)}")
    if options.solve:
        menu(options.solve, options.formats)
    asked = [f"--{name}" for name in ("solve", "published", "weight_format", "plan") if getattr(options, name)]
    if len(asked) > 1 and asked != ["--weight_format", "--plan"]:
        raise ConfigError(f"{' and '.join(asked)} all say how to round: give one of them")
    if options.gptq and (options.solve or options.published):
        raise ConfigError("--gptq rounds by itself: leave it out beside --solve and --published")


def _content(
    options: Pack,
    source: Path,
    scratch: Path,
    limit: int,
    packed_folder: Callable[[Path, str, dict[str, str] | None], Path],
) -> bytes:
    """The squeezed file."""
    from weightless.artifact.squeezed import squeezed_bytes
    from weightless.export.packed import open_packed
    from weightless.export.repack import load_plan, repack
    from weightless.golf.matrices import published, warn_of_codes
    from weightless.golf.solving import menu, solved

    plan = load_plan(Path(options.plan)) if options.plan else None
    anew = bool(options.solve or options.published)
    if not source.is_file():
        source = packed_folder(scratch / "model.wl", "f32" if anew else options.weight_format, {} if anew else plan)
    elif options.weight_format or plan is not None:
        source = repack(source, scratch / "model.wl", options.weight_format, plan).artifact.path
    if options.published:
        packed = open_packed(source)
        warn_of_codes(source, packed)
        plan, rows = published(packed)
        source = repack(source, scratch / "published.wl", plan=plan, rounded=rows).artifact.path
    if not options.solve:
        return squeezed_bytes(source, options.coders)
    formats = menu(options.solve, options.formats)
    solution, content, by_group = solved(source, options.solve, formats, limit, options.coders, scratch)
    _print_solution(solution, by_group, limit)
    return content


def _print_solution(solution: Solution, by_group: dict[str, str], limit: int) -> None:
    """The grid that was tried, and what was chosen."""
    print(f"at most {limit:,} bytes of weights; the least error first, one line per plan:")
    shown = solution.tried[-SHOWN:]
    if len(shown) < len(solution.tried):
        print(
            f"  {len(solution.tried) - len(shown):,} plans of less error, all predicted to be too large, are not shown"
        )
    for plan in shown:
        formats = " ".join(dict.fromkeys(plan.formats)) if len(set(plan.formats)) == 1 else " ".join(plan.formats)
        real = f"{plan.real:,}" if plan.real is not None else "not made"
        print(f"  {formats:<24} predicted {plan.predicted:>14,.0f}  real {real:>14}  error {plan.error:.6g}")
    chosen = solution.chosen
    for group, fmt in by_group.items():
        print(f"chosen for {group}: {fmt}")
    told = f"predicted {chosen.predicted:,.0f}, real {chosen.real:,} bytes"
    print(f"{told} ({100 * solution.prediction_error:+.3f} %)")
