"""A local HTTP server of files, errors and cameras, for tests of sources."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BOUNDARY = "picture"


class Handler(SimpleHTTPRequestHandler):
    """`/name` a file; `/error/CODE` that answer; `/silent` none; `/short/name` half a file; `/mjpeg` a camera.

    `/moved?ADDRESS` is to be found elsewhere.
    """

    server: Server

    def do_GET(self) -> None:
        _, first, *rest = self.path.partition("?")[0].split("/")
        if first == "error":
            self.send_error(int(rest[0]))
        elif first == "silent":
            self.server.closing.wait()
        elif first == "short":
            self._send_half(Path(self.directory) / rest[0])
        elif first == "mjpeg":
            self._send_pictures()
        elif first == "moved":
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
        else:
            super().do_GET()

    def _send_half(self, path: Path) -> None:
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def _send_pictures(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.end_headers()
        for picture in self.server.pictures:
            header = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(header.encode() + picture + b"\r\n")

    def log_message(self, *_: object) -> None:
        """Tests read assertions, not access logs."""


class Server(ThreadingHTTPServer):
    """One thread a request; closing waits for them."""

    daemon_threads = False
    pictures: tuple[bytes, ...] = ()  # JPEGs of the camera

    def __init__(self, folder: Path) -> None:
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))

    def url(self, path: str, login: str = "") -> str:
        """The address of a path; `login` is `user:password@`."""
        return f"http://{login}127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no fault here."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of this folder while the context is open."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="http-server")
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
