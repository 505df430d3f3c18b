"""A camera that takes four times as long to decode as it may, for a minute of its time, in fast motion.

Video, RTSP session, decoder and lag watch are real. Only time is not: a packet is there when its timestamp says, and
each decoded picture is charged to the clock. So the age of a picture, from the arrival of its packet to its being
handed on, is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream

from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.sources import SmallSize, Timeline
from stream.sources.base import Context
from stream.sources.kinds import RtspSource
from stream.sources.lag import CALM_S, FAR_LAG_S, Effort
from tests import clips
from tests.rtsp_server import Behaviour, RtspServer

FPS = 25
HZ = 5.0
OVERLOAD_S = 60.0
CALMED_S = OVERLOAD_S + 3 * CALM_S  # by then every step has been taken back
END_S = CALMED_S + 10.0
READING_S = 1e-3  # a packet costs this much, decoded or not
FAST_S = 2e-3  # a decoded picture, when there is no overload
REORDER_S = 5 / FPS  # a picture may come this much later than its packet, and has to wait for others
MAX_LAG_S = SourceConfig().max_lag_s


@dataclass
class Course:
    """What became of each picture that was handed on, and of all packets."""

    now_s: float = 0.0
    begin_s: float | None = None  # timestamp of the first packet
    packets: int = 0
    sent_s: dict[int, float] = field(default_factory=dict)  # PTS of a packet -> when it arrived
    arrived_s: list[float] = field(default_factory=list)  # of each decoded picture, when its packet arrived
    skipped: dict[str, int] = field(default_factory=dict)
    handed_on: list[tuple[float, float]] = field(default_factory=list)  # when, and its age then

    def ages(self, from_s: float, until_s: float) -> np.ndarray:
        return np.array([age_s for at_s, age_s in self.handed_on if from_s <= at_s < until_s])


class SlowSource(RtspSource):
    """An RTSP camera on a clock that moves with its packets and with the cost of decoding them."""

    course: Course
    cost_s: float  # of a picture, while overloaded

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[av.Packet[VideoStream], float]]:
        course = self.course
        for packet, _ in super()._packets(container, stream):
            if packet.dts is not None:
                sent_s = float(packet.dts * packet.time_base)
                course.begin_s = sent_s if course.begin_s is None else course.begin_s
                course.sent_s[packet.pts] = sent_s - course.begin_s
                course.now_s = max(course.now_s, sent_s - course.begin_s)
            course.packets += 1
            yield packet, course.now_s

    def _frames_of(self, packet: av.Packet[VideoStream], effort: Effort) -> list[av.VideoFrame]:
        frames = super()._frames_of(packet, effort)
        course = self.course
        course.now_s += READING_S + len(frames) * (self.cost_s if course.now_s < OVERLOAD_S else FAST_S)
        course.arrived_s += [course.sent_s.get(frame.pts, 0.0) for frame in frames]  # the first have no timestamp yet
        return frames


def watched(clip: Path, times_too_slow: float, **settings: object) -> Course:
    """The course of a camera whose every decoded picture costs so many times what it may, for OVERLOAD_S."""
    course = Course()
    with RtspServer({"cam": Behaviour(clip, loop=True)}) as server:
        config = SourceConfig.model_validate({"analyse_hz": HZ, **settings})
        camera = CameraConfig(name="cam", source=server.url("cam"), settings=config)
        timeline = Timeline(HZ, config.gap_s, live=True)
        clocks = Clocks(monotonic=lambda: course.now_s)
        source = SlowSource(Context(camera, "session", timeline, SmallSize(160, 32), clocks=clocks))
        source.course, source.cost_s = course, times_too_slow / FPS
        try:
            source.open()
            for frame in source.frames():
                course.handed_on.append((course.now_s, course.now_s - course.arrived_s[frame.index]))
                if course.now_s > END_S:
                    break
        finally:
            source.close()
    course.skipped = dict(source.skipped)
    return course


@pytest.fixture(
    scope="module", params=[(25, 0), (25, 2), (100, 0), (100, 2)], ids=lambda made: f"gop{made[0]}-b{made[1]}"
)
def clip(request: pytest.FixtureRequest, clip_folder: Path) -> Path:
    """Key frames every one or four seconds; with and without frames that the decoder has to reorder."""
    gop, b_frames = request.param
    name = f"overload_{gop}_{b_frames}.mp4"
    return clips.make_clip(clip_folder / name, seconds=8, size=(160, 120), faces=[], gop=gop, b_frames=b_frames)


@pytest.mark.parametrize("times_too_slow", [1.5, 4.0])
def test_the_age_of_pictures_stays_bounded(clip: Path, times_too_slow: float) -> None:
    course = watched(clip, times_too_slow)
    ages = course.ages(0.0, OVERLOAD_S)
    assert np.percentile(ages, 95) < MAX_LAG_S + 1.0  # SETTLE_S a step, twice, while lag grows
    assert ages.max() < FAR_LAG_S
    assert course.ages(CALMED_S, END_S).max() < REORDER_S  # back to normal: all are decoded, and none waits
    assert len(course.ages(CALMED_S, END_S)) == pytest.approx((END_S - CALMED_S) * HZ, abs=1)


def test_every_picture_that_is_left_out_is_counted_under_its_cause(clip: Path) -> None:
    course = watched(clip, 4.0)
    assert set(course.skipped) <= {"late_not_referenced", "late_not_key", "late_dropped"}
    assert course.skipped["late_not_key"] > OVERLOAD_S * FPS / 2
    held = 3  # by the decoder, in the end
    assert sum(course.skipped.values()) == pytest.approx(course.packets - len(course.arrived_s), abs=held)


def test_without_the_steps_the_same_camera_falls_behind(clip: Path) -> None:
    """Else the tests above would prove nothing."""
    course = watched(clip, 4.0, max_lag_s=1e9)
    assert not course.skipped
    assert np.percentile(course.ages(0.0, OVERLOAD_S), 95) > OVERLOAD_S / 2
