"""An outbox on disk: what is accepted outlives its process, whatever becomes of that."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from stream.config import OutboxConfig
from stream.events import CameraStatus, Event, Gap, TrackEnded
from tests.conftest import PROJECT
from tests.outbox.life import SMALL, Life
from tests.sinks.made import START, Clock, changed, named, sample, samples, started, status

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


def test_nothing_of_it_is_loaded_where_it_is_not_used() -> None:
    code = "import stream.launch, sys; assert 'sqlite3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, env={**os.environ, "PYTHONPATH": ""})
