"""One camera's thread, with a source that does what the test says. The clock and the waiting are arguments."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from stream.backoff import Backoff
from stream.cameras import FIRST_DELAY_S, LOST_CAP_S, REFUSED_CAP_S, Camera
from stream.clocks import Clocks
from stream.config import CameraConfig
from stream.errors import Closed, SourceError, SourceInvalid, SourceRefused, SourceTimeout
from stream.handover import Inputs
from stream.records import CameraEnded, CameraState, Frame, Input, Tick
from stream.sources.base import StreamInfo
from stream.sources.timeline import Timeline
from tests.makers import frame

Script = Sequence[
    Exception | Callable[[], object]
]  # what one connection does, step by step; a callable gives one frame


class ScriptedSource:
    """Behind the Source protocol: each connection plays its script; an exception first means `open` raises it."""

    def __init__(self, live: bool, script: Script, timeline: Timeline, clock: Callable[[], float]) -> None:
        self.live = live
        self._timeline, self._clock = timeline, clock
        self._script = list(script)
        self.closed = 0
        self.skipped: Counter[str] = Counter()

    def open(self) -> StreamInfo:
        if self._script and isinstance(self._script[0], Exception):
            raise self._script[0]
        return StreamInfo(96, 64, "test", 25.0)

    def frames(self) -> Iterator[Frame]:
        for number, step in enumerate(self._script):
            if isinstance(step, Exception):
                raise step
            step()
            yield frame("cam1", self._timeline.stamp(number * 0.2, self._clock()).media_time_s)

    def close(self) -> None:
        self.closed += 1


class FakeStop:
    """Behind what a camera asks of threading.Event: waiting takes no time, and is written down."""

    def __init__(self, after_waits: int = 100) -> None:
        self.waits: list[float] = []
        self._after = after_waits

    def is_set(self) -> bool:
        return len(self.waits) >= self._after

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


class Bench:
    """A camera over scripted connections, its clock, and what it handed on."""

    def __init__(self, *connections: Script, live: bool = True, stop_after: int = 100) -> None:
        self.now_s = 0.0
        self.sources: list[ScriptedSource] = []
        self.stop = FakeStop(stop_after)
        self.inputs = Inputs(["cam1"], []) if live else Inputs([], ["cam1"])
        self._left = list(connections)
        self._live = live
        self.camera = Camera(
            CameraConfig(name="cam1", source="anything"),
            lambda: "s",
            live,
            self._source,
            self.inputs,
            self.stop,
            Clocks(lambda: self.now_s, lambda: datetime(2026, 11, 21, tzinfo=UTC)),
            Backoff(FIRST_DELAY_S, LOST_CAP_S, random.Random(1)),
        )

    def _source(self, session: str, timeline: Timeline) -> ScriptedSource:
        script: Script = self._left.pop(0) if self._left else [SourceTimeout("no answer")]
        self.sources.append(ScriptedSource(self._live, script, timeline, lambda: self.now_s))
        return self.sources[-1]

    def run(self) -> list[Input]:
        """Everything the camera hands on in its own thread, taken here as the analysis would."""
        taken: list[Input] = []
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.camera.run)
            if self._live:
                done.result()  # a live camera never waits; afterwards nothing is replaced but what it replaced itself
            with contextlib.suppress(Closed):
                while True:
                    taken += self.inputs.take()
            done.result()
        return taken


def told(inputs: list[Input]) -> list[str]:
    return [item.state if isinstance(item, (CameraState, CameraEnded)) else type(item).__name__ for item in inputs]


def no_op() -> None:
    pass


def test_a_file_is_read_once_and_ends() -> None:
    bench = Bench([no_op, no_op, no_op], live=False)
    assert told(bench.run()) == ["connecting", "live", "Frame", "Frame", "Frame", "ended"]
    assert bench.camera.failed is None
    assert [source.closed for source in bench.sources] == [1]


def test_a_stop_in_the_moment_of_the_end_tells_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench([no_op], live=False)
    monkeypatch.setattr(bench.stop, "is_set", lambda: bench.camera._told_end)
    assert told(bench.run()) == ["connecting", "live", "Frame", "ended"]


@pytest.mark.parametrize("error", [SourceInvalid("x.mp4 is not a video"), SourceError("x.mp4: no such file")])
def test_a_file_that_cannot_be_read_fails_with_its_sentence(error: SourceError) -> None:
    bench = Bench([error], live=False)
    inputs = bench.run()
    assert told(inputs) == ["connecting", "failed"]
    assert bench.camera.failed == str(error)
    assert bench.sources[0].closed == 1


def test_a_live_camera_comes_back_after_every_loss() -> None:
    bench = Bench([no_op, SourceTimeout("silent")], [SourceRefused("401")], [no_op, SourceError("cut")], stop_after=3)
    inputs = bench.run()
    assert told(inputs) == [
        "connecting", "live", "Frame", "offline",
        "connecting", "offline",
        "connecting", "live", "Frame", "offline",
        "ended",
    ]  # fmt: skip
    offline = [item for item in inputs if isinstance(item, CameraEnded) and item.state == "offline"]
    assert [item.reason for item in offline] == ["silent", "401", "cut"]
    assert bench.camera.failed is None
    assert all(source.closed == 1 for source in bench.sources)


@pytest.mark.parametrize(
    ("error", "cap_s"), [(SourceTimeout("silent"), LOST_CAP_S), (SourceRefused("401"), REFUSED_CAP_S)]
)
def test_the_waits_grow_to_their_cap(error: SourceError, cap_s: float) -> None:
    bench = Bench(*([[error]] * 60), stop_after=60)
    bench.run()
    assert max(bench.stop.waits) <= cap_s
    assert max(bench.stop.waits[20:]) > 0.8 * cap_s
    assert min(bench.stop.waits) >= FIRST_DELAY_S / 2


def test_an_unforeseen_error_fails_this_camera_and_finishes_it() -> None:
    bench = Bench([no_op, ZeroDivisionError("ours")])
    inputs = bench.run()
    assert told(inputs)[-1] == "failed"
    assert "ZeroDivisionError" in str(bench.camera.failed)


def test_frames_that_stay_away_make_a_camera_stalled_and_its_clock_goes_on() -> None:
    bench = Bench()

    def hold_back() -> None:
        bench.now_s += 1.9
        bench.camera.watch()  # not yet
        bench.now_s += 0.2
        bench.camera.watch()
        bench.now_s += 1.0
        bench.camera.watch()

    bench._left = [[no_op, hold_back, no_op]]
    bench.stop._after = 1
    inputs = bench.run()
    assert told(inputs)[:8] == ["connecting", "live", "Frame", "stalled", "Tick", "live", "Frame", "ended"]
    (tick,) = [item for item in inputs if isinstance(item, Tick)]
    assert tick.media_time_s == pytest.approx(3.1)


def test_a_camera_that_is_given_up_stops_reading_and_fails() -> None:
    bench = Bench()
    bench._left = [[no_op, lambda: bench.camera.give_up("the analysis failed at frame 0"), no_op, no_op]]
    inputs = bench.run()
    assert told(inputs) == ["connecting", "live", "Frame", "failed"]
    assert bench.camera.failed == "the analysis failed at frame 0"
