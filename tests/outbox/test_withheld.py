"""An outbox that a start without `aggregate_only` left is opened by one with it: nothing of single faces goes on."""

from __future__ import annotations

from pathlib import Path

from stream.config import OutboxConfig
from stream.events import Gap
from stream.outbox.disk_line import withhold
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from stream.privacy import may_leave
from tests.sinks.made import Clock, changed, named, samples, started, status


def opened(path: Path, clock: Clock) -> DurableOutbox:
    return DurableOutbox(OutboxConfig(), claim(path, "sink", []), "sink", wall=clock)


def test_what_waits_becomes_gaps_and_nobody_is_told_to_have_left(path: Path, clock: Clock) -> None:
    before = opened(path, clock)
    before.append([status(), started(), *samples(3)])
    batch = before.pending("sink", 2)
    before.acknowledge("sink", batch)
    before.append([changed(), status(told="stalled")])
    before.close()
    store = claim(path, "sink", [])
    assert withhold(store, may_leave) == 4  # three samples and the change; the face's arrival has gone already
    after = DurableOutbox(OutboxConfig(), store, "sink", wall=clock)
    assert (after.left, after.lost) == (5, 0)
    after.rewind("sink")  # as every start does
    waiting = [one.event for one in after.pending("sink", 100)]
    assert [event.type for event in waiting] == ["camera.status", *["gap"] * 4, "camera.status"]
    assert {event.reason for event in waiting if isinstance(event, Gap)} == {"withheld"}
    assert named(waiting) == [0, *range(2, 7)]  # 1 is delivered, and only forgotten here
    after.close()


def test_nothing_of_them_is_left_in_the_file(path: Path, clock: Clock) -> None:
    before = opened(path, clock)
    before.append([started(), *samples(100)])
    before.acknowledge("sink", before.pending("sink", 50))
    before.close()
    store = claim(path, "sink", [])
    withhold(store, may_leave)
    store.close()
    left = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert b"camera_id" in left
    assert b"box" not in left
    assert b'track_id"' not in left
