"""What the live page shows: the latest of every camera and face, folded from events, told as what changed since.

Every change gives the whole a new revision, and every camera, face and point of a timeline keeps the one it came with.
So "what is new after revision N" can be answered for any N, however long a viewer was away, out of what is kept anyway:
a minute per face. Any thread may call anything here; nothing waits for a viewer.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from stream.events import UNCERTAIN, CameraStatus, Emotion, EmotionAggregate, TrackEnded, TrackStarted
from stream.records import Frame
from stream.sinks.base import Accepted
from stream.urls import scrub
from stream.watch import COLOURS

TIMELINE_S: Final = 60.0  # of media time kept per face
MOST_EVENTS: Final = 2048  # kept for whoever asks for events
MOST_ALERTS: Final = 20  # those that are over are forgotten first
FIGURES_S: Final = 1.0  # analysed frames a second and latency are told anew this often
SILENT_S: Final = 3.0  # without a frame for this long nothing is analysed
FRAMES: Final = 64  # that the rate is counted over
REMOVED: Final = "removed"  # the reason of `ended` when somebody took the camera away
TROUBLED: Final = {"stalled": "warning", "offline": "bad", "failed": "bad"}  # camera states that are an alert


@dataclass(slots=True)
class _Track:
    """One living face."""

    began_s: float  # media time
    revision: int
    emotion: str = UNCERTAIN
    confidence: float = 0.0
    quality: float = 0.0
    box: tuple[float, ...] = ()  # x1 y1 x2 y2 as fractions of the frame
    # (revision, media time, emotion, confidence)
    points: deque[tuple[int, float, str, float]] = field(default_factory=deque)


@dataclass(slots=True)
class _Camera:
    """One camera as it was last told."""

    session: str
    revision: int
    state: str = "unknown"
    reason: str | None = None
    since: datetime | None = None
    media_time_s: float = 0.0
    tracks: dict[int, _Track] = field(default_factory=dict)
    ended: int = 0  # faces that are over
    counts: dict[str, Any] | None = None  # of the last interval, where only counts are told
    frames_s: deque[float] = field(default_factory=lambda: deque(maxlen=FRAMES))  # when analysed, monotonic
    figures_s: float = 0.0  # when they were last told, monotonic
    latency_s: float | None = None  # from capture to analysis; None for recordings


@dataclass(slots=True)
class _Alert:
    level: str  # bad, warning, info
    text: str
    since: datetime
    over: datetime | None


class LiveView:
    """The latest of everything. `preview` is told to the page, so that it asks for no pictures where there are none."""

    def __init__(
        self,
        preview: str = "off",
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.preview = preview
        self.run = secrets.token_hex(4)  # a viewer that comes back to another run begins anew
        self.closed = False  # nothing more comes: whoever listens is let go
        self._monotonic, self._now = monotonic, now
        self._lock = threading.Lock()  # guards everything below
        self._revision = 0
        self._cameras: dict[str, _Camera] = {}
        self._alerts: dict[str, _Alert] = {}
        self._alerts_revision = 0
        self._engines: dict[str, str] = {}  # task -> fingerprint
        self._events: deque[tuple[int, Accepted]] = deque(maxlen=MOST_EVENTS)
        self._counted = 0  # events so far

    def observe(self, batch: Sequence[Accepted]) -> None:
        """Take accepted events, in order."""
        with self._lock:
            self._revision += 1
            for accepted in batch:
                self._counted += 1
                self._events.append((self._counted, accepted))
                self._fold(accepted)

    def analysed(self, frame: Frame) -> None:
        """A frame went through the analysis: what the rate and the latency are made of."""
        now_s = self._monotonic()
        with self._lock:
            camera = self._cameras.get(frame.camera_id)
            if camera is None:
                return
            camera.frames_s.append(now_s)
            camera.media_time_s = max(camera.media_time_s, frame.media_time_s)
            if now_s - camera.figures_s >= FIGURES_S:
                camera.figures_s = now_s
                if frame.captured_at is not None and frame.clock_source != "media":
                    camera.latency_s = max(0.0, (self._now() - frame.captured_at).total_seconds())
                self._revision += 1
                camera.revision = self._revision

    def engines(self, engines: Mapping[str, str]) -> None:
        """Which engines (task -> fingerprint) compute from now on."""
        with self._lock:
            for task, engine in engines.items():
                before = self._engines.get(task, engine)
                if before != engine:
                    self._alert(f"engine {task}", "info", f"{engine} takes over from {before}", over=True)
            self._engines = dict(engines)

    def trouble(self, name: str, sentence: str) -> None:
        """A sink or a chore does not work; the sentence says why."""
        with self._lock:
            text = sentence if sentence.startswith(f"{name}: ") else f"{name}: {sentence}"
            self._alert(f"sink {name}", "bad", scrub(text))

    def recovered(self, name: str) -> None:
        """It works again."""
        with self._lock:
            self._settle(f"sink {name}")

    def forget(self, camera_id: str) -> None:
        """A camera was removed. One that still runs goes with its last event; of one that has ended, none comes."""
        with self._lock:
            camera = self._cameras.get(camera_id)
            if camera is not None and camera.state in ("ended", "failed"):
                self._settle(f"camera {camera_id}")
                del self._cameras[camera_id]
                self._revision += 1

    def close(self) -> None:
        """The run is over."""
        self.closed = True

    def snapshot(self) -> dict[str, Any]:
        """All there is, as `updates` tells it to a new viewer."""
        return self.updates(None) or {}

    def updates(self, after: int | None) -> dict[str, Any] | None:
        """What changed after a revision; None if nothing did. Everything (`fresh`) for None or one that never was.

        `id` is the revision to ask with next. A camera comes with all its living faces, and these with the points of
        their timeline that are new.
        """
        with self._lock:
            fresh = after is None or not 0 <= after <= self._revision
            since = 0 if after is None or fresh else after
            if not fresh and since == self._revision:
                return None
            cameras = {
                name: self._told(camera, since)
                for name, camera in self._cameras.items()
                if fresh or camera.revision > since
            }
            told: dict[str, Any] = {"id": self._revision, "fresh": fresh, "names": list(self._cameras)}
            told |= {"now": self._now().isoformat(), "cameras": cameras}
            if fresh or self._alerts_revision > since:
                told["alerts"] = [_alert_told(key, alert) for key, alert in self._alerts.items()]
            if fresh:
                told |= {"preview": self.preview, "colours": COLOURS, "timeline_s": TIMELINE_S}
            return told

    def tracks(self) -> list[dict[str, Any]]:
        """Every living face."""
        with self._lock:
            return [
                {
                    "camera_id": name,
                    "session": camera.session,
                    "track_id": track_id,
                    "emotion": track.emotion,
                    "confidence": round(track.confidence, 4),
                    "quality": round(track.quality, 4),
                    "box": [round(edge, 4) for edge in track.box],
                    "age_s": round(max(0.0, camera.media_time_s - track.began_s), 3),
                }
                for name, camera in self._cameras.items()
                for track_id, track in camera.tracks.items()
            ]

    def events(self, after: int, limit: int) -> list[dict[str, Any]]:
        """At most `limit` events after the one with that `id`, oldest first; ids count from 1 in this run.

        Only the last MOST_EVENTS are kept: whoever asks too late finds a hole in the ids.
        """
        with self._lock:
            found = [(number, accepted) for number, accepted in self._events if number > after][:limit]
        return [
            {"id": number, "accepted_at": accepted.accepted_at.isoformat(), **json.loads(accepted.event.to_json())}
            for number, accepted in found
        ]

    def _fold(self, accepted: Accepted) -> None:
        event = accepted.event
        camera = self._cameras.get(event.camera_id)
        if camera is None or camera.session != event.session:
            camera = self._cameras[event.camera_id] = _Camera(event.session, self._revision)
        camera.revision = self._revision
        camera.media_time_s = max(camera.media_time_s, event.media_time_s)
        match event:
            case CameraStatus():
                self._state(camera, event, accepted.accepted_at)
            case TrackStarted():
                camera.tracks[event.track_id] = _Track(event.media_time_s, self._revision, box=event.box)
            case Emotion():
                self._feeling(camera, event)
            case TrackEnded():
                camera.ended += camera.tracks.pop(event.track_id, None) is not None
            case EmotionAggregate():
                camera.counts = event.model_dump(mode="json", include={"interval_s", "faces", "counts", "suppressed"})

    def _state(self, camera: _Camera, event: CameraStatus, when: datetime) -> None:
        if event.status != camera.state:
            camera.since = when
        camera.state, camera.reason = event.status, event.reason
        key = f"camera {event.camera_id}"
        if event.status == "ended" and event.reason == REMOVED:
            del self._cameras[event.camera_id]
        if event.status in TROUBLED:
            why = f": {scrub(event.reason)}" if event.reason else ""
            self._alert(key, TROUBLED[event.status], f"camera {event.camera_id} is {event.status}{why}")
        elif event.status != "connecting":
            self._settle(key)

    def _feeling(self, camera: _Camera, event: Emotion) -> None:
        track = camera.tracks.get(event.track_id)
        if track is None:
            track = camera.tracks[event.track_id] = _Track(event.media_time_s, self._revision)
        track.emotion, track.confidence, track.quality = event.emotion, event.confidence, event.quality
        track.box, track.revision = event.box, self._revision
        track.points.append((self._revision, event.media_time_s, event.emotion, event.confidence))
        while track.points[0][1] < event.media_time_s - TIMELINE_S:
            track.points.popleft()

    def _told(self, camera: _Camera, since: int) -> dict[str, Any]:
        told: dict[str, Any] = {
            "session": camera.session,
            "state": camera.state,
            "reason": scrub(camera.reason) if camera.reason else None,
            "since": camera.since.isoformat() if camera.since else None,
            "time": round(camera.media_time_s, 3),
            "fps": self._rate(camera),
            "latency_s": None if camera.latency_s is None else round(camera.latency_s, 3),
            "ended": camera.ended,
            "tracks": {str(track_id): _track_told(track, since) for track_id, track in camera.tracks.items()},
        }
        if camera.counts is not None:
            told["counts"] = camera.counts
        return told

    def _rate(self, camera: _Camera) -> float:
        """Analysed frames a second, over the last of them."""
        times = camera.frames_s
        if len(times) < 2 or self._monotonic() - times[-1] > SILENT_S:
            return 0.0
        return round((len(times) - 1) / max(times[-1] - times[0], 1e-3), 1)

    def _alert(self, key: str, level: str, text: str, *, over: bool = False) -> None:
        now = self._now()
        before = self._alerts.pop(key, None)
        since = before.since if before is not None and before.over is None else now
        self._alerts[key] = _Alert(level, text, since, now if over else None)
        past = [name for name, alert in self._alerts.items() if alert.over is not None]
        for name in past[: max(0, len(self._alerts) - MOST_ALERTS)]:
            del self._alerts[name]
        self._revision += 1
        self._alerts_revision = self._revision

    def _settle(self, key: str) -> None:
        alert = self._alerts.get(key)
        if alert is not None and alert.over is None:
            alert.over = self._now()
            self._revision += 1
            self._alerts_revision = self._revision


def _track_told(track: _Track, since: int) -> list[Any]:
    """Emotion, confidence and new points: a list, because there are many of them."""
    points = [
        [round(when_s, 2), emotion, round(confidence, 2)]
        for revision, when_s, emotion, confidence in track.points
        if revision > since
    ]
    return [track.emotion, round(track.confidence, 2), points]


def _alert_told(key: str, alert: _Alert) -> dict[str, Any]:
    over = alert.over.isoformat() if alert.over else None
    return {"key": key, "level": alert.level, "text": alert.text, "since": alert.since.isoformat(), "over": over}
