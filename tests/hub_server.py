"""A Hub of a test's own on loopback: repositories in memory, answering as huggingface_hub's client asks."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

SHA = "c0ffee" * 6 + "c0ff"
WRITES, READS = "writes", "reads"  # tokens


@dataclass
class Repository:
    """What was pushed: files by path, those that came as large ones, and whether it may be seen without a token."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)


class HubServer(ThreadingHTTPServer):
    """repositories: by id. cut: how many further downloads of files break off in their middle.

    failing: a status for all. asked: method and path of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.cut, self.failing = 0, 0
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.begin()
        if self.server.failing:
            self.refuse(self.server.failing)
        elif self.token not in (WRITES, READS):
            self.refuse(401, message="Invalid credentials in Authorization header")
        elif path == "/api/validate-yaml":
            errors = [] if yaml.safe_load(json.loads(body)["content"].split("---")[1]) else [{"message": "empty"}]
            self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif self.token == READS:
            self.refuse(403, message="the token may only read")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private") or asked.get("visibility") == "private"
            there = name in self.server.repositories
            self.server.repositories.setdefault(name, Repository(private))
            self.answer({"url": f"{self.server.address}/{name}"}, 409 if there else 200)
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects})
        elif (repository := self.repository(path.removeprefix("/api/models"))) is None:
            self.refuse(404, "RepoNotFound")
        elif path.endswith("/preupload/main"):
            modes = {True: "lfs", False: "regular"}
            self.answer({"files": [
                {"path": one["path"], "uploadMode": modes[one["path"].endswith(".safetensors")], "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]})  # fmt: skip
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repository.files[value["path"]] = self.server.objects[value["oid"]]
                    repository.large.add(value["path"])
            name = path.removeprefix("/api/models/").removesuffix("/commit/main")
            self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{SHA}", "commitOid": SHA})
        else:
            self.refuse(404, "EntryNotFound")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self.begin()
        self.answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.begin()
        if self.server.failing:
            self.refuse(self.server.failing)
            return
        repository = self.repository(path.removeprefix("/api/models"))
        if repository is None or (repository.private and self.token not in (WRITES, READS)):
            self.refuse(404 if self.token else 401, "RepoNotFound")
        elif "/revision/" in path:
            if not path.endswith(("/main", SHA)):
                self.refuse(404, "RevisionNotFound")
                return
            names = [{"rfilename": name} for name in repository.files]
            self.answer({"id": path, "sha": SHA, "siblings": names, "private": repository.private})
        elif "/tree/" in path:
            self.answer([
                {"type": "file", "path": name, "size": len(content), "oid": etag(content)}
                for name, content in repository.files.items()
            ])  # fmt: skip
        elif "/resolve/" in path:
            self.send_file(repository.files.get(path.split("/resolve/")[1].partition("/")[2]))
        else:
            self.refuse(404, "EntryNotFound")

    def send_file(self, content: bytes | None) -> None:
        if content is None:
            self.refuse(404, "EntryNotFound")
            return
        wanted = self.headers.get("Range")
        first = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
        part = content[first:]
        self.send_response(206 if wanted else 200)
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("ETag", f'"{etag(content)}"')
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.cut and len(content) > 1000:
            self.server.cut -= 1
            self.wfile.write(part[: max(0, len(content) // 2 - first)])
            self.close_connection = True
        else:
            self.wfile.write(part)

    def begin(self) -> str:
        path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {path}")
        return path

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def repository(self, path: str) -> Repository | None:
        return self.server.repositories.get("/".join(path.split("/")[1:3]))

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str = "", message: str = "no") -> None:
        self.answer({"error": message}, status, **({"X_Error_Code": code} if code else {}), X_Error_Message=message)


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
