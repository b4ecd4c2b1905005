"""Floor 9.  The solver at work on an artifact: what its matrices take when they are coded, plans made and squeezed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from weightless.artifact.coders import coded, coders_of
from weightless.artifact.sections import Entry
from weightless.artifact.squeezed import scale_columns, squeezed_bytes, squeezed_section
from weightless.artifact.unsqueezing import HEAD_BYTES, Part, Section, dumped_description
from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.export.packed import Packed, open_packed
from weightless.export.repack import repack
from weightless.golf.matrices import by_component, matrices, numbers, warn_of_codes
from weightless.golf.solver import BITS_MENU, Solution, calibrated, k_formats, refined, solve
from weightless.program.tensor import Tensor, align
from weightless.quant.formats import encode_rows
from weightless.quant.layout import format_named, is_quantised

DIALS = ("k", "bits")


def menu(dial: str, formats: Sequence[str] = ()) -> list[str]:
    """The formats that a dial turns through, checked; with `k`, one base or none may be named instead of the usual."""
    if dial == "k":
        if len(formats) > 1:
            raise ConfigError("--solve k turns one base: name one format, int8 or int6, or none")
        return k_formats(formats[0] if formats else "int8")
    chosen = [format_named(name).name for name in formats or BITS_MENU]
    for name in chosen:
        if not is_quantised(name):
            raise ConfigError(f"--solve bits offers {name}, which has no codes: name int8_row@std, int4 …")
    if len(set(chosen)) != len(chosen):
        raise ConfigError("--solve bits is offered the same format twice: name each once")
    return chosen


def solved(
    source: Path, dial: str, formats: Sequence[str], limit: int, coders: Sequence[str], scratch: Path
) -> tuple[Solution, bytes, dict[str, str]]:
    """(the solution, the squeezed file of its plan, its format by group) for at most `limit` bytes of weights.

    `source` is an artifact of a trained family, best of one in f32; files are made in `scratch`.
    """
    packed, offered = open_packed(source), coders_of(coders)
    tensors = matrices(packed)
    warn_of_codes(source, packed)
    groups = {"all matrices": list(tensors)} if dial == "k" else by_component(tensors)
    with progress("measuring", sum(t.shape[0] * t.shape[1] for t in tensors.values())) as tick:
        options = calibrated(
            {name: _reader(packed, tensor) for name, tensor in tensors.items()},
            groups,
            formats,
            lambda name, x_RC, fmt: coded_bytes(tensors[name], x_RC, fmt, offered),
            tick,
        )
    if dial == "k":
        options = [refined(options[0])]
    made: dict[tuple[str, ...], bytes] = {}

    def measure(chosen: tuple[str, ...]) -> int:
        by_group = dict(zip(groups, chosen))
        plan = {name: by_group[group] for group, names in groups.items() for name in names}
        plan = {"*": chosen[0]} if len(set(chosen)) == 1 else plan
        repack(source, scratch / "plan.wl", plan=plan)
        made[chosen] = squeezed_bytes(scratch / "plan.wl", coders)
        return len(made[chosen])

    solution = solve(options, around_bytes(packed, tensors, offered), limit, measure)
    return solution, made[solution.chosen.formats], dict(zip(groups, solution.chosen.formats))


def _reader(packed: Packed, tensor: Tensor) -> Callable[[], np.ndarray]:
    return lambda: numbers(packed, tensor)


def coded_bytes(tensor: Tensor, x_RC: np.ndarray, fmt: str, offered: Sequence[str]) -> int:
    """Bytes of x float32 [R, C] in a format, laid out as the artifact holds `tensor`, after coding."""
    stored = encode_rows(x_RC, fmt)
    n_bytes = stored.shape[1]
    stride = align(n_bytes) if tensor.by_row else n_bytes
    entry = Entry(tensor.name, fmt, tensor.shape, n_bytes, stride, 0, tensor.shape[0] * stride)
    return squeezed_section(entry, np.pad(stored, ((0, 0), (0, stride - n_bytes))), offered).n_bytes


def around_bytes(packed: Packed, tensors: dict[str, Tensor], offered: Sequence[str]) -> int:
    """Bytes of a squeezed file beside its matrices: other sections as they are, head and description nearly."""
    sections, total, rng = [], HEAD_BYTES, np.random.default_rng(0)
    for name, entry in packed.artifact.entries.items():
        if name in tensors:
            columns = (entry.row_stride - scale_columns(entry), scale_columns(entry))
            sizes = rng.integers(entry.nbytes // 2, entry.nbytes + 1, 2)
            parts = [(int(n), int(rng.integers(1 << 32))) for n in sizes]
            sections.append(Section(entry, tuple(Part(c, "columns", "zlib", *part) for c, part in zip(columns, parts))))
            continue
        found = squeezed_section(entry, packed.artifact.view(name), offered)
        sections.append(Section(entry, found.parts))
        total += found.n_bytes
    text = dumped_description(packed.artifact.meta, sections)
    return total + min(len(coded(text, coder)) for coder in offered)
