"""What was trained with learned clips, as the codes and scales that training computed with: the master copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from weightless.base.errors import ConfigError
from weightless.export.lower import StoredRows
from weightless.program.tensor import Parameter
from weightless.quant.code_rows import encode_codes
from weightless.quant.layout import format_named, n_groups, row_bytes


def clipped_rows(
    specs: Iterable[Parameter], arrays: Mapping[str, np.ndarray], clips: Mapping[str, np.ndarray]
) -> dict[str, StoredRows]:
    """Stored rows of every tensor of `clips`, its factors float32 [R, G] or [1, 1] on the scales of its format's rule.

    ConfigError when factors do not fit their tensor.
    """
    found = {}
    for spec in specs:
        if (clip := clips.get(spec.name)) is None:
            continue
        rows, cols = spec.shape
        if clip.shape not in ((1, 1), (rows, n_groups(spec.format, cols))):
            raise ConfigError(
                f"{spec.name!r}: {list(clip.shape)} learned clips do not fit {spec.format} of {rows} rows"
            )
        stored = np.zeros((rows, row_bytes(spec.format, cols)), np.uint8)
        w_RC = np.ascontiguousarray(arrays[spec.name].reshape(rows, cols), np.float32)
        encode_codes(w_RC, format_named(spec.format), stored, clip)
        found[spec.name] = StoredRows(spec.format, (rows, cols), stored)
    return found
