"""One thread of a camera: open, read, hand on, and come back after every loss.

| it meets | a file | a live camera |
|---|---|---|
| the end of the video | `ended` | `ended` if it was a recording (over HTTP); else the source raises |
| a source that cannot be read | `failed` | `offline`, tried again for ever: 2.5 s at most, 60 s after a refusal |
| an exception that nobody foresaw | `failed` | `offline`, begun anew; `failed` once the budget for it is spent |
| stop | `ended` | `ended` |

What runs inside FFmpeg may never return, whatever timeout it was given: FFmpeg asks whether it is to stop only where
it waits itself, not in a name server, a driver or a network disk. So the thread writes down by when it will have
reported again, and `cameras.py` takes the camera out of its hands when it has not.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from stream.backoff import Backoff, Budget
from stream.clocks import Clocks
from stream.config import CameraConfig
from stream.errors import Closed, SourceError, SourceInvalid, SourceRefused
from stream.handover import Inputs
from stream.records import CameraEnded, CameraState, ClockSource, Frame, Input, Tick
from stream.sources.base import Source
from stream.sources.timeline import Timeline

log = logging.getLogger(__name__)

REFUSED_CAP_S = 60.0  # 401, 404, not a video: somebody must change something first
LOST_CAP_S = 2.5  # the network: it may be back any moment
FIRST_DELAY_S = 0.5
CRASHES, CRASHES_S = 5, 60.0  # so many crashes of a live camera in so many seconds are a misfortune; more are a fault
HANG_MARGIN_S = 5.0  # over FFmpeg's own timeouts: decoding, and the first import of PyAV, take time as well
OPENINGS = 2.0  # times `open_timeout_s`: FFmpeg connects, then looks into the stream, and PyAV times each
RESIZED = "size_changed"  # the discontinuity of a frame that has another size than the one before

MakeSource = Callable[[str, Timeline, Callable[[float], bool]], Source]  # session, timeline, wait
Doing = Literal["opening", "reading", "closing"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a camera is connected to: the same for all its threads."""

    config: CameraConfig
    session: Callable[[], str]  # always the same; of a recording it may take seconds, of a live camera no time
    live: bool
    make_source: MakeSource
    stop: threading.Event
    clocks: Clocks
    given_up: Callable[[], str | None]  # why nobody wants this camera's frames any more
    stopped: Callable[[], str]  # why `stop` was set
    crashes: Budget


