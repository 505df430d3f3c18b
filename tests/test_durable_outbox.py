"""An outbox on disk: what is accepted outlives its process, whatever becomes of that."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from stream.client import subscribe
from stream.config import OutboxConfig, RedisConfig
from stream.errors import Closed, ConfigError, OutboxError
from stream.events import CameraStatus, Event, Gap, TrackEnded, parse
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from stream.publisher import Publisher
from stream.sinks.redis import RedisSink, camera_key, stream_key
from tests.conftest import PROJECT
from tests.redis_server import RedisServer, own_server, server, shared_server
from tests.sinks.made import START, Clock, changed, named, sample, samples, started, status

__all__ = ["own_server", "server", "shared_server"]

SMALL = OutboxConfig(max_events=1_000)
STARTS_MS = int(START.timestamp() * 1000)

# Accepts events until it is killed: each line that it prints is one that was accepted.
ACCEPTS = """
import sys
from pathlib import Path
from stream.config import OutboxConfig
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from tests.sinks.made import sample, started

outbox = DurableOutbox(OutboxConfig(), claim(Path(sys.argv[1]), "sink", []), "sink")
outbox.append([started()])
at_s = 0.0
while True:
    at_s += 0.1
    for one in outbox.append([sample(at_s=at_s)]):
        print(one.event.seq, flush=True)
    outbox.acknowledge("sink", outbox.pending("sink", 1)) if at_s < 1 else None
