"""The loopback hub that also takes files, by the routes of HfApi.create_repo and create_commit, with faults on request.

POST /api/repos/create                            an empty repository
POST /api/validate-yaml                           any front matter will do
POST /api/models/OWNER/NAME/preupload/main        which files go to large file storage: those ending in .wl
POST /OWNER/NAME.git/info/lfs/objects/batch       where to put them
PUT  /lfs/SHA256                                  one of them
POST /api/models/OWNER/NAME/commit/main           a commit in lines of JSON; its parent must be the newest commit
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from data.hub_server import Handler, Hub, Repository

TOKEN = "hf_of_a_test"


@dataclass
class WritableHub(Hub):
    """`rots`: stored bytes get one bit wrong; `put_cuts`: after how many bytes an upload breaks off."""

    stored: dict[str, bytes] = field(default_factory=dict)
    put_cuts: list[int] = field(default_factory=list)
    rots: bool = False
    commits: list[dict] = field(default_factory=list)
    unseen_commit: bool = False  # somebody commits between the question and the commit


class WritingHandler(Handler):
    hub: WritableHub

    def _answer(self, with_body):
        told = self.headers.get("Authorization")
        if told in (None, f"Bearer {TOKEN}"):
            super()._answer(with_body)
        else:
            self._send(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"}, with_body)

    def do_PUT(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(("PUT", path, ""))
        length = int(self.headers["Content-Length"])
        if self.hub.put_cuts:
            self.rfile.read(min(self.hub.put_cuts.pop(0), length))
            self.close_connection = True
            return
        body = self.rfile.read(length)
        assert hashlib.sha256(body).hexdigest() == path.removeprefix("/lfs/")
        self.hub.stored[path.removeprefix("/lfs/")] = body
        self._send(200, b"", {})

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", path):
            answer = {"preupload": self._modes, "commit": self._commit}[found[2]]
        elif path in ("/api/repos/create", "/api/validate-yaml") or path.endswith("/info/lfs/objects/batch"):
            answer = {"/api/repos/create": self._create, "/api/validate-yaml": self._yaml}.get(path, self._batch)
        else:
            super().do_POST()
            return
        self.hub.requests.append(("POST", path, ""))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" or path == "/api/validate-yaml"
        status = self._planned(self.hub.statuses, path) or (None if allowed else 401)
        if status:
            self._send(status, b'{"error": "no"}', {"Content-Type": "application/json"})
        else:
            answer(found[1] if found else "", body)

    def _create(self, _, body):
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        private = asked.get("visibility") == "private" or asked.get("private", False)
        self.hub.repositories[name] = Repository({".gitattributes": b"*.wl filter=lfs\n"}, private=private)
        self._json({"url": f"{self.hub.url}/{name}", "name": name})

    def _yaml(self, _, body):
        assert "library_name: weightless" in json.loads(body)["content"]
        self._json({"errors": [], "warnings": []})

    def _modes(self, name, body):
        modes = {True: "lfs", False: "regular"}
        files = [file["path"] for file in json.loads(body)["files"]]
        self._json(
            {"files": [{"path": p, "uploadMode": modes[p.endswith(".wl")], "shouldIgnore": False} for p in files]}
        )

    def _batch(self, _, body):
        objects = json.loads(body)["objects"]
        for one in objects:
            if one["oid"] not in self.hub.stored:
                one["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name, body):
        repository = self.hub.repositories[name]
        header, *lines = (json.loads(line) for line in body.splitlines())
        self.hub.commits.append({**header["value"], "keys": [line["key"] for line in lines]})
        if self.hub.unseen_commit or header["value"]["parentCommit"] != repository.commit:
            self._send(412, b'{"error": "A commit has happened since."}', {"Content-Type": "application/json"})
            return
        for line in lines:
            value = line["value"]
            is_large = line["key"] == "lfsFile"
            data = self.hub.stored[value["oid"]] if is_large else base64.b64decode(value["content"])
            if self.hub.rots and is_large:
                data = data[:-1] + bytes([data[-1] ^ 1])
            repository.files[value["path"]] = data
        repository.commit = hashlib.sha1(body).hexdigest()
        url = f"{self.hub.url}/{name}/commit/{repository.commit}"
        self._json({"success": True, "commitOid": repository.commit, "commitUrl": url})
