"""Lag: told apart from drift, jumps and restarts, answered step by step, and forgiven slowly."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.sources import SmallSize, Timeline, make_source
from stream.sources.lag import CALM_S, FAR_LAG_S, SETTLE_S, Effort, LagWatch
from stream.sources.pixels import plane_rows
from tests import clips
from tests.contracts.source import connected
from tests.rtsp_server import Behaviour, RtspServer

MAX_LAG_S = 0.5

FPS = 25
KEY_EVERY = 25


def efforts(lags: Iterable[float], watch: LagWatch | None = None, begin: int = 0) -> list[Effort]:
    """What is done with each packet of a 25 fps camera that arrives this late."""
    watch = watch or LagWatch(MAX_LAG_S)
    return [
        watch.update(number / FPS, number / FPS + lag, number % KEY_EVERY == 0)
        for number, lag in enumerate(lags, begin)
    ]


def seconds(of_s: float) -> range:
    return range(round(of_s * FPS))


def test_a_punctual_camera_is_decoded_whole() -> None:
    assert set(efforts(0.3 for _ in seconds(10))) == {Effort.ALL}


def test_jitter_is_no_lag() -> None:
    assert set(efforts(0.2 * (number % 3) for number in seconds(20))) == {Effort.ALL}


def test_the_burst_after_opening_is_no_lag() -> None:
    """What was read while opening comes at once: late at first, then less and less."""
    assert set(efforts(max(0.0, 1.0 - number / 10) for number in seconds(10))) == {Effort.ALL}


@pytest.mark.parametrize("skew", [-3e-4, 3e-4])
def test_a_clock_that_runs_wrong_is_no_lag(skew: float) -> None:
    assert set(efforts(skew * number / FPS for number in seconds(4 * 3600))) == {Effort.ALL}


def test_growing_lag_is_answered_step_by_step() -> None:
    found = efforts(0.3 * number / FPS for number in seconds(12))  # decoding takes 1.3 times as long as it may
    first = {effort: found.index(effort) / FPS for effort in Effort}
    assert first[Effort.REFERENCES] == pytest.approx(MAX_LAG_S / 0.3, abs=0.1)
    assert first[Effort.KEY_FRAMES] - first[Effort.REFERENCES] == pytest.approx(SETTLE_S, abs=0.3)
    assert first[Effort.NONE] - first[Effort.KEY_FRAMES] == pytest.approx(SETTLE_S, abs=0.3)


def test_far_behind_the_mild_steps_are_left_out() -> None:
    assert efforts([0.0] * 5 + [FAR_LAG_S + 0.1])[-1] is Effort.NONE


def test_dropping_ends_at_the_next_key_frame_after_the_lag() -> None:
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 5 + [3.0] * 5, watch)
    found = efforts([0.0] * 40, watch, begin=10)
    assert found[:15] == [Effort.NONE] * 15
    assert found[15] is Effort.KEY_FRAMES  # packet 25 is the key frame


@pytest.mark.parametrize("later_s", [0.2, 0.7, 3.0])
def test_a_camera_that_is_later_for_good_is_soon_decoded_whole(later_s: float) -> None:
    """It paused with its clock standing still, or the network became slower: no dropping of ours can mend that."""
    found = efforts([0.0] * FPS + [later_s for _ in seconds(40)])
    assert set(found[30 * FPS :]) == {Effort.ALL}
    assert found.count(Effort.NONE) <= 4 * FPS


def test_a_small_lag_that_a_mild_step_does_not_end_is_looked_into() -> None:
    """Late by more, which was answered; then late by less for good, which is neither calm nor worth a step."""
    found = efforts([0.0] * FPS + [0.7] * FPS * 2 + [0.3 for _ in seconds(50)])
    assert found[-1] is Effort.ALL


def test_dropping_goes_on_while_it_helps() -> None:
    """A backlog that takes longer to throw away than the watch's patience is ours until it is gone."""
    found = efforts([0.0] * 5 + [max(0.0, 30.0 - 0.2 * number) for number in range(200)])
    assert set(found[5:150]) == {Effort.NONE}
    assert found[-1] is Effort.KEY_FRAMES


def test_it_is_forgiven_one_step_at_a_time() -> None:
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 5 + [3.0] * 20, watch)
    found = efforts([0.0] * FPS * 15, watch, begin=25)
    steps = [(number / FPS, effort) for number, effort in enumerate(found) if number and effort != found[number - 1]]
    assert [effort for _, effort in steps] == [Effort.REFERENCES, Effort.ALL]
    first_s = CALM_S + 1  # the calm has lasted long enough just after a key frame
    assert [at_s for at_s, _ in steps] == pytest.approx([first_s, first_s + CALM_S], abs=0.1)


