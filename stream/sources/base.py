"""The Source protocol: something that gives the chosen frames of one camera, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.spec import ModelSpec
from stream.clocks import CLOCKS, Clocks, never
from stream.config import CameraConfig, DetectorConfig
from stream.records import ClockSource, Frame, Letterbox
from stream.sources.timeline import Stamp, Timeline
from stream.urls import mask

Pixels = NDArray[np.uint8]

LATE_S = 1.0  # live video in bursts that is later than this stays so much later
CATCH_UP_SPEED = 1.25  # at which it makes up for less


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What an opened source turned out to be."""

    width_px: int  # after rotation
    height_px: int
    codec: str
    rate_hz: float | None  # what the container claims; None where it claims nothing


@dataclass(frozen=True, slots=True)
class SmallSize:
    """What `Frame.small` is to be: what the detector asks for."""

    longer_px: int  # the frame's longer side is reduced to this, never enlarged
    stride: int  # both sides are padded to multiples of it
    luma: bool = False  # one plane, 0..255, instead of BGR

    @classmethod
    def of(cls, config: DetectorConfig, spec: ModelSpec) -> SmallSize:
        """What this detector model takes, at the configured size."""
        return cls(config.input_px, spec.stride, spec.color == "luma")

    def letterbox(self, width_px: int, height_px: int) -> tuple[Letterbox, tuple[int, int], tuple[int, int]]:
        """For a frame of this size: the transform, (width, height) of the content, (width, height) with padding."""
        scale = min(1.0, self.longer_px / max(width_px, height_px))
        width, height = max(1, round(width_px * scale)), max(1, round(height_px * scale))
        padded = (-(-width // self.stride) * self.stride, -(-height // self.stride) * self.stride)
        return Letterbox(width_px, height_px, width / width_px, height / height_px), (width, height), padded


def read_only(array: Pixels) -> Pixels:
    """The same pixels, which nobody who holds only this view can make writable again."""
    array.flags.writeable = False
    return array.view()


@dataclass(frozen=True, slots=True)
class Context:
    """What a source is given: whose frames, on which clock, how large, and how to wait."""

    camera: CameraConfig
    session: str
    timeline: Timeline
    small: SmallSize
    wait: Callable[[float], bool] = never  # waits at most that many seconds; True: stop now (threading.Event.wait)
    clocks: Clocks = CLOCKS

    @property
    def shown(self) -> str:
        """The address as it may be printed."""
        return mask(self.camera.source)

    def frame(self, stamp: Stamp, arrived: datetime | None, pixels: FramePixels) -> Frame:
        """The record of a chosen frame. `arrived`: wall clock at its arrival, None for a recording."""
        start_at = self.camera.settings.start_at
        if arrived is None and start_at is not None:
            captured_at: datetime | None = start_at + timedelta(seconds=stamp.media_time_s)
        else:
            captured_at = arrived
        clock_source: ClockSource = "media" if arrived is None else "arrival"
        return Frame(
            self.camera.name,
            self.session,
            stamp.media_time_s,
            captured_at,
            clock_source,
            stamp.index,
            pixels.luma,
            pixels.full_range,
            pixels.small,
            pixels.letterbox,
            stamp.discontinuity,
            stamp.skipped_s,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FramePixels:
    """The pixels of one frame as `Frame` carries them."""

    luma: Pixels  # (H, W), read-only
    full_range: bool
    small: Pixels  # (h, w, 3) BGR, or (h, w) luma
    letterbox: Letterbox


class Pacer:
    """Plays a recording at its own speed, by waiting until each frame is due."""

    def __init__(self, wait: Callable[[float], bool], monotonic: Callable[[], float]) -> None:
        self._wait = wait
        self._monotonic = monotonic
        self._origin_s: float | None = None  # of the monotonic clock, where media time was 0

    def until(self, media_time_s: float, anew: bool = False) -> bool:
        """Wait until this moment is due; True: stop now. `anew`: time was skipped before it, and is not waited for."""
        if self._origin_s is None or anew:
            self._origin_s = self._monotonic() - media_time_s
        early_s = self._origin_s + media_time_s - self._monotonic()
        return early_s > 0 and self._wait(early_s)


class BurstPacer(Pacer):
    """Plays a live stream that comes in bursts (HLS: a segment at once) at its own speed, from its first picture on.

    So one segment plays while the camera makes the next. A little late, after loading one, it plays slightly faster;
    racing would give more pictures at once than anybody analyses. Far late, or after a jump, it begins anew: the
    segments themselves come later now, and catching up would only mean waiting for each of them.
    """

    def __init__(self, wait: Callable[[float], bool], monotonic: Callable[[], float], gap_s: float) -> None:
        super().__init__(wait, monotonic)
        self._gap_s = gap_s
        self._last: tuple[float, float] | None = None  # PTS of the picture before, and when it was played

    def until(self, media_time_s: float, anew: bool = False) -> bool:
        """Wait until the picture of this PTS is to be played; True: stop now. `anew`: do not wait for it."""
        stopped = self._until(media_time_s, anew)
        self._last = (media_time_s, self._monotonic())
        return stopped

    def _until(self, pts_s: float, anew: bool) -> bool:
        if self._last is None or self._origin_s is None or anew:
            return super().until(pts_s, anew=True)
        last_pts_s, played_s = self._last
        step_s = pts_s - last_pts_s
        now_s = self._monotonic()
        late_s = now_s - self._origin_s - pts_s
        if late_s > LATE_S or not -self._gap_s <= step_s <= self._gap_s:
            return super().until(pts_s, anew=True)
        early_s = max(-late_s, played_s + max(0.0, step_s) / CATCH_UP_SPEED - now_s)
        return early_s > 0 and self._wait(early_s)


class Source(Protocol):
    """One camera or file. Made, used and closed by its camera's thread; opened at most once."""

    live: bool  # True: frames come when they come, and newer ones matter more; False: a recording, every frame counts
    skipped: Counter[str]  # frames left out, by cause: damaged and odd ones, and those for which a live camera is late

    def open(self) -> StreamInfo:
        """Connect and decode the first picture. Raises SourceError (its classes say why), with a scrubbed message."""
        ...

    def frames(self) -> Iterator[Frame]:
        """The frames that the timeline chose; ends at the end of a recording, or when `wait` says stop.

        Raises SourceError when the stream breaks off.
        """
        ...

    def close(self) -> None:
        """Free the container and its socket. May be called twice, and before `open`."""
        ...