class Outlet:
    """One thread's way into Inputs, which another thread can cut: from then on nothing comes through it.

    The lock orders the two: what was put before the cut is in, what comes after it is refused. Only a live camera's is
    ever cut, and its `put` never waits.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._changing = threading.Lock()  # guards both below, together with what is put
        self.is_cut = False
        self._finished = False

    def put(self, item: Input) -> None:
        """Hand one input on. Raises Closed after the cut, after the end, and when the analysis has gone."""
        with self._changing:
            if self.is_cut or self._finished:
                raise Closed
            self._inputs.put(item)

    def finish(self, camera_id: str) -> None:
        """This camera hands on nothing more; after the cut that is not for this thread to say."""
        with self._changing:
            if not self.is_cut:
                self._finished = True
                self._inputs.finish(camera_id)

    def cut(self) -> bool:
        """From any thread. False: too late, it has finished."""
        with self._changing:
            self.is_cut = not self._finished
            return self.is_cut


class Reader:
    """Reads one source from its own thread, until it is over or its outlet is cut."""

    def __init__(self, wiring: Wiring, outlet: Outlet, timeline: Timeline, backoff: Backoff) -> None:
        self.outlet = outlet
        self.timeline = timeline
        self.failed: str | None = None  # why, once the camera has failed for good
        self.handed_on = False  # whether a frame ever was
        self.doing: Doing = "opening"
        self.due_s = math.inf  # monotonic clock: the thread reports again before this, or it hangs
        self._wiring = wiring
        self._camera_id = wiring.config.name
        self._settings = wiring.config.settings
        self._backoff = backoff
        self._session = wiring.session() if wiring.live else ""
        self._skipped: Counter[str] = Counter()  # over all connections that have ended
        self._source: Source | None = None
        self._telling = threading.Lock()  # between `watch` and the end of a connection
        self._last_frame_s: float | None = None  # when the last frame was handed on, while connected; monotonic clock
        # set by `watch`, cleared by the thread: a stall told in the moment of its end is corrected by the next frame
        self._stalled = False
        self._told_end = False  # the video was over before anybody asked for a stop

    def run(self) -> None:
        """The thread's body. Always finishes the camera's inputs, whatever happens, unless its outlet was cut."""
        try:
            self._session = self._wiring.session()  # reads the whole of a recording, so here and not in the main thread
            while not self._over() and self._connect_once():
                pass
            given_up = self._wiring.given_up()
            if given_up is not None:
                self._fail(given_up)
            elif not self._told_end and self.failed is None:
                self._end("ended", self._wiring.stopped())
        except Closed:
            log.debug("camera %s: the analysis has gone, or this thread was abandoned", self._camera_id)
        except Exception as error:  # a fault of ours: this camera is over, the others go on
            self._fail_unforeseen(error)
        finally:
            self.due_s = math.inf
            self.outlet.finish(self._camera_id)

    def watch(self) -> None:
        """From the supervisor's thread, now and then: if frames stay away the camera stalls; its clock goes on."""
        try:
            with self._telling:
                self._tell_silence()
        except Closed:
            log.debug("camera %s: the analysis has gone", self._camera_id)

    def _tell_silence(self) -> None:
        last = self._last_frame_s
        if last is None or (away_s := self._wiring.clocks.monotonic() - last) < self._stall_s():
            return
        moment = self._now()
        if not self._stalled:
            self._stalled = True
            self.outlet.put(CameraState(*moment, state="stalled", reason=f"no frame for {away_s:.1f} s"))
        self.outlet.put(Tick(*moment))

    def tell_offline(self, reason: str, retry_in_s: float | None) -> None:
        """Before the thread begins, from the supervisor's: why it does not begin at once."""
        try:
            self._end("offline", reason, retry_in_s)
        except Closed:
            log.debug("camera %s: the analysis has gone", self._camera_id)

    def skipped(self) -> Counter[str]:
        """Cause -> frames left out so far. From any thread."""
        source = self._source
        return self._skipped + (Counter(dict(source.skipped)) if source else Counter())

    def _over(self) -> bool:
        return self._wiring.stop.is_set() or self._wiring.given_up() is not None or self.outlet.is_cut

    def _connect_once(self) -> bool:
        """One connection from `connecting` to its end. True: try again."""
        self.outlet.put(CameraState(*self._now(), state="connecting"))
        try:
            with self._connection() as source:
                source.open()
                self._reports("reading", self._settings.read_timeout_s)
                self._read(source)
        except SourceError as error:
            return self._lost(error)
        except Closed:
            raise
        except Exception as error:
            return self._crashed(error)
        if self._over():
            return False
        self._end("ended", None)
        self._told_end = True
        return False

    @contextmanager
    def _connection(self) -> Iterator[Source]:
        """An unopened source, closed and counted in the end."""
        self._reports("opening", OPENINGS * self._settings.open_timeout_s)
        source = self._wiring.make_source(self._session, self.timeline, self._wait)
        self._source = source
        try:
            yield source
        finally:
            self._reports("closing", self._settings.read_timeout_s)
            with self._telling:  # who is told to have ended is not told to be silent behind that
                self._last_frame_s = None
                self._stalled = False
            try:
                source.close()
            finally:
                self._source = None
                self._skipped += source.skipped
                self.due_s = math.inf

    def _read(self, source: Source) -> None:
        """Hand on the frames. `live` stands before the first of them, and before one after a stall or of another size.

        A picture of another size is another view: boxes of the one mean nothing in the other, so its tracks begin anew.
        """
        size_px: tuple[int, int] | None = None
        for frame in source.frames():
            if self._over():
                return
            self._reports("reading", self._settings.read_timeout_s)
            self._backoff.reset()
            self._last_frame_s = self._wiring.clocks.monotonic()
            before_px, size_px = size_px, (frame.letterbox.width_px, frame.letterbox.height_px)
            if self._stalled or size_px != before_px:
                self._stalled = False
                self._tell_live(frame)
            if before_px not in (None, size_px):
                frame = replace(frame, discontinuity=frame.discontinuity or RESIZED)
            self.outlet.put(frame)
            self.handed_on = True

    def _wait(self, seconds: float) -> bool:
        """What the source waits with, and asks at every packet: so it is known that FFmpeg has returned."""
        self._reports("reading", max(seconds, 0.0) + self._settings.read_timeout_s)
        return self._wiring.stop.wait(seconds) or self.outlet.is_cut

    def _reports(self, doing: Doing, within_s: float) -> None:
        """Write down by when this thread will have come here again."""
        self.doing = doing
        self.due_s = self._wiring.clocks.monotonic() + within_s + HANG_MARGIN_S

    def _lost(self, error: SourceError) -> bool:
        """Tell what happened; for a live camera wait and say True, for a file fail and say False."""
        if self._over():
            return False
        if not self._wiring.live:
            self._fail(str(error))
            return False
        refused = isinstance(error, (SourceRefused, SourceInvalid))
        return self._stay_away(str(error), REFUSED_CAP_S if refused else LOST_CAP_S)

    def _crashed(self, error: Exception) -> bool:
        """A fault of ours or of a library's. A live camera begins anew, unless that has happened too often of late."""
        if self._over():
            return False
        if not self._wiring.live or not self._wiring.crashes.spend(self._wiring.clocks.monotonic()):
            self._fail_unforeseen(error)
            return False
        log.error("camera %s crashed and begins anew: %s", self._camera_id, type(error).__name__, exc_info=True)
        return self._stay_away(_unforeseen(error), LOST_CAP_S)

    def _stay_away(self, reason: str, cap_s: float) -> bool:
        """Tell that a live camera is offline and wait, longer each time up to the cap. True: try again."""
        self.timeline.reconnected()
        delay_s = self._backoff.next_s(cap_s)
        self._end("offline", reason, delay_s)
        log.warning("camera %s is offline: %s; next try in %.1f s", self._camera_id, reason, delay_s)
        self._wiring.stop.wait(delay_s)
        return True

    def _fail_unforeseen(self, error: Exception) -> None:
        log.error("camera %s failed: %s", self._camera_id, type(error).__name__, exc_info=True)
        self._fail(_unforeseen(error))

    def _fail(self, reason: str) -> None:
        self.failed = reason
        self._end("failed", reason)

    def _tell_live(self, frame: Frame) -> None:
        self.outlet.put(
            CameraState(
                frame.camera_id,
                frame.session,
                frame.media_time_s,
                frame.captured_at,
                frame.clock_source,
                state="live",
                width_px=frame.letterbox.width_px,
                height_px=frame.letterbox.height_px,
                analyse_hz=self._settings.analyse_hz,
            )
        )

    def _end(
        self, state: Literal["offline", "ended", "failed"], reason: str | None, retry_in_s: float | None = None
    ) -> None:
        rounded = None if retry_in_s is None else round(retry_in_s, 1)
        self.outlet.put(CameraEnded(*self._now(), state=state, reason=reason, retry_in_s=rounded))

    def _now(self) -> _Moment:
        """This moment, without a frame. A live clock goes on meanwhile; a file's stands where its last frame stood."""
        at_s = self.timeline.now_s
        if self._wiring.live:
            at_s = self.timeline.estimate_s(self._wiring.clocks.monotonic())
            self.timeline.told(at_s)
        captured_at, clock_source = self._captured_at(at_s)
        return self._camera_id, self._session, at_s, captured_at, clock_source

    def _captured_at(self, at_s: float) -> tuple[datetime | None, ClockSource]:
        if self._wiring.live:
            return self._wiring.clocks.wall(), "arrival"
        start_at = self._settings.start_at
        return (None if start_at is None else start_at + timedelta(seconds=at_s)), "media"

    def _stall_s(self) -> float:
        """Frames further apart than this are missing: never less than three of the intervals that were asked for."""
        hz = self._settings.analyse_hz
        return max(self._settings.stall_s, 3.0 / hz if hz else 0.0)


def _unforeseen(error: Exception) -> str:
    return f"unforeseen {type(error).__name__}; the log has the details"


_Moment = tuple[str, str, float, datetime | None, ClockSource]
