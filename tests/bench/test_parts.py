"""The parts of the instrument on small clips: real workers, seconds of them. The figures themselves are the bench's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from stream.bench import capacity, memory, scaling, subject
from stream.bench.chart import Panel, draw, nice_step
from stream.bench.process import measured
from stream.config import Config, DetectorConfig, EmotionConfig, RedisConfig, SourceConfig
from stream.errors import ConfigError, SourceError


def run(cameras: int, **other: Any) -> dict[str, Any]:
    """What a measurement tells of cameras that were held."""
    cores = dict.fromkeys(capacity.PARTS, 0.1 * cameras)
    return {
        "cameras": cameras,
        "came": cameras,
        "seconds": 20.0,
        "cores": cores,
        "frames": {"wanted": 1000, "analysed": 1000, "skipped": {}},
        "samples": 400,
        "latency_ms": {"p50": 20.0, "p95": 40.0, "p99": 60.0},
        "growth_ms": 0.0,
        **other,
    }


class TestSearch:
    def search(self, holds: int, holds_long: int) -> tuple[dict[str, Any], list[tuple[int, float]]]:
        """The figures, and (cameras, seconds) of each run, where so many cameras are held in short and in long runs."""
        tried: list[tuple[int, float]] = []

        def one(cameras: int, lasting_s: float) -> dict[str, Any]:
            tried.append((cameras, lasting_s))
            limit = holds_long if lasting_s == 120.0 else holds
            return run(cameras, growth_ms=0.0 if cameras <= limit else 500.0)

        return capacity.search(one, lambda _: None, 20.0, 120.0, 4, 64), tried

    def test_what_was_found_is_confirmed(self) -> None:
        figures, tried = self.search(6, 6)
        assert tried == [(4, 20.0), (8, 20.0), (6, 20.0), (7, 20.0), (6, 120.0)]
        assert (figures["cameras"], figures["searched"], figures["limit"]["cameras"]) == (6, 6, 7)
        assert figures["limit"]["objections"] == ["events became older by 500 ms"]
        assert figures["bound"].endswith("(with 8 cameras)")  # the busiest of those that were too many

    def test_one_camera_fewer_is_tried_until_it_is(self) -> None:
        figures, tried = self.search(6, 4)
        assert tried[-3:] == [(6, 120.0), (5, 120.0), (4, 120.0)]
        assert (figures["cameras"], figures["searched"], figures["limit"]["cameras"]) == (4, 6, 5)
        assert "6 cameras were held for a shorter time" in str(
            capacity.report({"clip": "c", "analyse_hz": 5.0, **figures}).caption
        )

    def test_none_is(self) -> None:
        figures, _ = self.search(0, 0)
        assert (figures["cameras"], figures["held"], figures["limit"]["cameras"]) == (0, None, 1)
        assert "not one camera was held" in str(capacity.report({"clip": "c", "analyse_hz": 5.0, **figures}).caption)

    def test_a_video_without_faces_has_no_latency(self) -> None:
        with pytest.raises(SourceError, match="latency is measured on a video with faces"):
            capacity.search(lambda n, _: run(n, samples=0, latency_ms=None), print, 20.0, 120.0, 4, 64)


def test_a_measurement_is_told_the_settings_and_no_secret() -> None:
    config = Config(
        source=SourceConfig(analyse_hz=2.0, rtsp_transport="udp"),
        emotion=EmotionConfig(read_hz=None),
        redis=RedisConfig(url="redis://:secret@host"),
    )
    told = subject.told(config)
    assert "secret" not in told
    assert Config.model_validate_json(told) == config.model_copy(update={"redis": RedisConfig()})
    camera = subject.camera(config, "lobby", "rtsp://camera/", analyse_hz=None)
    assert camera.settings == config.source.model_copy(update={"analyse_hz": None})


def test_a_measurement_follows_the_settings(face_clip: Path) -> None:
    blind = Config(detector=DetectorConfig(score_threshold=1.0))
    found = [
        measured("a file", "stream.bench.worker", "files", face_clip, 1, config=config)["faces"]
        for config in (None, blind)
    ]
    assert found[0] > found[1] == 0


@pytest.mark.alone
def test_every_frame_of_a_camera_is_wanted_where_that_is_asked_for(face_clip: Path) -> None:
    every = Config(source=SourceConfig(analyse_hz=None))
    figures = measured("a camera", "stream.bench.worker", "live", face_clip, 1, 0.5, 1.0, config=every)
    assert figures["frames"]["wanted"] == pytest.approx(25 * figures["seconds"], abs=1)
    assert figures["frames"]["analysed"] > 7 * figures["seconds"]


@pytest.mark.alone
def test_two_small_cameras(face_clip: Path) -> None:
    figures = measured("two cameras", "stream.bench.worker", "live", face_clip, 2, 1.0, 3.0)
    assert figures["came"] == 2
    assert figures["frames"]["wanted"] == pytest.approx(10 * figures["seconds"], abs=1)
    assert 5 <= figures["frames"]["analysed"] <= figures["frames"]["wanted"] + 5
    assert figures["samples"] >= 1
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    assert figures["cores"]["decode"] > 0
    assert figures["cores"]["detect"] > figures["cores"]["publish"]
    assert set(figures["cores"]) == set(capacity.PARTS)
    assert set(figures["engines"]) == {"face", "emotion"}
    assert 50 < figures["rss_mb"] < 1000


def test_memory_of_one_more_camera() -> None:
    """The median of the rounds' own differences, not the difference of medians."""
    figures = memory.figures_of({1: [200.0, 201.0, 250.0], 8: [270.0, 341.0, 320.0]})
    assert figures == {"few": 1, "many": 8, "few_mb": 201.0, "many_mb": 320.0, "per_camera_mb": 10.0}
    assert memory.report({"clip": "c", "repeats": 3, **figures}).row_count == 3


@pytest.mark.alone
def test_each_camera_and_each_face_costs_something(face_clip: Path, tmp_path: Path) -> None:
    plot = tmp_path / "scaling.png"
    figures = scaling.measure(face_clip, print, cameras=(1, 2), faces=(1, 20), faces_s=1.0, repeats=1, plot=plot)
    assert [row["cameras"] for row in figures["cameras"]] == [1, 2]
    assert figures["cameras"][0]["ratio"] == 1.0
    assert 0.3 < figures["cameras"][1]["ratio"] < 3.0
    one, many = (row["found"] for row in figures["faces"])  # tracks: the first 0.4 s have none
    assert 0.5 < one <= 1.0
    assert many == pytest.approx(20 * one, rel=0.1)
    assert figures["faces"][1]["classify_ms"] > 2 * figures["faces"][0]["classify_ms"]
    assert cv2.imread(str(plot)).shape[1] > 1000
    assert scaling.report(figures).row_count == 4


@pytest.mark.parametrize("part", [capacity, memory, scaling])
def test_a_clip_that_is_not_there(part: object, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file; name a video to measure on"):
        part.measure(tmp_path / "none.mp4", print)  # type: ignore[attr-defined]


class TestChart:
    @pytest.mark.parametrize(
        ("about", "step"), [(0.9, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (7.0, 10.0), (0.03, 0.05), (140.0, 200.0)]
    )
    def test_steps_are_round(self, about: float, step: float) -> None:
        assert nice_step(about) == pytest.approx(step)

    def test_where_nobody_may_write(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="the chart cannot be written"):
            draw(tmp_path / "away" / "chart.png", "t", "ms", [Panel("x", ("1", "2"), (1.0, 2.0), (3.0, 4.0))])
