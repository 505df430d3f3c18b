"""What flows inside a worker: frozen records that say their shapes, units and owners.

Arrays in a record are never written into after it was made; whoever needs another value makes a new array. `eq=False`
where arrays are inside, because == on arrays has no single answer. Checks stand where data enters from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.spec import LANDMARKS

ClockSource = Literal["rtcp", "arrival", "media"]
EndReason = Literal["left", "camera_ended", "restarted", "worker_lost"]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Which camera, which session, when: what every input of the pipeline and every event begins with."""

    camera_id: str
    session: str  # one per camera and worker start; for files a digest of content, configuration and engines
    media_time_s: float  # our own clock of this camera: starts at 0, strictly increasing over its frames
    captured_at: datetime | None  # UTC; None for a file whose start is not known
    clock_source: ClockSource


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How `small` was made from the full frame: scaled evenly, content at the top left, padded right and below.

    Boxes are edges, so they scale; landmarks are pixel centres, so half a pixel goes with them.
    """

    width_px: int  # of the full frame, after rotation
    height_px: int
    scale_x: float  # pixels of `small` per pixel of the frame; x and y differ only by rounding to whole pixels
    scale_y: float

    def boxes_to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 4) x1 y1 x2 y2 in pixels of `small` -> pixels of the full frame, clipped to it."""
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.width_px, self.height_px] * 2, np.float32)
        scaled: NDArray[np.float32] = np.minimum(np.maximum(boxes / scale, np.float32(0)), limit)
        return scaled

    def points_to_frame(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., 2) x y in pixels of `small` -> pixels of the full frame; points may lie outside it."""
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        half = np.float32(0.5)
        return (points + half) / scale - half


@dataclass(frozen=True, slots=True, eq=False)
class Frame(Moment):
    """One frame that was chosen for analysis."""

    index: int  # 0-based count of decoded frames of this camera, over reconnects
    luma: NDArray[np.uint8]  # (H, W), the decoder's Y plane where it has one: a view, writeable=False
    full_range: bool  # False: luma is 16..235 and a crop must be expanded; True: 0..255
    small: NDArray[np.uint8]  # (h, w, 3) BGR or (h, w) full-range luma, as the detector asks; multiples of its stride
    letterbox: Letterbox
    discontinuity: str | None = None  # why time is not continuous with the frame before; ends the camera's tracks
    skipped_s: float = 0.0  # seconds of media time that the discontinuity jumped over; 0 for a restart

    def __post_init__(self) -> None:
        if self.luma.ndim != 2 or self.luma.dtype != np.uint8 or self.luma.flags.writeable:
            raise ValueError(f"luma must be a read-only (H, W) uint8, got {self.luma.shape} {self.luma.dtype}")
        if self.small.shape[2:] not in ((), (3,)) or self.small.ndim < 2 or self.small.dtype != np.uint8:
            raise ValueError(f"small must be (h, w) or (h, w, 3) uint8, got {self.small.shape} {self.small.dtype}")


@dataclass(frozen=True, slots=True, eq=False)
class CameraState(Moment):
    """A camera's state changed and its tracks live on; it stands in order among the camera's frames."""

    state: Literal["connecting", "live", "stalled"]
    reason: str | None = None  # words without credentials
    width_px: int | None = None  # with `live`: the frame size after rotation
    height_px: int | None = None
    analyse_hz: float | None = None  # with `live`; None also means every frame


@dataclass(frozen=True, slots=True, eq=False)
class CameraEnded(Moment):
    """No frame comes for now (`offline`) or ever again (`ended`, `failed`): the camera's tracks end."""

    state: Literal["offline", "ended", "failed"]
    reason: str | None = None
    retry_in_s: float | None = None  # with `offline`


@dataclass(frozen=True, slots=True, eq=False)
class Tick(Moment):
    """A camera's clock went on without a frame: its tracks may end and its samples are due."""


Input = Frame | CameraState | CameraEnded | Tick


def _none(*shape: int, dtype: type = np.float32) -> NDArray[np.float32]:
    return np.zeros(shape, dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces of one frame, best score first."""

    boxes: NDArray[np.float32] = field(default_factory=lambda: _none(0, 4))  # (N, 4) x1 y1 x2 y2, pixels of the frame
    landmarks: NDArray[np.float32] = field(default_factory=lambda: _none(0, LANDMARKS, 2))  # (N, 5, 2), pixels
    scores: NDArray[np.float32] = field(default_factory=lambda: _none(0))  # (N,) 0..1

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class TrackEnd:
    """A confirmed track is over."""

    track_id: int
    reason: EndReason


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The confirmed tracks seen in one frame, and what began and ended with it. Rows belong together."""

    ids: tuple[int, ...] = ()  # (N,) unique per camera and session, counted from 1 in order of confirmation
    faces: Faces = field(default_factory=Faces)  # (N) the detection of each
    started: tuple[int, ...] = ()  # those of `ids` confirmed by this frame
    ended: tuple[TrackEnd, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the emotion network said about each row of a Tracks."""

    probabilities: NDArray[np.float32]  # (N, L) temperature-scaled softmax, columns in the order of the model's labels
    quality: NDArray[np.float32]  # (N,) 0..1: how much this crop deserves to be believed
    read: NDArray[np.bool_]  # (N,) False: nobody looked at this face in this frame, and the other columns say nothing
