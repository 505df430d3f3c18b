"""A real Redis with a replica, and real Sentinels that watch over them; a primary that dies is replaced."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.redis_server import RedisServer, binary, free_port
from tests.waiting import wait_until

SERVICE = "emotions"
QUICK = ("--repl-diskless-sync-delay", "0")  # a replica gets its first copy at once
DOWN_AFTER_MS = 2000  # a primary that is silent for so long is replaced


class Watched:
    """Two servers, of which one is the primary, and Sentinels that agree on which."""

    def __init__(self, password: str | None) -> None:
        self.servers: list[RedisServer] = []
        self.ports: list[int] = []  # of the Sentinels
        self._password = password
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, folder: Path, sentinels: int) -> None:
        """Returns once they all know each other."""
        for name in ("one", "two"):
            (folder / name).mkdir()
        self.servers.append(RedisServer(binary(), folder / "one", *QUICK))
        replica = (*QUICK, "--replicaof", "127.0.0.1", str(self.servers[0].port))
        self.servers.append(RedisServer(binary(), folder / "two", *replica))
        self.ports = [free_port() for _ in range(sentinels)]
        for port in self.ports:
            self._processes.append(self._start(folder, port))
        wait_until(self._know_each_other)

    @property
    def url(self) -> str:
        """With a Sentinel in front that is not there."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in [1, *self.ports])
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def primary(self) -> RedisServer:
        """As the Sentinels see it. In the middle of a fail-over that is the old one."""
        with self.sentinel() as sentinel:
            port = sentinel.sentinel_master(SERVICE)["port"]
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Let the replica become primary while both live; returns when the Sentinels say so."""
        before = self.primary
        wait_until(self._may_fail_over)
        wait_until(lambda: self.primary is not before)

    def sentinel(self) -> redis.Redis:
        """A plain client of one Sentinel; to be closed."""
        return redis.Redis(port=self.ports[0], host="127.0.0.1", protocol=2, password=self._password)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.communicate(timeout=10)
        for server in self.servers:
            if server.running:
                server.kill()  # a replica that still writes its first append-only file refuses to stop

    def _start(self, folder: Path, port: int) -> subprocess.Popen[bytes]:
        place = folder / f"sentinel-{port}"
        place.mkdir()
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {place}"]
        lines += [f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} {len(self.ports) // 2 + 1}"]
        lines += [f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}"]
        lines += [f"sentinel failover-timeout {SERVICE} 5000"]
        if self._password is not None:
            lines += [f"requirepass {self._password}", f"sentinel sentinel-pass {self._password}"]
        (place / "sentinel.conf").write_text("\n".join(lines) + "\n")
        return subprocess.Popen([binary(), place / "sentinel.conf", "--sentinel"], stdout=subprocess.DEVNULL)

    def _may_fail_over(self) -> bool:
        with self.sentinel() as sentinel:
            try:
                return bool(sentinel.sentinel_failover(SERVICE))
            except redis.ResponseError as error:
                # it has not heard enough of the replica yet, or has begun already
                if "NOGOODSLAVE" in str(error) or "INPROG" in str(error):
                    return False
                raise

    def _know_each_other(self) -> bool:
        try:
            with self.sentinel() as sentinel:
                state = sentinel.sentinel_master(SERVICE)
        except redis.ConnectionError:
            return False
        replicated = state["num-slaves"] == 1 and self._is_replicated()
        return bool(replicated and state["num-other-sentinels"] == len(self.ports) - 1)

    def _is_replicated(self) -> bool:
        with self.servers[1].client() as client:
            return client.info("replication")["master_link_status"] == "up"


@contextmanager
def watched(sentinels: int = 1, password: str | None = None) -> Iterator[Watched]:
    """`password` is the Sentinels' own."""
    with tempfile.TemporaryDirectory(prefix="emostream-sentinel-") as folder:
        there = Watched(password)
        try:
            there.start(Path(folder), sentinels)
            yield there
        finally:
            there.close()
