"""A scripted crowd for the live page: cameras whose faces change their moods, as accepted events, without any video."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from stream.events import CameraStatus, EmotionSample, Event, TrackStarted
from stream.sinks.base import Accepted

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
MOODS = ("happy", "neutral", "sad", "surprise", "angry", "uncertain", "fear", "disgust")
BOX = (0.1, 0.2, 0.3, 0.5)


def stamp(camera_id: str, time_s: float) -> dict[str, object]:
    return {
        "camera_id": camera_id,
        "session": f"s-{camera_id}",
        "media_time_s": time_s,
        "captured_at": None,
        "clock_source": "media",
    }


def accepted(*events: Event) -> list[Accepted]:
    return [Accepted(event, START, 0) for event in events]


def status(camera_id: str, state: str, time_s: float = 0.0, **other: object) -> CameraStatus:
    return CameraStatus.model_validate({**stamp(camera_id, time_s), "status": state, **other})


def started(camera_id: str, track_id: int, time_s: float = 0.0) -> TrackStarted:
    return TrackStarted.model_validate({**stamp(camera_id, time_s), "track_id": track_id, "box": BOX})


def sample(camera_id: str, track_id: int, emotion: str, confidence: float, time_s: float) -> EmotionSample:
    told = {"emotion": emotion, "confidence": confidence, "probabilities": {}, "quality": 0.8, "box": BOX}
    return EmotionSample.model_validate({**stamp(camera_id, time_s), "track_id": track_id, **told})


def arrival(cameras: int, faces: int) -> list[Accepted]:
    """So many cameras turn live, each with so many faces."""
    events: list[Event] = []
    for camera_id in names(cameras):
        events.append(status(camera_id, "live"))
        events += [started(camera_id, face) for face in range(1, faces + 1)]
    return accepted(*events)


def moment(cameras: int, faces: int, time_s: float) -> list[Accepted]:
    """What is told of all faces at this time: each keeps a mood for some seconds, and none has the same rhythm."""
    return accepted(
        *(
            sample(camera_id, face, _mood(number, face, time_s), _confidence(number, face, time_s), time_s)
            for number, camera_id in enumerate(names(cameras))
            for face in range(1, faces + 1)
        )
    )


def names(cameras: int) -> Sequence[str]:
    return [f"camera-{number:02d}" for number in range(1, cameras + 1)]


def _mood(camera: int, face: int, time_s: float) -> str:
    return MOODS[int(time_s / (5 + face) + camera + face * 3) % len(MOODS)]


def _confidence(camera: int, face: int, time_s: float) -> float:
    return 0.35 + 0.6 * ((time_s * (3 + face) + camera * 5) % 17) / 17
