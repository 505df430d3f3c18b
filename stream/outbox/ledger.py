"""What an outbox on disk knows beside the events themselves: where every session stands, and who is in the picture.

It answers one question, asked by the start after a worker was killed: which faces were told to have arrived, and never
to have left? Their `track.ended` is told then, out of what was said of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stream.events import UNCERTAIN, Emotion, Event, TrackEnded, TrackStarted
from stream.outbox.store import Store
from stream.sinks.base import Accepted

Order = tuple[int, str, str]  # worker start, camera, session


@dataclass(slots=True)
class Life:
    """What was told of a face that is there."""

    started_s: float
    last_s: float
    emotion: str = UNCERTAIN
    seconds: dict[str, float] = field(default_factory=dict)

    def see(self, event: Emotion) -> None:
        """The time since the last word belongs to the emotion that was told then."""
        self._pass(event.media_time_s)
        self.emotion = event.emotion

    def _pass(self, now_s: float) -> None:
        self.seconds[self.emotion] = self.seconds.get(self.emotion, 0.0) + max(0.0, now_s - self.last_s)
        self.last_s = now_s

    def ended(self, track_id: int, moment: dict[str, Any]) -> TrackEnded:
        total_s = sum(self.seconds.values())
        shares = {name: seconds / total_s for name, seconds in self.seconds.items()} if total_s else {UNCERTAIN: 1.0}
        known = {name: share for name, share in shares.items() if name != UNCERTAIN and share > 0}
        return TrackEnded(
            **moment,
            track_id=track_id,
            reason="worker_lost",
            duration_s=self.last_s - self.started_s,
            shares=shares,
            dominant=max(known, key=known.__getitem__) if known else UNCERTAIN,
            frames_seen=None,
            frames_used=None,
        )

    def as_json(self) -> str:
        return json.dumps([self.started_s, self.last_s, self.emotion, self.seconds])


class Ledger:
    """Kept in step with the events of this start; `write` goes into the transaction that accepts them."""

    def __init__(self) -> None:
        self._lives: dict[tuple[Order, int], Life] = {}
        self._changed: set[tuple[Order, int]] = set()
        self._ended: set[tuple[Order, int]] = set()
        self._last: dict[Order, Event] = {}

    def see(self, accepted: Iterable[Accepted]) -> None:
        """Take note of what was just said."""
        for one in accepted:
            event = one.event
            order = (one.start_ms, event.camera_id, event.session)
            self._last[order] = event
            if isinstance(event, TrackStarted):
                self._lives[order, event.track_id] = Life(event.media_time_s, event.media_time_s)
                self._changed.add((order, event.track_id))
            elif isinstance(event, TrackEnded):
                self._lives.pop((order, event.track_id), None)
                self._changed.discard((order, event.track_id))
                self._ended.add((order, event.track_id))
            elif isinstance(event, Emotion) and (life := self._lives.get((order, event.track_id))) is not None:
                life.see(event)
                self._changed.add((order, event.track_id))

    def write(self, connection: sqlite3.Connection) -> None:
        """What has changed since it was `written`."""
        connection.executemany(
            "INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?)",
            [(*order, event.seq + 1, _moment_json(event)) for order, event in self._last.items()],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO track VALUES (?, ?, ?, ?, ?)",
            [(*order, track_id, self._lives[order, track_id].as_json()) for order, track_id in self._changed],
        )
        connection.executemany(
            "DELETE FROM track WHERE start_ms = ? AND camera_id = ? AND session = ? AND track_id = ?",
            [(*order, track_id) for order, track_id in self._ended],
        )

    def written(self) -> None:
        """The transaction is on disk."""
        self._last.clear()
        self._changed.clear()
        self._ended.clear()


def left_open(store: Store) -> list[tuple[int, Event]]:
    """What has to be told of the faces that earlier starts left: start, and `track.ended` with its seq."""
    places: dict[Order, tuple[int, dict[str, Any]]] = {}
    for start_ms, camera_id, session, next_seq, last in store.read("SELECT * FROM place"):
        moment = json.loads(last)
        captured_at = moment["captured_at"]
        moment["captured_at"] = None if captured_at is None else datetime.fromisoformat(captured_at)
        places[start_ms, camera_id, session] = (next_seq, {"camera_id": camera_id, "session": session, **moment})
    told: list[tuple[int, Event]] = []
    rows: Sequence[tuple[Any, ...]] = store.read("SELECT * FROM track ORDER BY start_ms, camera_id, session, track_id")
    for start_ms, camera_id, session, track_id, life in rows:
        order = (start_ms, camera_id, session)
        seq, moment = places[order]
        places[order] = (seq + 1, moment)
        started_s, last_s, emotion, seconds = json.loads(life)
        told.append((start_ms, Life(started_s, last_s, emotion, seconds).ended(track_id, {**moment, "seq": seq})))
    return told


def forget_finished(connection: sqlite3.Connection) -> None:
    """Of starts that have nothing left to deliver, nothing has to be known."""
    for table in ("place", "run"):
        connection.execute(f"DELETE FROM {table} WHERE start_ms NOT IN (SELECT start_ms FROM event)")


def _moment_json(event: Event) -> str:
    captured_at = None if event.captured_at is None else event.captured_at.isoformat()
    return json.dumps(
        {"media_time_s": event.media_time_s, "captured_at": captured_at, "clock_source": event.clock_source}
    )
