"""What threads hand to each other: the only objects in a worker that more than one thread touches.

| object | from | to | when it is full |
|---|---|---|---|
| `LatestFrames` | threads of live cameras | analysis | the newer frame replaces the unread one, and that is counted |
| `MergedFrames` | threads of files | analysis | the camera thread waits: files never drop a frame |
| `EventQueue` | analysis | publish | analysis waits if only files run; live cameras never wait for a sink |

`Inputs` holds the first two under one lock, so that analysis waits in one place.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from stream.errors import Closed
from stream.events import Event
from stream.records import Frame, Input, Tick

FILE_QUEUE = 2  # inputs waiting per file: one being analysed, one being decoded
ROUND_S = 0.04  # frames of several files that lie this close together are analysed as one batch


class LatestFrames:
    """One waiting frame per live camera; states and endings are kept in order around it. Guarded by Inputs' lock."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Input]] = {}
        self.dropped: Counter[str] = Counter()  # frames that a newer one replaced unread, per camera

    def put(self, item: Input) -> None:
        """Never waits. A frame takes the place of an unread frame just before it, and a tick of an unread tick."""
        queue = self._waiting.setdefault(item.camera_id, [])
        last = queue[-1] if queue else None
        if isinstance(item, Frame) and isinstance(last, Frame):
            self.dropped[item.camera_id] += 1
            queue[-1] = _inherit(last, item)
        elif isinstance(item, Tick) and isinstance(last, Tick):
            queue[-1] = item
        else:
            queue.append(item)

    def take(self) -> list[Input]:
        """Everything that waits, camera by camera in the order of arrival."""
        waiting, self._waiting = self._waiting, {}
        return [item for queue in waiting.values() for item in queue]

    def ready(self) -> bool:
        return bool(self._waiting)

    def holds(self, camera_id: str) -> bool:
        return camera_id in self._waiting


def _inherit(old: Frame, new: Frame) -> Frame:
    """The newer frame, told what the replaced one had to say about time: a restart must not get lost with its frame."""
    if old.discontinuity is None:
        return new
    return replace(new, discontinuity=new.discontinuity or old.discontinuity, skipped_s=old.skipped_s + new.skipped_s)


class MergedFrames:
    """Inputs of all files in the order (media time, order of configuration), whatever the threads' timing.

    It waits until every unfinished file has its next input, so what a round holds depends on the files alone.
    Guarded by Inputs' lock.
    """

    def __init__(self, camera_ids: Sequence[str]) -> None:
        self._waiting: dict[str, deque[Input]] = {camera_id: deque() for camera_id in camera_ids}
        self._unfinished = set(camera_ids)

    def full(self, camera_id: str) -> bool:
        return len(self._waiting[camera_id]) >= FILE_QUEUE

    def put(self, item: Input) -> None:
        self._waiting[item.camera_id].append(item)

    def finish(self, camera_id: str) -> None:
        self._unfinished.discard(camera_id)

    def empty(self) -> bool:
        return not any(self._waiting.values())

    def ready(self) -> bool:
        return any(self._waiting.values()) and all(self._waiting[camera_id] for camera_id in self._unfinished)

    def take(self) -> list[Input]:
        """The next round, when `ready`: of each file at most one input, none more than ROUND_S after the first."""
        heads = [(queue[0].media_time_s, order, queue) for order, queue in enumerate(self._waiting.values()) if queue]
        heads.sort(key=lambda head: head[:2])
        until_s = heads[0][0] + ROUND_S
        return [queue.popleft() for media_time_s, _, queue in heads if media_time_s < until_s]


