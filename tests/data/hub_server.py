"""A hub on the loopback: the five routes that reading data sets takes, generated files, and faults on request.

    GET  /api/datasets/OWNER/NAME[/revision/REV]         what it is, and its commit
    GET  /api/datasets/OWNER/NAME/tree/REV[/FOLDER]      its files, sizes, SHA-256
    POST /api/datasets/OWNER/NAME/paths-info/REV         the same of some paths
    GET, HEAD /datasets/OWNER/NAME/resolve/REV/PATH      a file, whole or a range, with ETag and X-Repo-Commit
    anything else                                        404 with X-Error-Code
Models have the same without `datasets/` before the name.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa
from pyarrow import parquet

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Repository:
    files: dict[str, bytes]
    card: list | None = None  # "configs" of the data set's card
    commit: str = COMMIT
    private: bool = False


@dataclass
class Hub:
    """What is served, what goes wrong, and what was asked for."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path -> after how many bytes each answer breaks off
    statuses: dict[str, list[int]] = field(default_factory=dict)  # path -> answers with these codes first
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # (method, path, Range)
    pause: float = 0.0  # seconds before each answer with a file

    def ranges(self, path: str) -> list[str]:
        return [span for method, asked, span in self.requests if method == "GET" and asked.endswith(path)]


@contextmanager
def running_hub(hub=None, handler=None):
    """Serve until the block ends."""
    hub = hub or Hub()
    handler = type("Handler", (handler or Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def environment(hub: Hub, home) -> dict[str, str]:
    """What a client needs to see only this hub and a cache of its own."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": "",
    }


def table_bytes(columns: dict, rows_per_group: int = 7) -> bytes:
    """A parquet file of these columns."""
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, row_group_size=rows_per_group)
    return sink.getvalue()


def masked_rows(n: int, vocab_size: int, seed: int, length: int = 33, pad: int = 0, means_keep: bool = True):
    """(table bytes with input_ids and pad_mask, the ids that count): rows of `length`, most of them padded."""
    rng = np.random.default_rng(seed)
    ids, masks, kept = [], [], []
    for _ in range(n):
        own = rng.integers(1, vocab_size, rng.integers(1, length + 1)).tolist()
        ids.append(own + [pad] * (length - len(own)))
        masks.append([int(means_keep)] * len(own) + [int(not means_keep)] * (length - len(own)))
        kept += own
    return table_bytes(
        {"input_ids": pa.array(ids, pa.list_(pa.int32())), "pad_mask": pa.array(masks, pa.list_(pa.int8()))}
    ), kept


def value_rows(n: int, vocab_size: int, seed: int):
    """(table bytes with one column `values` of rows of any length, also none, all ids)."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, vocab_size, rng.integers(0, 60)).tolist() for _ in range(n)]
    return table_bytes({"values": pa.array(rows, pa.list_(pa.int64()))}), [i for row in rows for i in row]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_POST(self):
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        if self.command != "HEAD" and (codes := self._planned(self.hub.statuses, path)):
            self._send(codes, b"", {})
            return
        if found := re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path):
            self._describe(*found.groups())
        elif found := re.fullmatch(r"(/datasets)?/([^/]+/[^/]+)/resolve/((?:refs/\w+/)?[^/]+)/(.+)", path):
            self._file(*found.groups()[1:], with_body)
        else:
            self._missing("EntryNotFound")

    def _planned(self, plan: dict, path: str):
        for suffix, values in plan.items():
            if values and path.endswith(suffix):
                return values.pop(0)
        return None

    def _repository(self, name: str, revision: str):
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._missing("RepoNotFound")
        elif revision not in ("main", repository.commit, "refs/convert/parquet"):
            self._missing("RevisionNotFound")
        else:
            return repository
        return None

    def _describe(self, kind, name, what, rest):
        revision, folder = rest or "main", ""
        if what == "tree" and "/" in revision:
            revision, folder = revision.split("/", 1)
        repository = self._repository(name, revision)
        if repository is None:
            return
        entries = [_entry(path, data) for path, data in repository.files.items()]
        folders = {parent for path in repository.files for parent in _parents(path)}
        entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        if what == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            inside = [e for e in entries if not folder or e["path"].startswith(folder + "/")]
            depth = folder.count("/") + 1 if folder else 0
            chosen = [e for e in inside if recursive or e["path"].count("/") == depth]
            self._missing("EntryNotFound") if folder and not inside else self._json(chosen)
        elif what == "paths-info":
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = "json" in self.headers.get("Content-Type", "")
            asked = json.loads(body)["paths"] if is_json else parse_qs(body.decode())["paths"]
            self._json([entry for entry in entries if entry["path"] in asked])
        else:
            siblings = [{"rfilename": path} for path in repository.files]
            card = {"configs": repository.card} if repository.card else {}
            self._json(
                {
                    "id": name,
                    "sha": repository.commit,
                    "private": repository.private,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": siblings,
                    "cardData": card,
                }
            )

    def _file(self, name, revision, path, with_body):
        repository = self._repository(name, revision)
        if repository is None:
            return
        if path not in repository.files:
            self._missing("EntryNotFound")
            return
        data, status = repository.files[path], 200
        headers = {
            "X-Repo-Commit": repository.commit,
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(span[1]), int(span[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
            data, status = data[first : last + 1], 206
        cut = self._planned(self.hub.cuts, path) if with_body else None
        self._send(status, data, headers, with_body, cut)

    def _json(self, value) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", "X-Repo-Commit": COMMIT})

    def _missing(self, code: str) -> None:
        self._send(
            404,
            b"{}",
            {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "application/json"},
            self.command != "HEAD",
        )

    def _send(self, status, body, headers, with_body=True, cut=None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


def _entry(path: str, data: bytes) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    lfs = (
        {"oid": digest, "size": len(data), "pointerSize": 134}
        if path.endswith((".parquet", ".safetensors", ".wl"))
        else None
    )
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": blob, **({"lfs": lfs} if lfs else {})}


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
