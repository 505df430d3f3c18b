"""One camera over all its threads: the first, and those that take over from a thread that never came back.

A thread that hangs inside FFmpeg cannot be ended. It is *abandoned*: its outlet is cut, so that it can hand nothing on
any more, and another thread goes on with the camera, on a timeline of its own. Each abandoned thread keeps its memory
and its socket until it returns by itself, so a camera has only a few of them; then it waits for one to return.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable

from stream.backoff import Backoff, Budget
from stream.clocks import Clocks
from stream.config import CameraConfig
from stream.handover import Inputs
from stream.reader import CRASHES, CRASHES_S, LOST_CAP_S, MakeSource, Outlet, Reader, Wiring
from stream.sources.timeline import Timeline

log = logging.getLogger(__name__)

THREAD = "camera-"  # how the names of the threads begin
MOST_ABANDONED = 3  # threads of one camera that hang at the same time
SUSPECT_S = 1.0  # so long a thread that is overdue is looked at again: perhaps the whole process stood still


class Camera:
    """Owns the threads of one source. Its methods are for the supervisor's thread, where they do not say otherwise."""

    def __init__(
        self,
        config: CameraConfig,
        session: Callable[[], str],
        live: bool,
        make_source: MakeSource,
        inputs: Inputs,
        stop: threading.Event,
        clocks: Clocks,
        new_backoff: Callable[[], Backoff],
    ) -> None:
        self.camera_id = config.name
        self.abandoned = 0  # threads that hung, over the whole run
        self._inputs = inputs
        self._clocks = clocks
        self._new_backoff = new_backoff
        self.config = config
        self.live = live
        self.removed = False
        self._given_up: str | None = None
        crashes = Budget(CRASHES, CRASHES_S)
        self._wiring = Wiring(
            config,
            functools.cache(session),
            live,
            make_source,
            stop,
            clocks,
            lambda: self._given_up,
            lambda: "removed" if self.removed else "stopped",
            crashes,
        )
        self._backoff = new_backoff()  # of taking over; a reader's own is for its connections
        timeline = Timeline(config.settings.analyse_hz, config.settings.gap_s, live=live)
        self._reader = Reader(self._wiring, Outlet(inputs), timeline, new_backoff())
        self._thread: threading.Thread | None = None  # None: not begun, or waiting to take over
        self._hanging: list[threading.Thread] = []  # those that were abandoned and have not returned
        self._begin_s = 0.0  # not before this the next one begins; monotonic clock
        self._suspected_s: float | None = None  # since when the thread is overdue
        self._skipped: Counter[str] = Counter()  # by threads that were abandoned

    @property
    def failed(self) -> str | None:
        """Why, once the camera has failed for good."""
        return self._reader.failed

    @property
    def skipped(self) -> Counter[str]:
        """Cause -> frames left out so far. From any thread."""
        return self._skipped + self._reader.skipped()

    def start(self) -> None:
        """Begin with the next thread. It is a daemon: one that never returns must not keep the process alive."""
        name = f"{THREAD}{self.camera_id}" + (f"-{self.abandoned + 1}" if self.abandoned else "")
        self._thread = threading.Thread(target=self._reader.run, name=name, daemon=True)
        self._thread.start()

    def watch(self) -> None:
        """Called now and then: tells when frames stay away, and takes a camera from a thread that hangs."""
        if not self._wiring.live:
            return  # nobody can interrupt reading a local file, and nothing is lost by waiting for it
        if self._thread is None:
            self._take_over()
        elif self._hangs():
            self._abandon(self._thread)
        else:
            self._reader.watch()

    def give_up(self, reason: str) -> None:
        """Stop reading this camera and let it fail; takes effect with its next frame. From any thread."""
        self._given_up = reason

    def remove(self) -> None:
        """Nobody wants this camera any more: it ends as at a stop. From any thread."""
        self.removed = True
        self.stop()

    def stop(self) -> None:
        """Let it come to its end. From any thread."""
        self._wiring.stop.set()

    @property
    def over(self) -> bool:
        """Whether its thread has ended, and no other will take over."""
        thread = self._thread
        return thread is not None and not thread.is_alive()

    def join(self, timeout_s: float) -> str | None:
        """After stop was set: wait so long for the thread. The name of one that still has not ended.

        The camera then counts as finished all the same, so that what the others have told still reaches the sinks.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        alive = thread is not None and thread.is_alive()
        waits = thread is None and self.abandoned > 0
        if waits or (alive and self._wiring.live and self._replace()):
            self._reader.run()  # nobody else is there to tell its end, and with stop set that is all it does
        self._inputs.finish(self.camera_id)
        return thread.name if thread is not None and alive else None

    def _hangs(self) -> bool:
        """Whether the thread is overdue, and was so already a while ago.

        A process that was stopped and goes on finds every thread overdue at first: each gets the time to report.
        """
        now_s = self._clocks.monotonic()
        if now_s < self._reader.due_s:
            self._suspected_s = None
            return False
        if self._suspected_s is None:
            self._suspected_s = now_s
        return now_s - self._suspected_s >= SUSPECT_S

    def _abandon(self, thread: threading.Thread) -> None:
        """Let go of a thread that hangs, tell it, and set the time for the next."""
        hung = self._reader
        self._suspected_s = None
        if not self._replace():
            return
        self.abandoned += 1
        self._thread = None
        self._hanging = [each for each in (*self._hanging, thread) if each.is_alive()]
        if hung.handed_on:
            self._backoff.reset()
        delay_s = self._backoff.next_s(LOST_CAP_S)
        self._begin_s = self._clocks.monotonic() + delay_s
        reason = f"{hung.doing} it hangs beyond its timeout (a name server, a driver?); its thread was abandoned"
        many = len(self._hanging) >= MOST_ABANDONED
        if many:
            reason += f"; {len(self._hanging)} of them hang, and one must return first"
        log.error("camera %s is offline: %s", self.camera_id, reason)
        self._reader.tell_offline(reason, None if many else delay_s)

    def _replace(self) -> bool:
        """Cut the reader off and make the one that goes on in its place; its thread does not run yet.

        False, and nothing is changed: it has come to its end meanwhile, and has told it.
        """
        hung = self._reader
        if not hung.outlet.cut():
            return False
        self._skipped += hung.skipped()
        self._reader = Reader(self._wiring, Outlet(self._inputs), hung.timeline.successor(), self._new_backoff())
        return True

    def _take_over(self) -> None:
        """Begin anew once it is time and few enough threads hang; one that is to end begins only to tell so."""
        self._hanging = [each for each in self._hanging if each.is_alive()]
        few = len(self._hanging) < MOST_ABANDONED
        if (
            self._given_up is not None
            or self._wiring.stop.is_set()
            or (few and self._clocks.monotonic() >= self._begin_s)
        ):
            self.start()
