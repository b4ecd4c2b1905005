"""What every transform and coder makes of an artifact's codes and scales, and `weightless pack --golf` of all.

    python benchmarks/coders.py MODEL.wl …

Sums over all tensors with codes, in bytes; in the last lines whole files: squeezed by one family of coders, by the
usual ones, by all that are installed, and the ordinary file by zlib -9 and xz beside them.  Nothing is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import lzma
import zlib
from pathlib import Path

import numpy as np

from weightless.artifact.coders import CODERS, FAMILIES, TRANSFORMS, USUAL_FAMILIES, coded, fits, transformed
from weightless.artifact.file import Artifact, open_artifact, opened_bytes
from weightless.artifact.squeezed import scale_columns, squeezed_bytes
from weightless.golf.solver import entropy
from weightless.quant.layout import is_quantised

HERE = tuple(name for name in FAMILIES if name != "brotli" or importlib.util.find_spec("brotli"))


def parts(artifact: Artifact, of_scales: bool) -> list[np.ndarray]:
    """The rows of codes, or of scales, of every tensor that has them."""
    found = []
    for name, entry in artifact.entries.items():
        if is_quantised(entry.format):
            first = entry.row_bytes - scale_columns(entry)
            columns = slice(first, entry.row_bytes) if of_scales else slice(0, first)
            found.append(artifact.view(name)[:, columns])
    return found


def table(artifact: Artifact, of_scales: bool) -> None:
    rows = parts(artifact, of_scales)
    coders = [coder for coder in CODERS[1:] if coder.partition("_")[0] in HERE]
    least = sum(part.size * entropy(np.bincount(part.ravel(), minlength=256)) / 8 for part in rows)
    print(f"  {'scales' if of_scales else 'codes'}: {sum(part.size for part in rows):,} bytes, {least:,.0f} by entropy")
    print(f"    {'':8}" + "".join(f"{coder:>12}" for coder in coders))
    for transform in TRANSFORMS:
        if all(fits(transform, *part.shape) for part in rows):
            laid = [transformed(part, transform) for part in rows]
            sizes = [sum(len(coded(content, coder)) for content in laid) for coder in coders]
            print(f"    {transform:8}" + "".join(f"{size:>12,}" for size in sizes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    for path in parser.parse_args().models:
        artifact, whole = open_artifact(path), opened_bytes(path).tobytes()
        print(f"{path}: {len(whole):,} bytes")
        for of_scales in (False, True):
            table(artifact, of_scales)
        ways = {name: (name,) for name in HERE} | {"usual": USUAL_FAMILIES, "all installed": HERE}
        for name, families in ways.items():
            print(f"  squeezed, {name:<14}{len(squeezed_bytes(path, families)):>12,}")
        print(f"  whole, zlib -9         {len(zlib.compress(whole, 9)):>12,}")
        print(f"  whole, xz              {len(lzma.compress(whole)):>12,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
