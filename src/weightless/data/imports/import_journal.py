"""What an import has on the disk: finished shards, the shard under way, and where the source stands behind each.

    NAME.import.json   {"head": what is imported,
                        "roles": {"train": {"shards": [...], "open": null | {...}, "done": bool}, "val": ...}}

A shard's entry and the open shard's checkpoint hold "next" (a Place) and "pads" (padding left out so far).  What no
longer matches its SHA-256 is forgotten together with all that came after it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import read_json, write_json
from weightless.data.imports.token_rows import START, Place
from weightless.data.shards.corpus import check_shard
from weightless.data.shards.growing_shard import is_intact
from weightless.data.shards.manifest import SPLITS


class ImportJournal:
    """The journal of the import of `head` into `folder`; one of another import is discarded with its shards."""

    def __init__(self, folder: Path, head: dict[str, Any]) -> None:
        self.folder, self.head = folder, json.loads(json.dumps(head))
        self.path = folder / f"{head['name']}.import.json"
        self.roles: dict[str, dict[str, Any]] = {role: {"shards": [], "open": None, "done": False} for role in SPLITS}
        with suppress(CorruptFileError, KeyError, TypeError, AttributeError, ValueError):
            found = read_json(self.path) if self.path.exists() else {}
            if found.get("head") == self.head:
                self.roles = {role: self._intact(found["roles"][role]) for role in SPLITS}
            else:
                self._discard(found)

    def _discard(self, other: dict[str, Any]) -> None:
        """Take away the shards of another import that was never finished, lest they pass for some of this one."""
        for role in SPLITS if other else ():
            for shard in other["roles"][role]["shards"]:
                (self.folder / Path(shard["file"]).name).unlink(missing_ok=True)

    def _intact(self, role: dict[str, Any]) -> dict[str, Any]:
        for number, shard in enumerate(role["shards"]):
            try:
                check_shard(self.folder, shard, check_hash=True)
                whole = "space_marks" in shard  # older journals did not count them
            except WeightlessError:
                whole = False
            if not whole:
                return {"shards": role["shards"][:number], "open": None, "done": False}
        is_open = role["open"]
        if is_open and not is_intact(self.folder / is_open["file"], is_open):
            is_open = None
        return {"shards": role["shards"], "open": is_open, "done": bool(role["done"])}

    def save(self) -> None:
        """Write the journal, atomically."""
        write_json(self.path, {"head": self.head, "roles": self.roles})

    def n_tokens(self, role: str) -> int:
        """Ids of a role that are safe on the disk."""
        is_open = self.roles[role]["open"]
        return sum(shard["tokens"] for shard in self.roles[role]["shards"]) + (is_open["tokens"] if is_open else 0)

    def standing(self, role: str) -> tuple[Place, int]:
        """(where the source stands behind those ids, padding left out on the way)."""
        state = self.roles[role]
        last = state["open"] or (state["shards"][-1] if state["shards"] else None)
        return (Place(*last["next"]), int(last["pads"])) if last else (START, 0)
