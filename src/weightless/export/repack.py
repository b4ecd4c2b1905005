"""An artifact packed again in other formats: codes of the same format are taken as they are, others are rounded."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weightless.base.config import from_dict, load_toml
from weightless.base.errors import ConfigError, WeightlessError
from weightless.export.lower import StoredRows, pack
from weightless.export.packed import Packed, open_packed
from weightless.models.catalog import Trained, family
from weightless.quant.plan import Plan


def load_plan(path: Path) -> dict[str, Any]:
    """A plan from a TOML file: patterns and formats in order, dotted keys (head.words = "int8") joined again."""

    def pairs(table: dict[str, Any], above: str) -> Iterator[tuple[str, Any]]:
        for key, value in table.items():
            if isinstance(value, dict):
                yield from pairs(value, f"{above}{key}.")
            else:
                yield f"{above}{key}", value

    found = dict(pairs(load_toml(path), ""))
    if not found:
        raise ConfigError(f'{path} names no tensor: write lines such as "block.*" = "int4"')
    return found


def with_formats(family_name: str, config: Any, weight_format: str = "", plan: dict[str, str] | None = None) -> Any:
    """The configuration with other storage: `weight_format` of all matrices, `plan` by pattern (None: as it is).

    ConfigError where the family has no such fields, or the plan does not suit it.
    """
    changes: dict[str, Any] = {"weight_format": weight_format} if weight_format else {}
    changes |= {} if plan is None else {"plan": plan}
    for name in changes:
        if name not in {f.name for f in dataclasses.fields(config)}:
            raise ConfigError(f"family {family_name!r} has no {name} to change: its numbers have the formats they need")
    made = dataclasses.replace(config, **changes)
    Plan.of(changes.get("plan", {}))
    if made != config and config.window_cache:
        there, here = (c.weight_format + (" and its plan" if c.plan else "") for c in (config, made))
        told = f"its window cache keeps the weights that were fitted for {there}"
        print(f"packed as {here}; {told}", file=sys.stderr)
    return made


def repack(
    source: Path,
    out: Path,
    weight_format: str = "",
    plan: dict[str, str] | None = None,
    rounded: Mapping[str, StoredRows] = MappingProxyType({}),
) -> Packed:
    """Write `source` in other formats to `out`; with nothing asked for, the same bytes.

    `rounded` are rows of some tensors that are stored already, instead of those of `source`.
    ConfigError where a format cannot hold a tensor or the engine cannot run it: nothing is written then.
    """
    packed = open_packed(source)
    room = family(packed.family)
    config = from_dict(room.Config, packed.artifact.meta.get("config") or {}, f"{source}: config")
    made = with_formats(packed.family, config, weight_format, plan)
    if not isinstance(room, Trained) and made != config:
        raise ConfigError(f"family {packed.family!r} is not trained: only its own formats suit it")
    if room.decode_program(config).to_plain() != packed.program.to_plain():
        raise WeightlessError(f"{source} is of another version, whose program differs: pack its checkpoint again")
    rows = {
        tensor.name: StoredRows(tensor.format, tensor.shape, packed.artifact.view(tensor.name))
        for tensor in packed.program.stored()
    }
    tokenizer = packed.artifact.view("tokenizer").tobytes().decode() if packed.has_tokenizer else None
    pack(out, packed.family, made, {**rows, **rounded}, tokenizer, packed.notes)
    return open_packed(out)
