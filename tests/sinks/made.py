"""Small makers of events for tests of what becomes of events: only what a test cares about has to be said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from stream.config import OutboxConfig
from stream.events import CameraStatus, EmotionChanged, EmotionSample, Event, Gap, SeqRange, TrackStarted
from stream.outbox import MemoryOutbox
from stream.sinks.base import Accepted

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Clock:
    """A clock on the wall that stands where it was put."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def moment(camera_id: str = "cam1", at_s: float = 0.0, session: str | None = None) -> dict[str, Any]:
    return {
        "camera_id": camera_id,
        "session": session or f"s-{camera_id}",
        "media_time_s": at_s,
        "captured_at": None,
        "clock_source": "arrival",
    }


def sample(camera_id: str = "cam1", at_s: float = 0.0, **other: Any) -> EmotionSample:
    feeling = {"emotion": "happy", "probabilities": {"happy": 0.75, "sad": 0.25}, "confidence": 0.75, "quality": 0.5}
    return EmotionSample(**moment(camera_id, at_s, **other), track_id=1, box=(0.1, 0.2, 0.3, 0.4), **feeling)


def changed(camera_id: str = "cam1", at_s: float = 0.0, **other: Any) -> EmotionChanged:
    feeling = {"emotion": "sad", "probabilities": {"happy": 0.25, "sad": 0.75}, "confidence": 0.75, "quality": 0.5}
    place = moment(camera_id, at_s, **other)
    return EmotionChanged(**place, track_id=1, previous="happy", box=(0.1, 0.2, 0.3, 0.4), **feeling)


def started(camera_id: str = "cam1", at_s: float = 0.0, **other: Any) -> TrackStarted:
    return TrackStarted(**moment(camera_id, at_s, **other), track_id=1, box=(0.1, 0.2, 0.3, 0.4))


def status(camera_id: str = "cam1", at_s: float = 0.0, told: str = "live", **other: Any) -> CameraStatus:
    return CameraStatus(**moment(camera_id, at_s, **other), status=told)


def samples(count: int, camera_id: str = "cam1", **other: Any) -> list[Event]:
    return [sample(camera_id, float(second), **other) for second in range(count)]


def accepted(events: Iterable[Event], at: datetime = START) -> list[Accepted]:
    """As an outbox would answer that sees these events first: seq from 0 per camera, a millisecond between them."""
    taken = MemoryOutbox(OutboxConfig(), [], wall=lambda: at).append(list(events))
    return [Accepted(one.event, at + timedelta(milliseconds=number), one.start_ms) for number, one in enumerate(taken)]


def named(events: Iterable[Event]) -> list[int]:
    """Every seq that the events deliver, or that gaps among them name, in order of telling."""
    told: list[int] = []
    for event in events:
        if isinstance(event, Gap):
            ranges = [part for part in event.ranges if isinstance(part, SeqRange)]
            told += [seq for part in ranges for seq in range(part.first_seq, part.last_seq + 1)]
        else:
            told.append(event.seq)
    return told
