"""A camera whose threads are real, and whose source, clock and waiting do what a test says."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from stream.backoff import Backoff
from stream.cameras import SUSPECT_S, THREAD, Camera
from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.errors import Closed, SourceTimeout
from stream.handover import Inputs
from stream.reader import FIRST_DELAY_S, HANG_MARGIN_S, LOST_CAP_S
from stream.records import Frame, Input
from stream.sources.base import StreamInfo
from stream.sources.timeline import Timeline
from tests.fakes import FakeStop
from tests.makers import frame

PATIENCE_S = 20.0  # for a thread that is about to do something, on a busy machine
SETTINGS = SourceConfig()


class Hang:
    """A step that does not come back, as FFmpeg in a name server's or a driver's hands, until the test lets it."""

    def __init__(self) -> None:
        self._begun, self._let_go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._begun.set()
        assert self._let_go.wait(PATIENCE_S)

    def begun(self) -> None:
        assert self._begun.wait(PATIENCE_S)

    def let_go(self) -> None:
        self._let_go.set()


class Opening:
    """A step that is done before the source is open."""

    def __init__(self, step: Callable[[], object]) -> None:
        self.step = step


# What one connection does, step by step; a callable gives one frame, an exception in the first place comes from `open`.
Script = Sequence[Exception | Opening | Callable[[], object]]


class ScriptedSource:
    """Behind the Source protocol: each connection plays its script."""

    def __init__(self, live: bool, script: Script, timeline: Timeline, clock: Callable[[], float]) -> None:
        self.live = live
        self._timeline, self._clock = timeline, clock
        self._script = list(script)
        self.closed = 0
        self.skipped: Counter[str] = Counter()

    def open(self) -> StreamInfo:
        if self._script and isinstance(self._script[0], Opening):
            self._script.pop(0).step()
        if self._script and isinstance(self._script[0], Exception):
            raise self._script[0]
        return StreamInfo(96, 64, "test", 25.0)

    def frames(self) -> Iterator[Frame]:
        for number, step in enumerate(self._script):
            if isinstance(step, Exception):
                raise step
            step()
            self.skipped["undecodable"] += 1
            yield frame("cam1", self._timeline.stamp(number * 0.2, self._clock()).media_time_s)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A camera over scripted connections, its clock, and what it handed on."""

    def __init__(self, *connections: Script, live: bool = True, stop_after: int = 100, seed: int = 1) -> None:
        self.now_s = 0.0
        self.sources: list[ScriptedSource] = []
        self.stop = FakeStop(stop_after)
        self.inputs = Inputs(["cam1"], []) if live else Inputs([], ["cam1"])
        self.scripts: Iterator[Script] = itertools.chain(connections, itertools.repeat([SourceTimeout("no answer")]))
        self._live = live
        self.camera = Camera(
            CameraConfig(name="cam1", source="anything", settings=SETTINGS),
            lambda: "s",
            live,
            self._source,
            self.inputs,
            self.stop,
            Clocks(lambda: self.now_s, lambda: datetime(2026, 11, 21, tzinfo=UTC)),
            lambda: Backoff(FIRST_DELAY_S, LOST_CAP_S, random.Random(seed)),
        )

    def _source(self, session: str, timeline: Timeline, wait: Callable[[float], bool]) -> ScriptedSource:
        self.sources.append(ScriptedSource(self._live, next(self.scripts), timeline, lambda: self.now_s))
        return self.sources[-1]

    def run(self) -> list[Input]:
        """Everything the camera hands on in its own thread, taken here as the analysis would."""
        self.camera.start()
        if self._live:  # it never waits; afterwards nothing is replaced but what it replaced itself
            join_all()
        taken = self.taken()
        join_all()
        return taken

    def taken(self) -> list[Input]:
        """What was handed on, up to the end of the camera."""
        taken: list[Input] = []
        with contextlib.suppress(Closed):
            while True:
                taken += self.inputs.take()
        return taken

    def watch(self, after_s: float) -> None:
        """So much later the supervisor looks again."""
        self.now_s += after_s
        self.camera.watch()

    def abandon(self, hang: Hang, within_s: float) -> None:
        """The camera's thread hangs in this step; the supervisor notices once the time for it is over, and not before.

        `within_s`: what FFmpeg itself has to return in.
        """
        hang.begun()
        before = self.camera.abandoned
        self.watch(within_s + HANG_MARGIN_S - 0.1)
        self.watch(0.2)
        self.watch(SUSPECT_S - 0.1)
        assert self.camera.abandoned == before
        self.watch(0.2)
        assert self.camera.abandoned == before + 1


def threads() -> list[str]:
    """The names of all threads of cameras."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD))


def join_all(prefix: str = THREAD) -> None:
    """Wait for the ends of all threads whose names begin so."""
    for thread in threading.enumerate():
        if thread.name.startswith(prefix):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
