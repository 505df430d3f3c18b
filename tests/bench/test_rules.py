"""What counts as held in real time, and how the largest number is found."""

from __future__ import annotations

from typing import Any

import pytest

from stream.bench.rules import GROWTH_MS, Sample, bound, growth_ms, largest, latency_ms, percentile, why_not_held

BEGAN_S, ENDED_S = 1000.0, 1020.0


def search(limit: int, first: int) -> tuple[int, list[int]]:
    """What is found of at most 32 cameras where so many hold, and which numbers were tried for it."""
    tried: list[int] = []

    def holds(cameras: int) -> bool:
        tried.append(cameras)
        return cameras <= limit

    return largest(holds, first, 32), tried


class TestLargest:
    @pytest.mark.parametrize("first", [1, 4, 5, 32])
    def test_it_is_found_and_no_number_is_tried_twice(self, first: int) -> None:
        for limit in range(40):
            found, tried = search(limit, first)
            assert found == min(limit, 32)
            assert len(tried) == len(set(tried)) <= 10
            assert all(1 <= cameras <= 32 for cameras in tried)


class TestPercentiles:
    def test_of_a_hundred(self) -> None:
        values = [float(number) for number in range(100, 0, -1)]
        assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]

    def test_of_one(self) -> None:
        assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0

    def test_latency_is_from_the_packet_to_the_acknowledgement(self) -> None:
        samples = [Sample("cam", number, 10.0 + number, 10.0 + number + 0.001 * number) for number in range(1, 101)]
        assert latency_ms(samples) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}

    def test_there_is_none_without_an_event(self) -> None:
        assert latency_ms([]) is None


def story(camera: str, unread_s: float = 0.0, analysed_s: float = 0.02, burst_s: float = 0.0) -> list[Sample]:
    """Five events a second for twenty seconds, each `analysed_s` behind its packet.

    `unread_s`: by how much packets are read later at the end than at the beginning. `burst_s`: two events of the last
    second are later by that.
    """
    told = []
    for number in range(100):
        media_s = 0.2 * number
        arrived_s = BEGAN_S + media_s + unread_s * number / 99
        told.append(Sample(camera, media_s, arrived_s, arrived_s + analysed_s + (burst_s if number in (96, 97) else 0)))
    return told


class TestGrowth:
    def test_steady_cameras_do_not_fall_behind(self) -> None:
        samples = [*story("a"), *story("b", analysed_s=0.3)]
        assert growth_ms(samples, BEGAN_S, ENDED_S) == pytest.approx(0.0, abs=0.01)

    def test_one_camera_whose_packets_wait_in_the_socket(self) -> None:
        """Its latency is as ever; among nine others it does not show in p95 of all."""
        samples = [sample for number in range(30) for sample in story(f"cam{number}")] + story("late", unread_s=1.0)
        assert latency_ms(samples) == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
        assert growth_ms(samples, BEGAN_S, ENDED_S) == pytest.approx(750, abs=20)

    def test_a_short_delay_of_one_camera_among_many_is_no_growth(self) -> None:
        samples = [sample for number in range(30) for sample in story(f"cam{number}")] + story("busy", burst_s=2.0)
        assert growth_ms(samples, BEGAN_S, ENDED_S) == pytest.approx(0.0, abs=0.01)

    def test_without_events(self) -> None:
        assert growth_ms([], BEGAN_S, ENDED_S) == 0.0


def run(**other: Any) -> dict[str, Any]:
    frames = {"wanted": 1000, "analysed": 998, "skipped": {}}
    return {"cameras": 10, "came": 10, "frames": {**frames, **other.pop("frames", {})}, "growth_ms": 0.0, **other}


class TestHeld:
    def test_it_is(self) -> None:
        assert why_not_held(run()) == []
        assert why_not_held(run(growth_ms=GROWTH_MS, frames={"skipped": {"analysis_busy": 9}})) == []

    def test_all_causes_count_together(self) -> None:
        skipped = {"analysis_busy": 4, "late_not_referenced": 6}
        assert why_not_held(run(frames={"skipped": skipped})) == ["10 frames skipped where 1000 were to be analysed"]

    def test_frames_that_nobody_counted_are_missing_all_the_same(self) -> None:
        """The edges of the time may cost each camera one."""
        assert why_not_held(run(frames={"analysed": 981})) == []
        assert why_not_held(run(frames={"analysed": 980})) == ["10 frames skipped where 1000 were to be analysed"]

    def test_a_camera_that_never_came(self) -> None:
        assert why_not_held(run(came=8)) == ["2 cameras gave no frame"]

    def test_one_that_falls_behind(self) -> None:
        assert why_not_held(run(growth_ms=251.0)) == ["events became older by 251 ms"]


def cores(factor: float, machine: float) -> dict[str, float]:
    """One core's worth of work, so many times; the server of cameras is nobody's limit."""
    shares = {"decode": 0.5, "detect": 0.3, "classify": 0.2, "analysis": 0.05, "publish": 0.0, "other": 0.0}
    spent = {part: factor * share for part, share in shares.items()}
    return {**spent, "redis": 0.01, "cameras": 9.0, "machine": machine}


class TestBound:
    def test_the_processor(self) -> None:
        assert bound(cores(1.8, 1.9), 2) == "the processor: all 2 cores are busy, 47% of that with decode"

    def test_one_thread(self) -> None:
        words = "the one analysis thread: it is busy all the time, mostly with detect"
        assert bound(cores(1.7, 3.0), 8) == words

    def test_neither(self) -> None:
        assert bound(cores(0.5, 1.0), 8).startswith("waiting, not the processor: 1.0 of 8 cores are busy")
