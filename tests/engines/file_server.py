"""A real HTTP server for downloads, which behaves as its path says. It ends with its `with` block."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

BODY = bytes(range(256)) * 1024  # 256 KiB
SHA256 = hashlib.sha256(BODY).hexdigest()
WAIT_S = 10.0  # the longest silence, should a test forget to end it


@dataclass
class FileServer:
    """`/file` gives BODY, `/cut` half of it, `/unsized` all without a length, `/silent` nothing, others a 404."""

    url: str
    requests: list[str] = field(default_factory=list)  # paths asked for so far
    released: threading.Event = field(default_factory=threading.Event)  # set: silent answers end

    def at(self, path: str) -> str:
        return self.url + path


@contextlib.contextmanager
def serving() -> Iterator[FileServer]:
    with HTTPServer(("127.0.0.1", 0), _Handler) as http:
        server = FileServer(f"http://127.0.0.1:{http.server_port}")
        http.files = server  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), name="file-server")
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()
            thread.join(WAIT_S)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        files: FileServer = self.server.files  # type: ignore[attr-defined]
        files.requests.append(self.path)
        if self.path == "/silent":
            files.released.wait(WAIT_S)
            return
        if self.path not in ("/file", "/cut", "/unsized"):
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may well have seen enough
            self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/cut" else BODY)

    def log_message(self, *_: object) -> None:
        """Tests need no access log."""
