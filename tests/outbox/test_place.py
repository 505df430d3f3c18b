"""Where an outbox lies, and what it does not take for one."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from tests.outbox.life import SMALL, Life
from tests.sinks.made import Clock, named, sample, samples, started


def test_one_worker_at_a_time_and_its_own_eyes_only(path: Path, clock: Clock) -> None:
    life = Life(path, clock)
    with pytest.raises(ConfigError, match=r"outbox\.path: another worker uses .*outbox\.sqlite"):
        claim(path, "sink", [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    life.outbox.close()
    claim(path, "sink", []).close()


def test_without_a_path_each_worker_finds_its_own_again(tmp_path: Path, clock: Clock) -> None:
    def worker(cameras: Sequence[str], sink: str = "redis://host") -> DurableOutbox:
        return DurableOutbox(SMALL, claim(None, sink, cameras, tmp_path), "redis://host", wall=clock)

    hall, yard = worker(["hall", "door"]), worker(["yard"])
    hall.append([sample("hall"), sample("door")])
    yard.append([sample("yard")])
    assert hall._store.path != yard._store.path
    hall.close()
    yard.close()
    with closing(worker(["yard", "garden"])) as again:
        assert {one.event.camera_id for one in again.pending("redis://host", 9)} == {"yard"}
        with closing(worker(["hall"], "redis://***@host")) as other:  # with a password now
            assert {one.event.camera_id for one in other.pending("redis://host", 9)} == {"hall", "door"}
        assert len(list(tmp_path.glob("*.sqlite"))) == 2
        with closing(worker(["yard"], "redis://elsewhere")) as elsewhere:
            assert elsewhere.pending("redis://host", 9) == []


def test_what_another_worker_left_is_delivered_by_whoever_has_its_cameras_now(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def worker(*cameras: str) -> DurableOutbox:
        return DurableOutbox(SMALL, claim(None, "sink", cameras, tmp_path), "sink", wall=clock)

    hall, yard, gate = worker("hall"), worker("yard"), worker("gate")
    for camera_id, outbox in (("hall", hall), ("yard", yard), ("gate", gate)):
        outbox.append([started(camera_id), sample(camera_id)])
        outbox._store.close()  # killed
    with closing(worker("hall", "yard")) as both:
        told = [one.event for one in both.pending("sink", 99)]
        assert [(event.camera_id, event.type) for event in told] == [
            ("hall", "track.started"),
            ("hall", "emotion.sample"),
            ("yard", "track.started"),
            ("yard", "emotion.sample"),
            ("hall", "track.ended"),
            ("yard", "track.ended"),
        ]
        assert "waits for its worker to come back, for gate" in caplog.text
        both.acknowledge("sink", both.pending("sink", 99))
    for path in tmp_path.glob("*.sqlite"):
        os.utime(path, (0, 0))  # nobody came back for it
    with closing(worker("hall")) as alone:
        assert [one.event.camera_id for one in alone.pending("sink", 99)] == ["gate"] * 3
        alone.acknowledge("sink", alone.pending("sink", 99))
    with closing(worker("gate")) as last:
        assert last.pending("sink", 99) == []


@pytest.mark.parametrize("content", [b"a video, for example", b"SQLite format 3\0" + bytes(52) + b"\0\0\0\x07" * 8])
def test_a_file_that_is_something_else_is_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds something else than an outbox"):
        claim(path, "sink", [])
    assert path.read_bytes() == content


def test_an_outbox_of_a_later_version_is_refused_and_kept(path: Path, clock: Clock) -> None:
    Life(path, clock).outbox.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match=r"another version of emostream \(format 2"):
        claim(path, "sink", [])


def test_a_broken_one_is_put_aside_and_the_worker_starts(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first = Life(path, clock)
    first.outbox.append(samples(500))
    first.outbox.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * 8192 + content[4096 + 8192 :])
    second = Life(path, clock)
    assert second.outbox.depth("sink") == 0
    assert named(one.event for one in second.outbox.append(samples(2))) == [0, 1]
    second.outbox.close()
    (aside,) = path.parent.glob("*.broken-*")
    assert aside.stat().st_size == len(content)
    assert "is broken" in caplog.text


@pytest.mark.parametrize("version", [0, 7])
def test_a_database_of_somebody_else_is_not_touched(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"CREATE TABLE theirs (x); PRAGMA user_version = {version};")
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="holds something else than an outbox"):
        claim(path, "sink", [])
    assert path.read_bytes() == content


@pytest.mark.parametrize("folder", ["/proc/outbox", "/dev/null/outbox"])
def test_where_nothing_can_be_kept_is_said(folder: str) -> None:
    with pytest.raises(ConfigError, match=r"outbox\.path: events cannot be kept in"):
        claim(Path(folder) / "outbox.sqlite", "sink", [])
    with pytest.raises(ConfigError, match=r"outbox\.path: events cannot be kept in"):
        claim(None, "sink", [], Path(folder))