"""


class Life:
    """One start of a worker with the outbox in `path`."""

    def __init__(self, path: Path, clock: Clock, config: OutboxConfig = SMALL) -> None:
        self.outbox = DurableOutbox(config, claim(path, "sink", []), "sink", wall=clock)

    def take(self, count: int = 1_000) -> list[Event]:
        batch = self.outbox.pending("sink", count)
        self.outbox.acknowledge("sink", batch)
        return [one.event for one in batch]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_next_start_goes_on_where_the_last_stood(path: Path, clock: Clock) -> None:
    first = Life(path, clock)
    first.outbox.append([status(), *samples(4)])
    assert named(first.take(2)) == [0, 1]
    first.outbox.close()
    first.outbox.close()
    second = Life(path, clock)
    assert (second.outbox.left, second.outbox.depth("sink"), second.outbox.lost) == (3, 3, 0)
    taken = second.outbox.append([sample(session="next")])
    assert (taken[0].event.seq, taken[0].start_ms) == (0, STARTS_MS + 1)  # the clock stands still, starts do not
    assert [(event.session, event.seq) for event in second.take()] == [
        *[(sample().session, seq) for seq in (2, 3, 4)],
        ("next", 0),
    ]
    second.outbox.close()


def test_what_was_acknowledged_comes_again_only_when_it_is_asked_for(path: Path, clock: Clock) -> None:
    first = Life(path, clock)
    first.outbox.append(samples(3))
    first.take()
    first.outbox.close()
    clock.now = START + timedelta(seconds=30)
    second = Life(path, clock)
    assert second.outbox.pending("sink", 10) == []
    second.outbox.rewind("sink")  # a Redis that died together with the worker has lost its last second
    assert named(second.take()) == [0, 1, 2]
    clock.now = START + timedelta(seconds=85)  # retained since it was acknowledged again
    second.outbox.rewind("sink")
    assert named(second.take()) == [0, 1, 2]
    clock.now = START + timedelta(seconds=200)
    second.outbox.rewind("sink")
    assert second.take() == []
    second.outbox.close()


def test_a_killed_process_loses_nothing_that_it_accepted(path: Path, clock: Clock) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ACCEPTS, str(path)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(50)]
        child.kill()
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    life = Life(path, clock, OutboxConfig())
    told: list[Event] = []
    life.outbox.rewind("sink")
    while more := life.take():
        told += more
    life.outbox.close()
    seqs = [event.seq for event in told]
    assert seqs == list(range(len(seqs)))
    assert set(said) < set(seqs)
    assert isinstance(told[-1], TrackEnded)  # the face that it left behind
    assert told[-1].reason == "worker_lost"
    assert life.outbox.lost == 1


def test_faces_that_were_left_behind_end_with_what_was_known_of_them(path: Path, clock: Clock) -> None:
    first = Life(path, clock)
    first.outbox.append([started(at_s=1.0), changed(at_s=3.0), sample(at_s=5.0), started("b", at_s=2.0)])
    first.outbox.append([CameraStatus(**status("b").model_dump(exclude={"media_time_s"}), media_time_s=7.0)])
    first.outbox.append([ended_of(started("c", at_s=1.0))])
    first.outbox.close()
    second = Life(path, clock)
    ends = [event for event in second.take() if isinstance(event, TrackEnded) and event.reason == "worker_lost"]
    assert [(end.camera_id, end.seq, end.media_time_s) for end in ends] == [("b", 2, 7.0), ("cam1", 3, 5.0)]
    _, face = ends
    assert (face.duration_s, face.shares, face.dominant) == (4.0, {"uncertain": 0.5, "sad": 0.5}, "sad")
    assert (face.frames_seen, face.frames_used) == (None, None)
    second.outbox.close()
    third = Life(path, clock)  # told once
    assert third.outbox.lost == 0
    third.outbox.close()


def ended_of(event: Event) -> TrackEnded:
    fields = event.model_dump(include={"camera_id", "session", "media_time_s", "captured_at", "clock_source"})
    life = {"duration_s": 0.0, "shares": {}, "dominant": "uncertain", "frames_seen": 1, "frames_used": 1}
    return TrackEnded(**fields, track_id=1, reason="left", **life)


def test_what_may_have_been_sent_before_is_never_given_up_after_a_start(path: Path, clock: Clock) -> None:
    first = Life(path, clock)
    first.outbox.append(samples(800))
    first.outbox.pending("sink", 256)  # sent, and killed before the answer
    first.outbox._store.close()  # no goodbye
    second = Life(path, clock)
    second.outbox.append(samples(5_000, session="next"))
    told = []
    while more := second.take():
        told += more
    second.outbox.close()
    assert [event.seq for event in told[:800]] == list(range(800))
    assert not any(isinstance(event, Gap) for event in told[:800])
    assert named(told[800:]) == list(range(5_000))


def test_memory_and_file_stay_small_while_nobody_takes_anything(path: Path, clock: Clock) -> None:
    life = Life(path, clock)
    for _ in range(40):
        life.outbox.append(samples(250))
    size = path.stat().st_size
    for _ in range(80):
        life.outbox.append(samples(250))
    assert life.outbox.depth("sink") <= SMALL.max_events
    assert path.stat().st_size <= 1.2 * size
    assert len(life.outbox._line._handed) == 0
    told = life.take(5_000)
    assert named(told) == list(range(30_000))
    life.outbox.close()


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


def limit(outbox: DurableOutbox, pages: int) -> None:
    """SQLite's own limit answers as a full disk does."""
    outbox._store.read(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_costs_the_oldest_samples_first(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    life = Life(path, clock, OutboxConfig())
    life.outbox.append([started(), *samples(20_000)])
    ((pages,),) = life.outbox._store.read("PRAGMA page_count")
    limit(life.outbox, pages + 10)
    before = life.outbox.depth("sink")
    for _ in range(12):
        life.outbox.append(samples(100))
    assert life.outbox.depth("sink") < before + 1_200
    assert "the disk is full" in caplog.text
    told = []
    while more := life.take():
        told += more
    assert named(told) == list(range(21_201))
    assert told[0].type == "track.started"
    life.outbox.close()


def test_a_disk_that_is_full_for_good_is_told_in_one_sentence(path: Path, clock: Clock) -> None:
    life = Life(path, clock)
    limit(life.outbox, 1)
    with pytest.raises(OutboxError, match=r"the disk is full.*name another outbox\.path"):
        life.outbox.append(samples(30_000))
    life.outbox.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB; SQLite's own limit would leave its log out."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a test that failed may hold a file there


def fill(folder: Path) -> None:
    """Take all that is left, to the last byte."""
    with suppress(OSError), (folder / "fill").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("waiting", [500, 20_000])
def test_a_disk_that_others_fill_stops_nobody(small_disk: Path, clock: Clock, waiting: int) -> None:
    life = Life(small_disk / "outbox.sqlite", clock, OutboxConfig())
    for _ in range(waiting // 250):
        life.outbox.append(samples(250))
    fill(small_disk)
    for _ in range(400):
        life.outbox.append(samples(50))
        clock.now += timedelta(seconds=1)
        fill(small_disk)
    life.outbox.rewind("sink")
    life.outbox.close()
    again = Life(small_disk / "outbox.sqlite", clock, OutboxConfig())  # nor the next start
    told = []
    while more := again.take():
        told += more
    assert named(told) == list(range(waiting + 20_000))
    again.outbox.append([sample(session="next")])
    assert [event.session for event in again.take()] == ["next"]
    again.outbox.close()


def test_what_may_have_been_sent_counts_in_events_not_in_their_numbers(path: Path, clock: Clock) -> None:
    """After much was given up the rows of a batch lie far apart."""
    first = Life(path, clock, OutboxConfig(max_events=1_000))
    first.outbox.append([started(), *samples(600), *[status() for _ in range(600)]])
    for _ in range(20):
        first.outbox.append(samples(500, session="other"))
    sent = first.outbox.pending("sink", 256)
    first.outbox._store.close()
    clock.now = START + timedelta(days=3)  # and what was kept is too old by now
    second = Life(path, clock, OutboxConfig(max_events=1_000))
    second.outbox.append(samples(1, session="next"))
    told = second.take(256)
    assert told == [one.event for one in sent]
    second.outbox.close()


def test_a_clock_that_was_set_back_names_nothing_twice(path: Path, clock: Clock) -> None:
    life = Life(path, clock, OutboxConfig(max_age_s=3600.0))
    for later in (timedelta(), timedelta(hours=2), timedelta(seconds=5)):
        clock.now = START + later
        life.outbox.append(samples(1))
    clock.now = START + timedelta(hours=2, seconds=11)
    life.outbox.append(samples(1))
    assert named(life.take()) == [0, 1, 2, 3]
    life.outbox.close()


class Queue:
    """Events that wait already, and no more."""

    closed = True

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = list(events)

    def take(self, timeout_s: float | None) -> list[Event]:
        if not self._events:
            raise Closed
        events, self._events = self._events, []
        return events


def publish(path: Path, clock: Clock, url: str, events: Sequence[Event], drain_s: float = 5.0) -> None:
    """One start of a worker that tells these events to Redis and ends."""
    config = RedisConfig(url=url)
    store = claim(path, "redis", [])
    sink = RedisSink(config, "worker", wall=clock, notes=store)
    sink.name = "redis"
    publisher = Publisher(DurableOutbox(OutboxConfig(), store, "redis", wall=clock), [sink], drain_s=drain_s)
    publisher.open()
    publisher.run(Queue(events))
    publisher.close()


@pytest.mark.redis
def test_what_redis_has_already_is_not_stored_twice_by_the_next_start(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    publish(path, clock, server.url, samples(5))
    before = path.read_bytes()
    clock.now = START + timedelta(seconds=1)
    publish(path, clock, server.url, samples(3, session="second"))
    path.write_bytes(before)  # as if the second start, and all that it wrote down, had been killed
    clock.now = START + timedelta(seconds=2)
    publish(path, clock, server.url, samples(2, session="third"))
    told = [(event.session, event.seq) for event in subscribe(server.url, from_="start", idle_s=0.3)]
    first = sample().session
    assert told == [
        *[(first, seq) for seq in range(5)],
        *[("second", seq) for seq in range(3)],
        *[("third", seq) for seq in range(2)],
    ]


@pytest.mark.redis
def test_a_redis_that_lost_its_tail_while_the_worker_was_down_gets_it_back(
    path: Path, clock: Clock, own_server: RedisServer
) -> None:
    publish(path, clock, own_server.url, samples(3))
    own_server.kill()
    own_server.forget()
    own_server.start()
    clock.now = START + timedelta(seconds=20)
    publish(path, clock, own_server.url, samples(2, session="second"))
    told = [(event.session, event.seq) for event in subscribe(own_server.url, from_="start", idle_s=0.3)]
    assert told == [*[(sample().session, seq) for seq in range(3)], ("second", 0), ("second", 1)]


class Start:
    """One start of a worker, whose sends the test takes step by step, and which may be killed."""

    def __init__(self, path: Path, clock: Clock, url: str, maxlen: int = 100_000) -> None:
        self.store = claim(path, "sink", [])
        self.outbox = DurableOutbox(OutboxConfig(), self.store, "sink", wall=clock)
        self.sink = RedisSink(RedisConfig(url=url, maxlen=maxlen), "worker", wall=clock, notes=self.store)
        self.reach()

    def reach(self) -> None:
        self.sink.open()
        self.outbox.rewind("sink")

    def send(self, batches: int = 1_000) -> None:
        for _ in range(batches):
            if batch := self.outbox.pending("sink", 256):
                self.sink.send(batch)
                self.outbox.acknowledge("sink", batch)

    def kill(self) -> None:
        self.store.close()
        self.sink.close()


@pytest.mark.redis
def test_killed_in_the_middle_of_a_backlog_that_the_stream_does_not_hold(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    first = Start(path, clock, server.url, maxlen=100)
    first.outbox.append(samples(2_000))
    first.send(batches=6)
    first.kill()
    second = Start(path, clock, server.url, maxlen=100)
    second.send()
    second.kill()
    with server.client() as client:
        entries = client.xrange(stream_key("cam1"))
    assert [parse(fields["event"]).seq for _, fields in entries] == list(range(2_000 - len(entries), 2_000))
    assert not any("late" in fields for _, fields in entries)


@pytest.mark.redis
def test_a_camera_that_another_worker_had_meanwhile_is_told_as_it_is_now(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    first = Start(path, clock, server.url)
    first.outbox.append([status()])
    first.send()
    first.outbox.append([started()])  # accepted, not sent
    first.kill()
    clock.now += timedelta(minutes=1)
    other = Start(path.with_name("other"), clock, server.url)
    other.outbox.append([status(session="theirs"), status(session="theirs", told="ended")])
    other.send()
    other.kill()
    clock.now += timedelta(minutes=1)
    again = Start(path, clock, server.url)
    again.outbox.append([status(session="again")])
    again.send()
    clock.now -= timedelta(hours=1)  # and its clock is put right
    again.outbox.append([status(session="again", told="offline")])
    again.send()
    again.kill()
    with server.client() as client:
        assert client.hget(camera_key("cam1"), "status") == "offline"
        entries = client.xrange(stream_key("cam1"))
    told = [(parse(fields["event"]).session, "late" in fields) for _, fields in entries]
    old = sample().session
    assert told == [
        (old, False),
        ("theirs", False),
        ("theirs", False),
        (old, True),
        (old, True),
        *[("again", False)] * 2,
    ]


@pytest.mark.redis
def test_runs_that_began_anew_are_remembered_as_they_were_used(path: Path, clock: Clock, server: RedisServer) -> None:
    """Two workers, and a Redis that came back from an older state: what is stored then is known after a restart."""
    first = Start(path, clock, server.url)
    first.outbox.append(samples(3))
    first.send()
    with server.client() as client:
        older = redis.Redis(port=server.port).dump(stream_key("cam1"))
        first.outbox.append(samples(2))
        first.send()
        clock.now += timedelta(seconds=5)
        other = Start(path.with_name("other"), clock, server.url)
        other.outbox.append(samples(1, session="theirs"))
        other.send()
        clock.now += timedelta(seconds=5)
        first.reach()
        first.outbox.append(samples(5))
        first.send()
        client.delete(stream_key("cam1"))
        redis.Redis(port=server.port).restore(stream_key("cam1"), 0, older)
        other.reach()
        other.send()
        clock.now += timedelta(seconds=5)
        first.reach()
        first.send()
        before = client.xrange(stream_key("cam1"))
        first.kill()
        clock.now += timedelta(seconds=5)
        again = Start(path, clock, server.url)
        again.send()
        assert client.xrange(stream_key("cam1")) == before
    told = [event.seq for event in subscribe(server.url, from_="start", idle_s=0.3) if event.session != "theirs"]
    assert told == list(range(10))
    again.kill()
    other.kill()


def test_nothing_of_it_is_loaded_where_it_is_not_used() -> None:
    code = "import stream.launch, sys; assert 'sqlite3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, env={**os.environ, "PYTHONPATH": ""})