def test_key_frames_alone_are_left_at_a_key_frame() -> None:
    """Any other is predicted from frames that were never decoded."""
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 5 + [3.0] * 20, watch)
    assert efforts([0.0], watch, begin=25) == [Effort.KEY_FRAMES]
    found = efforts([0.05] * FPS * 8, watch, begin=26)
    left = found.index(Effort.REFERENCES) + 26
    assert left % KEY_EVERY == 0
    assert CALM_S <= (left - 26) / FPS < CALM_S + KEY_EVERY / FPS


def test_lag_in_between_starts_the_waiting_anew() -> None:
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 5 + [0.7] * 5, watch)
    found = efforts(([0.0] * FPS * 4 + [0.3] * 2) * 3, watch, begin=10)
    assert set(found) == {Effort.REFERENCES}


def test_timestamps_that_restart_are_no_lag() -> None:
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 100, watch)
    assert watch.update(0.0, 4.0, True) is Effort.ALL
    assert watch.update(0.04, 4.04, False) is Effort.ALL


def test_timestamps_that_jump_ahead_are_no_lag() -> None:
    watch = LagWatch(MAX_LAG_S)
    efforts([0.0] * 100, watch)
    assert [watch.update(1000 + k / FPS, 4.0 + k / FPS, False) for k in range(5)] == [Effort.ALL] * 5


class Clock:
    """Every look at it costs time: a machine that is too slow for its camera."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture(scope="module")
def long_clip(clip_folder: Path) -> Path:
    """8 s with a key frame a second and frames that no other needs."""
    return clips.make_clip(clip_folder / "long.mp4", seconds=8, size=(160, 120), b_frames=2)


class TestDecoding:
    def test_a_late_camera_skips_by_cause_and_catches_up(self, long_clip: Path) -> None:
        clock, frames = Clock(0.04), []

        def wait(_: float) -> bool:  # asked at every packet
            if source.skipped["late_dropped"]:
                clock.step_s = 0.0  # packets now come faster than time passes
            return len(frames) >= 40

        with RtspServer({"cam": Behaviour(long_clip, loop=True)}) as server:
            config = CameraConfig(name="cam", source=server.url("cam"), settings=SourceConfig(analyse_hz=None))
            timeline = Timeline(None, 2.0, live=True)
            source = make_source(config, "s", timeline, SmallSize(160, 32), wait=wait, clocks=Clocks(monotonic=clock))
            try:
                source.open()
                for frame in source.frames():
                    frames.append(frame)
            finally:
                source.close()
        assert set(source.skipped) == {"late_not_referenced", "late_not_key", "late_dropped"}
        assert len(frames) == 40
        assert all(later.media_time_s > earlier.media_time_s for earlier, later in pairwise(frames))

    @pytest.mark.parametrize("recording", [True, False])
    def test_recordings_never_skip(self, recording: bool, long_clip: Path) -> None:
        """Neither a file nor one that a server sends, however slow the machine."""
        with RtspServer({"cam": Behaviour(long_clip, recording=True)}) as server:
            make = partial(connected, server.url("cam") if recording else str(long_clip))
            with make() as source:
                source.open()
                assert len(list(source.frames())) == 200
                assert not source.skipped

    def test_after_the_lag_every_picture_is_as_it_was_sent(self, long_clip: Path) -> None:
        """Back from key frames in the middle of a group, pictures would be predicted from ones never decoded."""
        with av.open(str(long_clip)) as container:
            sent = [plane_rows(frame, 1).copy() for frame in container.decode(video=0)]
        clock = Clock(0.04)

        def wait(_: float) -> bool:
            if clock.step_s == 0.0 and source.skipped["late_not_key"] > FPS:
                clock.step_s = 0.018  # two looks a packet: a little faster than the camera
            elif source.skipped["late_dropped"] and clock.step_s == 0.04:
                clock.step_s = 0.0
            return False

        with RtspServer({"cam": Behaviour(long_clip, loop=True)}) as server:
            config = CameraConfig(name="cam", source=server.url("cam"), settings=SourceConfig(analyse_hz=None))
            timeline = Timeline(None, 2.0, live=True)
            source = make_source(config, "s", timeline, SmallSize(160, 32), wait=wait, clocks=Clocks(monotonic=clock))
            try:
                source.open()
                for frame in itertools.islice(source.frames(), 600):
                    expected = sent[round(frame.media_time_s * FPS) % len(sent)]
                    assert np.array_equal(frame.luma, expected), frame.media_time_s
            finally:
                source.close()
        assert source.skipped["late_not_key"] > 5 * FPS
