"""A disk that is full costs events, the oldest samples first, and not the worker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from stream.config import OutboxConfig
from stream.errors import OutboxError
from stream.outbox.durable import DurableOutbox
from tests.outbox.life import Life
from tests.sinks.made import Clock, named, sample, samples, started


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


def test_after_a_full_disk_a_burst_that_redis_takes_loses_nothing(path: Path, clock: Clock) -> None:
    """Few events wait, as Redis is there: what was stopped from growing has room for more than these few."""
    life = Life(path, clock, OutboxConfig())
    life.outbox.append(samples(20))
    life.outbox._line.shed(16)
    life.outbox.append(samples(500))
    told = life.take()
    assert [event.seq for event in told][-500:] == list(range(20, 520))
    life.outbox.close()
