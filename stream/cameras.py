"""One camera's thread: open, read, hand on, and come back after every loss.

| it meets | a file | a live camera |
|---|---|---|
| the end of the video | `ended` | `ended` if it was a recording (over HTTP); else the source raises |
| a source that cannot be read | `failed` | `offline`, tried again for ever: 2.5 s at most, 60 s after a refusal |
| an exception that nobody foresaw | `failed` | `failed` |
| stop | `ended` | `ended` |
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from stream.backoff import Backoff
from stream.clocks import Clocks
from stream.config import CameraConfig
from stream.errors import Closed, SourceError, SourceInvalid, SourceRefused
from stream.handover import Inputs
from stream.records import CameraEnded, CameraState, ClockSource, Frame, Tick
from stream.sources.base import Source, StreamInfo
from stream.sources.timeline import Timeline

log = logging.getLogger(__name__)

REFUSED_CAP_S = 60.0  # 401, 404, not a video: somebody must change something first
LOST_CAP_S = 2.5  # the network: it may be back any moment
FIRST_DELAY_S = 0.5


class Camera:
    """Supervises one source from its own thread; `watch` may be called from another."""

    def __init__(
        self,
        config: CameraConfig,
        session: Callable[[], str],
        live: bool,
        make_source: Callable[[str, Timeline], Source],
        inputs: Inputs,
        stop: threading.Event,
        clocks: Clocks,
        backoff: Backoff,
    ) -> None:
        self.camera_id = config.name
        self.failed: str | None = None  # why, once the camera has failed for good
        self.skipped: Counter[str] = Counter()  # cause -> frames left out, over all connections that have ended
        self._settings = config.settings
        self._find_session = session
        self._session = ""
        self._live = live
        self._make_source = make_source
        self._inputs = inputs
        self._stop = stop
        self._clocks = clocks
        self._backoff = backoff
        self._timeline = Timeline(config.settings.analyse_hz, config.settings.gap_s, live=live)
        self._last_frame_s: float | None = None  # when the last frame was handed on, while connected; monotonic clock
        # set by `watch`, cleared by the thread: a stall told in the moment of its end is corrected by the next frame
        self._stalled = False
        self._told_end = False  # the video was over before anybody asked for a stop
        self._given_up: str | None = None  # why nobody wants this camera's frames any more

    def run(self) -> None:
        """The thread's body. Always finishes the camera's inputs, whatever happens."""
        try:
            self._session = self._find_session()  # reads the whole of a recording, so here and not in the main thread
            while not self._over() and self._connect_once():
                pass
            if self._given_up is not None:
                self._fail(self._given_up)
            elif not self._told_end and self.failed is None:
                self._end("ended", "stopped")
        except Closed:
            log.debug("camera %s: the analysis has gone", self.camera_id)
        except Exception as error:  # a fault of ours: this camera is over, the others go on
            log.error("camera %s failed: %s", self.camera_id, type(error).__name__, exc_info=True)
            self._fail(f"unforeseen {type(error).__name__}; the log has the details")
        finally:
            self._inputs.finish(self.camera_id)

    def watch(self) -> None:
        """Called by the supervisor now and then: if frames stay away the camera is `stalled`; its clock goes on."""
        last = self._last_frame_s
        if not self._live or last is None:
            return
        away_s = self._clocks.monotonic() - last
        if away_s < self._stall_s():
            return
        moment = self._now()
        try:
            if not self._stalled:
                self._stalled = True
                self._inputs.put(CameraState(*moment, state="stalled", reason=f"no frame for {away_s:.1f} s"))
            self._inputs.put(Tick(*moment))
        except Closed:
            log.debug("camera %s: the analysis has gone", self.camera_id)

    def give_up(self, reason: str) -> None:
        """Stop reading this camera and let it fail; takes effect with its next frame. From any thread."""
        self._given_up = reason

    def _over(self) -> bool:
        return self._stop.is_set() or self._given_up is not None

    def _connect_once(self) -> bool:
        """One connection from `connecting` to its end. True: try again."""
        self._inputs.put(CameraState(*self._now(), state="connecting"))
        source = self._make_source(self._session, self._timeline)
        try:
            self._read(source, source.open())
        except SourceError as error:
            return self._lost(error)
        finally:
            self._last_frame_s = None
            self._stalled = False
            self.skipped += source.skipped
            source.close()
        if self._over():
            return False
        self._end("ended", None)
        self._told_end = True
        return False

    def _read(self, source: Source, info: StreamInfo) -> None:
        """Hand on the frames; `live` stands before the first of them, and before the first after a stall."""
        told = False
        for frame in source.frames():
            if self._over():
                return
            self._backoff.reset()
            self._last_frame_s = self._clocks.monotonic()
            if self._stalled or not told:
                self._stalled, told = False, True
                self._tell_live(frame, info)
            self._inputs.put(frame)

    def _lost(self, error: SourceError) -> bool:
        """Tell what happened; for a live camera wait and say True, for a file fail and say False."""
        if self._over():
            return False
        if not self._live:
            self._fail(str(error))
            return False
        self._timeline.reconnected()
        refused = isinstance(error, (SourceRefused, SourceInvalid))
        delay_s = self._backoff.next_s(REFUSED_CAP_S if refused else LOST_CAP_S)
        self._end("offline", str(error), delay_s)
        log.warning("camera %s is offline: %s; next try in %.1f s", self.camera_id, error, delay_s)
        self._stop.wait(delay_s)
        return True

    def _fail(self, reason: str) -> None:
        self.failed = reason
        self._end("failed", reason)

    def _tell_live(self, frame: Frame, info: StreamInfo) -> None:
        self._inputs.put(
            CameraState(
                frame.camera_id,
                frame.session,
                frame.media_time_s,
                frame.captured_at,
                frame.clock_source,
                state="live",
                width_px=info.width_px,
                height_px=info.height_px,
                analyse_hz=self._settings.analyse_hz,
            )
        )

    def _end(
        self, state: Literal["offline", "ended", "failed"], reason: str | None, retry_in_s: float | None = None
    ) -> None:
        rounded = None if retry_in_s is None else round(retry_in_s, 1)
        self._inputs.put(CameraEnded(*self._now(), state=state, reason=reason, retry_in_s=rounded))

    def _now(self) -> _Moment:
        """This moment, without a frame. A live clock goes on meanwhile; a file's stands where its last frame stood."""
        at_s = self._timeline.now_s
        if self._live:
            at_s = self._timeline.estimate_s(self._clocks.monotonic())
            self._timeline.told(at_s)
        captured_at, clock_source = self._captured_at(at_s)
        return self.camera_id, self._session, at_s, captured_at, clock_source

    def _captured_at(self, at_s: float) -> tuple[datetime | None, ClockSource]:
        if self._live:
            return self._clocks.wall(), "arrival"
        start_at = self._settings.start_at
        return (None if start_at is None else start_at + timedelta(seconds=at_s)), "media"

    def _stall_s(self) -> float:
        """Frames further apart than this are missing: never less than three of the intervals that were asked for."""
        hz = self._settings.analyse_hz
        return max(self._settings.stall_s, 3.0 / hz if hz else 0.0)


_Moment = tuple[str, str, float, datetime | None, ClockSource]
