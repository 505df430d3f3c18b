"""Live video that comes in bursts is played at its own speed: what happens when a burst is late."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from stream.sources.base import CATCH_UP_SPEED, LATE_S, BurstPacer
from tests.sources.watch import Watch

FPS = 25
GAP_S = 2.0


def played(pts: Iterable[float], late: dict[int, float] | None = None) -> list[float]:
    """When each picture is played, from the first on; before picture `k` loading takes `late[k]` seconds."""
    watch = Watch()
    pacer, begin_s = BurstPacer(watch.wait, lambda: watch.now_s, GAP_S), watch.now_s
    times = []
    for number, pts_s in enumerate(pts):
        watch.now_s += (late or {}).get(number, 0.0)
        assert not pacer.until(pts_s)
        times.append(watch.now_s - begin_s)
    return times


def steps(times: Iterable[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


def at_rate(seconds: float, begin_s: float = 0.0) -> list[float]:
    return [begin_s + number / FPS for number in range(round(seconds * FPS))]


def test_a_burst_is_spread_over_its_time() -> None:
    assert played(at_rate(4, begin_s=1000.0)) == pytest.approx(at_rate(4))


def test_loading_that_is_shorter_than_a_picture_is_not_seen() -> None:
    assert played(at_rate(4), late={50: 0.03}) == pytest.approx(at_rate(4))


def test_a_little_late_it_catches_up_without_racing() -> None:
    times = played(at_rate(12), late={100: 0.5})
    after = steps(times[100:])
    assert min(after) >= 1 / FPS / CATCH_UP_SPEED - 1e-9
    assert times[-1] == pytest.approx(299 / FPS)
    assert after[-1] == pytest.approx(1 / FPS)


def test_loading_at_every_segment_adds_up_to_nothing() -> None:
    times = played(at_rate(40), late={number: 0.3 for number in range(100, 1000, 100)})
    assert times[-1] == pytest.approx(999 / FPS, abs=0.01)


def test_far_late_it_stays_late_and_never_hurries() -> None:
    away_s = LATE_S + 0.5
    times = played(at_rate(8), late={100: away_s})
    assert steps(times[100:]) == pytest.approx([1 / FPS] * 99)
    assert times[-1] == pytest.approx(199 / FPS + away_s - 1 / FPS)


@pytest.mark.parametrize("begin_s", [4.0 + GAP_S + 1, 0.0, 9000.0])
def test_a_jump_is_not_waited_for(begin_s: float) -> None:
    times = played([*at_rate(4), *at_rate(4, begin_s=begin_s)])
    assert steps(times)[99] == 0.0
    assert steps(times[100:]) == pytest.approx([1 / FPS] * 99)


def test_a_small_hole_takes_its_time() -> None:
    assert played([0.0, 0.04, 1.0, 1.04]) == pytest.approx([0.0, 0.04, 1.0, 1.04])


def test_pictures_in_a_wrong_order_are_played_at_once() -> None:
    times = played([0.0, 0.08, 0.04, 0.12, 0.16])
    assert times[:3] == pytest.approx([0.0, 0.08, 0.08])
    assert times[-1] == pytest.approx(0.16, abs=0.02)


def test_told_to_stop_it_says_so() -> None:
    pacer = BurstPacer(lambda _: True, lambda: 0.0, GAP_S)
    assert [pacer.until(0.0), pacer.until(0.04)] == [False, True]
