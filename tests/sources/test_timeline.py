"""The camera's clock: every way in which timestamps misbehave, one after the other and mixed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sources.timeline import EARLY_S, MIN_STEP_S, Stamp, Timeline

GAP_S = 2.0


def stamps(
    pts: Iterable[float | None],
    hz: float | None = None,
    *,
    live: bool = False,
    arrivals: Iterable[float] | None = None,
    timeline: Timeline | None = None,
) -> list[Stamp]:
    """Each frame stamped; it arrives when its PTS says, unless told otherwise."""
    pts = list(pts)
    timeline = timeline or Timeline(hz, GAP_S, live)
    times = list(arrivals) if arrivals is not None else [p or 0.0 for p in pts]
    return [timeline.stamp(p, at) for p, at in zip(pts, times, strict=True)]


def media(found: Iterable[Stamp]) -> list[float]:
    return [stamp.media_time_s for stamp in found]


def told(found: Iterable[Stamp]) -> list[tuple[int, str, float]]:
    return [(s.index, s.discontinuity, round(s.skipped_s, 6)) for s in found if s.discontinuity]


def at_rate(fps: float, seconds: float, begin_s: float = 0.0) -> list[float]:
    step = 1 / Fraction(fps).limit_denominator(1001)
    return [begin_s + float(k * step) for k in range(round(seconds * fps))]


class TestOrdinaryStreams:
    def test_time_begins_at_zero_wherever_the_pts_begin(self) -> None:
        assert media(stamps([7200.0, 7200.04, 7200.08])) == pytest.approx([0.0, 0.04, 0.08])

    def test_index_counts_every_frame_and_chosen_ones_keep_theirs(self) -> None:
        found = stamps(at_rate(25, 1), hz=5)
        assert [s.index for s in found] == list(range(25))
        assert [s.index for s in found if s.chosen] == [0, 5, 10, 15, 20]

    @pytest.mark.parametrize("fps", [5, 15, 24, 25, 30, 50, 60, 24000 / 1001, 30000 / 1001])
    def test_five_hertz_is_five_hertz_at_every_rate(self, fps: float) -> None:
        chosen = [s.media_time_s for s in stamps(at_rate(fps, 60), hz=5) if s.chosen]
        assert len(chosen) == pytest.approx(300, abs=1)
        gaps = [b - a for a, b in pairwise(chosen)]
        assert max(gaps) < 0.2 + 1 / fps + EARLY_S

    @pytest.mark.parametrize(("fps", "unit_s"), [(30, 1e-3), (30, 1e-2), (29.97, 1e-3), (24, 1e-3), (60, 1e-3)])
    def test_rounded_timestamps_lose_no_frame_when_all_are_wanted_by_rate(self, fps: float, unit_s: float) -> None:
        rounded = [round(t / unit_s) * unit_s for t in at_rate(fps, 20)]
        assert all(s.chosen for s in stamps(rounded, hz=round(fps)))

    def test_a_rate_above_the_cameras_chooses_every_frame(self) -> None:
        assert all(s.chosen for s in stamps(at_rate(25, 4), hz=120))

    def test_no_rate_chooses_every_frame(self) -> None:
        assert all(s.chosen for s in stamps(at_rate(25, 4)))

    def test_float_noise_on_the_grid_does_not_matter(self) -> None:
        noisy = [t + (-1) ** k * 1e-9 for k, t in enumerate(at_rate(25, 20))]
        assert [s.index for s in stamps(noisy, hz=5) if s.chosen] == list(range(0, 500, 5))


class TestAbsentTimestamps:
    def test_a_recording_counts_by_what_the_container_claims(self) -> None:
        timeline = Timeline(None, GAP_S)
        timeline.expect(0.1)
        found = stamps([None] * 4, arrivals=[0.0, 9.0, 9.1, 50.0], timeline=timeline)
        assert media(found) == pytest.approx([0.0, 0.1, 0.2, 0.3])

    def test_a_claim_of_nothing_is_ignored(self) -> None:
        timeline = Timeline(None, GAP_S)
        timeline.expect(0.0)
        assert media(stamps([None, None], timeline=timeline)) == pytest.approx([0.0, 0.04])

    def test_a_live_camera_counts_by_arrival(self) -> None:
        found = stamps([None] * 3, arrivals=[100.0, 100.1, 100.25], live=True)
        assert media(found) == pytest.approx([0.0, 0.1, 0.25])

    def test_a_live_camera_that_paused_without_timestamps_tells_it(self) -> None:
        found = stamps([None] * 3, arrivals=[0.0, 0.1, 5.1], live=True)
        assert told(found) == [(2, "pts_jumped", 5.0)]

    def test_the_first_timestamp_anchors_without_a_jump(self) -> None:
        """RTSP gives none with the first frames, then whatever the camera counts."""
        found = stamps([None, None, 5000.0, 5000.04])
        assert media(found) == pytest.approx([0.0, 0.04, 0.08, 0.12])
        assert told(found) == []

    def test_missing_ones_in_between_follow_the_frames_before(self) -> None:
        found = stamps([0.0, 0.1, None, 0.3])
        assert media(found) == pytest.approx([0.0, 0.1, 0.2, 0.3])

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
    def test_what_is_no_number_counts_as_absent(self, wrong: float) -> None:
        assert media(stamps([0.0, 0.1, wrong, 0.3])) == pytest.approx([0.0, 0.1, 0.2, 0.3])


class TestDiscontinuities:
    def test_a_jump_ahead_moves_the_clock_and_says_how_far(self) -> None:
        found = stamps([0.0, 0.04, 10.04, 10.08])
        assert media(found) == pytest.approx([0.0, 0.04, 10.04, 10.08])
        assert told(found) == [(2, "pts_jumped", 10.0)]

    def test_a_step_within_gap_s_is_no_discontinuity(self) -> None:
        assert told(stamps([0.0, 0.04, 2.0])) == []

    def test_a_loop_restarts_one_interval_later(self) -> None:
        found = stamps([*at_rate(25, 4), *at_rate(25, 4)])
        assert media(found) == pytest.approx(at_rate(25, 8))
        assert told(found) == [(100, "pts_restarted", 0.0)]

    def test_a_loop_shorter_than_gap_s_restarts_too(self) -> None:
        found = stamps(at_rate(25, 1) * 3)
        assert media(found) == pytest.approx(at_rate(25, 3))
        assert told(found) == [(25, "pts_restarted", 0.0), (50, "pts_restarted", 0.0)]

    def test_a_loop_whose_pts_do_not_begin_at_zero_restarts_too(self) -> None:
        found = stamps(at_rate(25, 1, begin_s=1.4) * 2)  # MPEG-TS begins at 1.4 s
        assert told(found) == [(25, "pts_restarted", 0.0)]

    def test_after_a_restart_the_next_jump_is_seen_again(self) -> None:
        found = stamps([*at_rate(25, 4), 0.0, 0.04, 5.04])
        assert told(found) == [(100, "pts_restarted", 0.0), (102, "pts_jumped", 5.0)]

    def test_far_back_is_a_restart_wherever_it_lands(self) -> None:
        found = stamps([0.0, 100.0, 50.0, 50.04], hz=None)
        assert told(found) == [(1, "pts_jumped", 100.0), (2, "pts_restarted", 0.0)]
        assert found[3].media_time_s - found[2].media_time_s == pytest.approx(0.04)

    def test_a_clock_that_is_set_back_is_a_restart(self) -> None:
        found = stamps([*at_rate(25, 10), *at_rate(25, 1, begin_s=8.5)], hz=5)
        assert told(found) == [(250, "pts_restarted", 0.0)]
        chosen = [s.media_time_s for s in found if s.chosen]
        assert max(b - a for a, b in pairwise(chosen)) < 0.25

    def test_frames_left_out_on_purpose_are_no_jump(self) -> None:
        timeline = Timeline(None, GAP_S, live=True)
        found = [timeline.stamp(pts, pts, thinned=pts > 1.0) for pts in (0.0, 0.04, 4.0, 8.0, 8.04)]
        assert told(found) == []
        assert media(found) == [0.0, 0.04, 4.0, 8.0, 8.04]

    def test_repeated_and_reordered_timestamps_only_nudge(self) -> None:
        found = stamps([0.0, 0.04, 0.04, 0.12, 0.08, 0.16])
        assert told(found) == []
        assert media(found) == pytest.approx([0.0, 0.04, 0.0401, 0.12, 0.1201, 0.16])

    def test_coding_order_at_the_very_beginning_is_no_restart(self) -> None:
        """I, P, B, B as a broken decoder would give them."""
        found = stamps([0.04, 0.16, 0.08, 0.12, 0.0, 0.20])
        assert told(found) == []
        assert media(found)[-1] == pytest.approx(0.16)

    def test_told_with_the_next_chosen_frame(self) -> None:
        found = stamps([*at_rate(25, 1, 10.0), 10.0, 10.04, 10.08, 10.12, 10.16], hz=1)
        restarted = next(s for s in found if s.discontinuity)
        assert restarted.chosen
        assert [s.index for s in found if s.chosen] == [0, 25]

    def test_several_before_one_chosen_frame_are_added_up(self) -> None:
        found = stamps([0.0, 3.0, 6.5, 6.54, 40.0], hz=0.05)
        assert told(found) == [(4, "pts_jumped", 39.96)]


class TestFramesThatCannotBeUsed:
    def test_the_next_one_takes_the_place(self) -> None:
        timeline = Timeline(5, GAP_S)
        stamp = timeline.stamp(0.0, 0.0)
        timeline.give_back(stamp)
        found = stamps(at_rate(25, 0.4, 0.04), timeline=timeline)
        assert [s.index for s in found if s.chosen] == [1, 5, 10]

    def test_what_it_told_is_told_by_the_next(self) -> None:
        timeline = Timeline(None, GAP_S)
        jumped = stamps([0.0, 10.0], timeline=timeline)[-1]
        timeline.give_back(jumped)
        assert told(stamps([10.04, 10.08], timeline=timeline)) == [(2, "pts_jumped", 10.0)]


class TestReconnect:
    def test_what_was_lost_is_told_by_arrival(self) -> None:
        timeline = Timeline(None, GAP_S, live=True)
        stamps([50.0, 50.04], arrivals=[7.0, 7.04], timeline=timeline)
        timeline.reconnected()
        found = stamps([3.0, 3.04], arrivals=[10.04, 10.08], timeline=timeline)
        assert media(found) == pytest.approx([3.04, 3.08])
        assert told(found) == [(2, "reconnected", 3.0)]
        assert [s.index for s in found] == [2, 3]

    def test_without_timestamps_at_first(self) -> None:
        """The old connection's offset must not meet the new one's count."""
        timeline = Timeline(None, GAP_S, live=True)
        stamps([50.0, 50.04], arrivals=[7.0, 7.04], timeline=timeline)
        timeline.reconnected()
        found = stamps([None, 0.04, 0.08], arrivals=[9.04, 9.05, 9.06], timeline=timeline)
        assert media(found) == pytest.approx([2.04, 2.08, 2.12])
        assert told(found) == [(2, "reconnected", 0.0)]

    @pytest.mark.parametrize(("away_s", "skipped_s"), [(0.5, 0.0), (GAP_S, 0.0), (2.5, 2.5)])
    def test_only_more_than_gap_s_is_a_gap(self, away_s: float, skipped_s: float) -> None:
        timeline = Timeline(None, GAP_S, live=True)
        stamps([50.0], arrivals=[7.0], timeline=timeline)
        timeline.reconnected()
        found = stamps([0.0, 0.04], arrivals=[7.0 + away_s, 7.04 + away_s], timeline=timeline)
        assert told(found) == [(1, "reconnected", skipped_s)]
        assert found[0].media_time_s == pytest.approx(away_s)  # the clock goes on all the same

    def test_at_once_still_takes_an_interval(self) -> None:
        timeline = Timeline(None, GAP_S)
        stamps([0.0, 0.1], arrivals=[0.0, 0.1], timeline=timeline)
        timeline.reconnected()
        assert timeline.stamp(0.0, 0.1).media_time_s == pytest.approx(0.2)

    def test_before_the_first_frame_it_means_nothing(self) -> None:
        timeline = Timeline(None, GAP_S)
        timeline.reconnected()
        assert timeline.stamp(5.0, 9.0) == Stamp(0, 0.0, chosen=True)

    def test_with_a_jump_before_the_next_chosen_frame_the_larger_loss_names_it(self) -> None:
        timeline = Timeline(0.01, GAP_S, live=True)
        stamps([0.0, 1.0], arrivals=[0.0, 1.0], timeline=timeline)
        timeline.reconnected()
        found = stamps([0.0, 5.0, 200.0], arrivals=[41.0, 41.1, 41.2], timeline=timeline)
        assert told(found) == [(4, "pts_jumped", 240.0)]


class TestEstimate:
    def test_before_any_frame_it_is_zero(self) -> None:
        timeline = Timeline(None, GAP_S)
        assert (timeline.now_s, timeline.estimate_s(1000.0)) == (0.0, 0.0)

    def test_it_goes_on_with_the_arrival_clock(self) -> None:
        timeline = Timeline(None, GAP_S)
        stamps([3.0, 4.0], arrivals=[100.0, 101.0], timeline=timeline)
        assert timeline.now_s == pytest.approx(1.0)
        assert timeline.estimate_s(103.5) == pytest.approx(3.5)
        assert timeline.estimate_s(99.0) == pytest.approx(1.0)  # never before the last frame


PTS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(0, 200).map(lambda k: k / 25), st.just(float("nan")))


class TestProperties:
    @given(st.lists(st.tuples(PTS, st.floats(0, 1e6), st.booleans()), max_size=60), st.booleans())
    def test_time_only_moves_forward_whatever_comes(
        self, frames: list[tuple[float | None, float, bool]], live: bool
    ) -> None:
        timeline = Timeline(7.0, GAP_S, live)
        last = -1.0
        for number, (pts, arrived, reconnected) in enumerate(frames):
            if reconnected:
                timeline.reconnected()
            stamp = timeline.stamp(pts, arrived)
            assert stamp.index == number
            assert stamp.media_time_s > last
            assert stamp.skipped_s >= 0.0
            assert stamp.discontinuity is None or stamp.chosen
            assert timeline.estimate_s(arrived + 1.0) >= stamp.media_time_s
            last = stamp.media_time_s

    @given(st.floats(1e8, 1e15), st.floats(1e8, 1e15))
    def test_even_where_floats_are_coarse(self, first: float, second: float) -> None:
        found = stamps([0.0, first, first, second, second])
        assert all(b > a for a, b in pairwise(media(found)))

    @given(st.data(), st.sampled_from([1, 2, 5, 10, 15]), st.floats(0, 1e5))
    def test_extra_frames_change_nothing_that_is_analysed(self, data: st.DataObject, hz: int, begin_s: float) -> None:
        """Frames on the grid are chosen at the same media times, however many more the camera sends in between."""
        grid = [begin_s + k / hz for k in range(20)]
        room = st.floats(2 * MIN_STEP_S, 1 / hz - 2 * EARLY_S)
        extra = [t + data.draw(room) for t in grid for _ in range(data.draw(st.integers(0, 3)))]
        plain = [s.media_time_s for s in stamps(grid, hz=hz) if s.chosen]
        more = [s.media_time_s for s in stamps(sorted({*grid, *extra}), hz=hz) if s.chosen]
        assert plain == more

    @given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]))
    def test_the_cameras_rate_does_not_matter(self, one: int, other: int, hz: int) -> None:
        """Promise: the same instants are analysed at 5, 15 or 30 frames a second, to the last bit."""
        streams = [[k / (hz * times) for k in range(10 * hz * times)] for times in (one, other)]
        chosen = [[s.media_time_s for s in stamps(stream, hz=hz) if s.chosen] for stream in streams]
        assert chosen[0] == pytest.approx(chosen[1], abs=1e-12)

    @given(st.lists(st.floats(0, 100), max_size=50, unique=True), st.lists(st.floats(0, 1e3), min_size=50, max_size=50))
    def test_arrival_never_matters_to_a_recording(self, pts: list[float], arrivals: list[float]) -> None:
        calm = stamps(pts, hz=5, arrivals=[0.0] * len(pts))
        busy = stamps(pts, hz=5, arrivals=arrivals[: len(pts)])
        assert calm == busy

    @given(st.lists(st.floats(0, 50), min_size=1, max_size=80))
    def test_at_most_one_frame_a_slot(self, pts: list[float]) -> None:
        chosen = [s.media_time_s for s in stamps(pts, hz=4) if s.chosen]
        slots = [int((t + EARLY_S) * 4) for t in chosen]
        assert len(set(slots)) == len(slots)
