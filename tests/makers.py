"""Small makers of records for tests: only what a test cares about has to be said."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.records import CameraEnded, CameraState, Faces, Frame, Letterbox, Tick

SIZE = (64, 96)  # height, width of made frames


def moment(camera_id: str = "cam1", media_time_s: float = 0.0) -> dict[str, Any]:
    return {
        "camera_id": camera_id,
        "session": f"s-{camera_id}",
        "media_time_s": media_time_s,
        "captured_at": None,
        "clock_source": "media",
    }


def frame(camera_id: str = "cam1", media_time_s: float = 0.0, *, index: int = 0, value: int = 0, **other: Any) -> Frame:
    """A plain frame whose every pixel is `value`."""
    height, width = SIZE
    luma = np.full((height, width), value, np.uint8)
    luma.flags.writeable = False
    small = np.full((height, width, 3), value, np.uint8)
    letterbox = Letterbox(width, height, 1.0, 1.0)
    return Frame(
        **moment(camera_id, media_time_s),
        index=index,
        luma=luma,
        full_range=True,
        small=small,
        letterbox=letterbox,
        **other,
    )


def live(camera_id: str = "cam1", media_time_s: float = 0.0) -> CameraState:
    return CameraState(**moment(camera_id, media_time_s), state="live", width_px=SIZE[1], height_px=SIZE[0])


def ended(camera_id: str = "cam1", media_time_s: float = 0.0, **other: Any) -> CameraEnded:
    return CameraEnded(**moment(camera_id, media_time_s), **{"state": "ended", **other})


def tick(camera_id: str = "cam1", media_time_s: float = 0.0) -> Tick:
    return Tick(**moment(camera_id, media_time_s))


def faces(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Faces:
    """Faces with landmarks at plausible places in their boxes."""
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    corner, size = rows[:, None, :2], (rows[:, 2:] - rows[:, :2])[:, None, :]
    return Faces(rows, (corner + places * size).astype(np.float32), np.full(len(rows), score, np.float32))
