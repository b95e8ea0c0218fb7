"""A stand-in for the Hugging Face Hub: the few routes that pushing a model needs, over a store in memory.

It checks what the real one checks: the token, what ``preupload`` said about each file, that an LFS object's bytes are
there with the promised hash before a commit points to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OWNER = "vendor"


@dataclass
class Hub:
    """What the hub holds, and how it misbehaves."""

    token: str = "hf_right_token"
    refuse: dict[str, int] = field(default_factory=dict)  # route's name -> HTTP status instead of an answer
    url: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def create(self, body: dict[str, Any], _: str) -> tuple[int, Any]:
        """POST /api/repos/create."""
        repo = f"{body.get('organization') or OWNER}/{body['name']}"
        if repo in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}
        self.repos[repo] = body
        return 200, {"url": f"{self.url}/{repo}", "name": repo, "id": repo}

    def validate(self, body: dict[str, Any], _: str) -> tuple[int, Any]:
        """POST /api/validate-yaml."""
        good = body["content"].startswith("---\n") and body["content"].count("---\n") >= 2
        return 200, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}

    def preupload(self, body: dict[str, Any], _: str) -> tuple[int, Any]:
        """POST /api/models/REPO/preupload/REVISION."""
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": file["path"], "uploadMode": modes[file["path"].endswith(".onnx")], "shouldIgnore": False}
            for file in body["files"]
        ]
        return 200, {"files": files}

    def batch(self, body: dict[str, Any], _: str) -> tuple[int, Any]:
        """POST /REPO.git/info/lfs/objects/batch."""
        objects = [
            {**wanted, "authenticated": True, "actions": {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}}
            for wanted in body["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def commit(self, entries: list[dict[str, Any]], repo: str) -> tuple[int, Any]:
        """POST /api/models/REPO/commit/REVISION."""
        kept = self.files.setdefault(repo, {})
        for entry in entries[1:]:
            value = entry["value"]
            if entry["key"] == "file":
                kept[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile" and value["oid"] in self.objects:
                kept[value["path"]] = self.objects[value["oid"]]
            else:
                return 400, {"error": f"unknown {entry['key']}"}
        oid = hashlib.sha1(json.dumps(entries).encode(), usedforsecurity=False).hexdigest()
        return 200, {
            "success": True,
            "commitOid": oid,
            "commitUrl": f"{self.url}/{repo}/commit/{oid}",
            "hookOutput": "",
        }


ROUTES = {
    "create": re.compile(r"^/api/repos/create$"),
    "validate": re.compile(r"^/api/validate-yaml$"),
    "preupload": re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)/preupload/main$"),
    "batch": re.compile(r"^/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch$"),
    "commit": re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)/commit/main$"),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_PUT(self) -> None:
        """Takes an LFS object whose bytes are what its name says."""
        content = self._body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            self._answer(400, {"error": "wrong bytes"})
            return
        self.hub.objects[oid] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        """Answers one of the routes."""
        raw, path = self._body(), self.path.partition("?")[0]
        for name, route in ROUTES.items():
            if found := route.match(path):
                self.hub.asked.append(name)
                self._answer(*self._served(name, raw, found.groupdict().get("repo", "")))
                return
        self._answer(404, {"error": f"no route {path}"})

    def _served(self, name: str, raw: bytes, repo: str) -> tuple[int, Any]:
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return 401, {"error": "Invalid username or password."}
        if name in self.hub.refuse:
            return self.hub.refuse[name], {"error": "out of order"}
        body = [json.loads(line) for line in raw.splitlines()] if name == "commit" else json.loads(raw)
        answer: tuple[int, Any] = getattr(self.hub, name)(body, repo)
        return answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keeps quiet."""


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