class Inputs:
    """What the analysis thread takes from. Every camera finishes once; when all have, `take` raises Closed.

    With `more` it does so only after `no_more` as well: until then cameras may be added. A file that is added is merged
    with none of the others: they are somewhere in their middle, and would wait until it has caught up.
    """

    def __init__(self, live: Iterable[str], files: Sequence[str], *, more: bool = False) -> None:
        self._changed = threading.Condition()  # guards everything below
        self._latest = LatestFrames()
        together = MergedFrames(files)
        self._merged = dict.fromkeys(files, together)  # by file
        self._unfinished = {*live, *files}
        self._more = more
        self._aborted = False

    def add(self, camera_id: str, *, live: bool) -> bool:
        """One camera more, whose name is free; False after `no_more`."""
        with self._changed:
            if not self._more:
                return False
            if not live:
                self._merged[camera_id] = MergedFrames([camera_id])
            self._latest.dropped.pop(camera_id, None)
            self._unfinished.add(camera_id)
            return True

    def no_more(self) -> None:
        """No camera is added any more. May be called twice."""
        with self._changed:
            self._more = False
            self._changed.notify_all()

    def forget(self, camera_id: str) -> bool:
        """Free the name of a camera that has finished; False while something of it waits, or it may still come."""
        with self._changed:
            merged = self._merged.get(camera_id)
            waits = self._latest.holds(camera_id) if merged is None else not merged.empty()
            if waits or camera_id in self._unfinished:
                return False
            self._merged.pop(camera_id, None)
            return True

    def put(self, item: Input) -> None:
        """Hand one input on; waits for room if it is a file's. Raises Closed after `abort`."""
        with self._changed:
            merged = self._merged.get(item.camera_id)
            if merged is not None:
                self._changed.wait_for(lambda: self._aborted or not merged.full(item.camera_id))
            if self._aborted:
                raise Closed
            (self._latest if merged is None else merged).put(item)
            self._changed.notify_all()

    def finish(self, camera_id: str) -> None:
        """This camera hands on nothing more. May be called twice."""
        with self._changed:
            self._unfinished.discard(camera_id)
            if (merged := self._merged.get(camera_id)) is not None:
                merged.finish(camera_id)
            self._changed.notify_all()

    def take(self) -> list[Input]:
        """What waits. Raises Closed when every camera has finished and nothing is left."""
        with self._changed:
            self._changed.wait_for(self._ready_or_over)
            ready = self._ready_files()
            if self._aborted or not (self._latest.ready() or ready):
                raise Closed
            taken = self._latest.take()
            for merged in ready:
                taken += merged.take()
            self._changed.notify_all()
            return taken

    def abort(self) -> None:
        """Analysis takes nothing more: every thread that waits here is let go, with Closed."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def dropped(self) -> dict[str, int]:
        """Frames of each live camera that were replaced unread, so far."""
        with self._changed:
            return dict(self._latest.dropped)

    def _ready_files(self) -> list[MergedFrames]:
        """Each once, in the order of their first file."""
        return [merged for merged in dict.fromkeys(self._merged.values()) if merged.ready()]

    def _ready_or_over(self) -> bool:
        over = not (self._unfinished or self._more)
        return self._aborted or over or self._latest.ready() or bool(self._ready_files())


class EventQueue:
    """Events on their way from analysis to publishing, in order.

    With a `capacity` (runs over files only) `put` waits for the publisher; without one (live cameras) it never waits.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self._changed = threading.Condition()  # guards everything below
        self._waiting: list[Event] = []
        self._capacity = capacity
        self._closed = False

    def put(self, events: Sequence[Event]) -> None:
        """Hand events on; waits for room if the queue has a capacity. Raises Closed when it was closed."""
        if not events:
            return
        with self._changed:
            self._changed.wait_for(self._has_room)
            if self._closed:
                raise Closed
            self._waiting.extend(events)
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> list[Event]:
        """Every waiting event; empty after `timeout_s` without one. Raises Closed when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if not self._waiting and self._closed:
                raise Closed
            events, self._waiting = self._waiting, []
            self._changed.notify_all()
            return events

    def close(self) -> None:
        """Nothing more comes. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more comes; something may still wait."""
        with self._changed:
            return self._closed

    def _has_room(self) -> bool:
        return self._closed or self._capacity is None or len(self._waiting) < self._capacity
