"""A model hub on 127.0.0.1 that serves folders, as much of one as the hub's own client asks for."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

LIFETIME, REQUESTS = 300.0, 2000  # seconds and requests after which a hub ends, whatever its test does
LARGE = (".safetensors", ".bin")  # files that a hub stores by their SHA-256
FOLDER = "/([^/]+/[^/]+)"


class Hub:
    """A running hub.

    Attributes:
        root: its repositories, ROOT/OWNER/NAME/REVISION, each a folder of files; REVISION is "main" or a tag.
        endpoint: its address.
        requests: method and path of every request for a repository, in order.
        broken: paths in repositories that are answered with an error.
        stopped: True once it has ended; connections that are still open are then closed without an answer.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.requests, self.broken, self.stopped = root, list[str](), set[str](), False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._end = threading.Timer(LIFETIME, self.stop)
        self._end.daemon = True
        self._end.start()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """End it: from now on nobody answers at its address."""
        self.stopped = True
        self._end.cancel()
        self._server.shutdown()
        self._server.server_close()

    def served(self) -> set[str]:
        """The files whose content was fetched: OWNER/NAME/FILE."""
        parts = (re.fullmatch(rf"GET {FOLDER}/resolve/[^/]+/(.+)", request) for request in self.requests)
        return {f"{part[1]}/{part[2]}" for part in parts if part}

    def revision(self, repository: str, name: str) -> Path | None:
        """The folder of a revision, by its name or its commit."""
        folders = sorted((self.root / repository).glob("*"))
        return next((folder for folder in folders if name in (folder.name, commit(folder))), None)


def commit(folder: Path) -> str:
    """The commit of a revision's folder."""
    return hashlib.sha1(str(folder).encode()).hexdigest()


def tree(folder: Path) -> list[dict[str, object]]:
    """The files of a revision, as a hub lists them."""
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        size, name = path.stat().st_size, path.relative_to(folder).as_posix()
        pointer = {"oid": etag(path), "size": size, "pointerSize": 130}
        stored = {"lfs": pointer, "oid": "e" * 40} if name.endswith(LARGE) else {"oid": etag(path)}
        files.append({"type": "file", "path": name, "size": size, **stored})
    return files


def etag(path: Path) -> str:
    """The name of a file's content: SHA-256 of a large file, else SHA-1."""
    return hashlib.new("sha256" if path.name.endswith(LARGE) else "sha1", path.read_bytes()).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def answer(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlparse(self.path).path)
        if hub.stopped:
            self.close_connection = True
            return None
        matched = re.fullmatch(rf"/api/models{FOLDER}(?:/(revision|tree)/([^/]+))?", path)
        matched = matched or re.fullmatch(rf"{FOLDER}/resolve/([^/]+)/(.+)", path)
        if matched is None or not (hub.root / matched[1]).is_dir():
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        hub.requests.append(f"{self.command} {path}")
        if len(hub.requests) > REQUESTS:
            threading.Thread(target=hub.stop, daemon=True).start()
        if path.startswith("/api/"):
            return self.describe(hub.revision(matched[1], matched[3] or "main"), matched[1], matched[2])
        return self.send(hub.revision(matched[1], matched[2]), matched[1], matched[3])

    do_HEAD = do_GET

    def describe(self, folder: Path | None, repository: str, kind: str | None) -> None:
        if folder is None:
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
        info = {"id": repository, "sha": commit(folder), "siblings": []}
        return self.answer(200, json.dumps(tree(folder) if kind == "tree" else info).encode())

    def send(self, folder: Path | None, repository: str, name: str) -> None:
        if f"{repository}/{name}" in self.server.hub.broken:
            return self.answer(403, b"{}", X_Error_Message="broken on purpose")
        if folder is None or not (folder / name).is_file():
            return self.answer(404, b"{}", X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
        headers = {"X_Repo_Commit": commit(folder), "ETag": f'"{etag(folder / name)}"'}
        return self.answer(200, (folder / name).read_bytes(), **headers)


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """A hub for the repositories below `root`, until the block ends."""
    hub = Hub(root)
    try:
        yield hub
    finally:
        hub.stop()
