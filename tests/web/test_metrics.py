"""What is told to Prometheus, and of whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from engines.load import load_engine
from stream.assembly import assemble
from stream.config import CameraConfig, Config, PrivacyConfig
from stream.events import CameraStatus, EmotionSample, Event, TrackEnded, TrackStarted
from stream.launch import find_models
from stream.pipeline import Pipeline, Trouble
from stream.sinks.base import Accepted
from stream.sources import SmallSize, Timeline, make_source
from stream.web.control import CameraInfo, OutboxInfo
from stream.web.metrics import Metrics
from tests.web.metrics_text import scraped, value

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOX = (0.1, 0.1, 0.2, 0.2)
ONLY_GROUPS = PrivacyConfig(mode="aggregate_only")


@dataclass
class FakeControl:
    """Behind the protocol Control: cameras that are what a test says."""

    infos: list[CameraInfo] = field(default_factory=list)
    waiting: OutboxInfo = field(default_factory=lambda: OutboxInfo(0, 0.0))

    def cameras(self) -> list[CameraInfo]:
        return self.infos

    def add(self, name: str, source: str, settings: dict[str, Any]) -> CameraInfo:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def ready(self) -> list[str]:
        return []

    def dead(self) -> list[str]:
        return []

    def engines(self) -> dict[str, str]:
        return {"face": "onnxruntime/f", "emotion": "onnxruntime/e"}

    def outbox(self) -> OutboxInfo:
        return self.waiting


def info(name: str, **other: Any) -> CameraInfo:
    usual = {"source": "rtsp://host/live", "state": "live", "reason": None, "since": NOON, "analyse_hz": 5.0}
    return CameraInfo(**{"name": name, **usual, "skipped": {}, "reconnects": 0, "dropped": 0, **other})


def watching(*infos: CameraInfo, privacy: PrivacyConfig | None = None, wall: datetime = NOON) -> Metrics:
    metrics = Metrics(privacy or PrivacyConfig(), wall=lambda: wall)
    metrics.bind(FakeControl(list(infos)))
    return metrics


def moment(camera_id: str, seq: int, captured_at: datetime | None = NOON) -> dict[str, Any]:
    clock = "arrival" if captured_at else "media"
    stamp = {"camera_id": camera_id, "session": "s", "media_time_s": 1.0, "clock_source": clock}
    return {**stamp, "seq": seq, "captured_at": captured_at}


def began(camera_id: str, seq: int, track_id: int) -> TrackStarted:
    return TrackStarted(**moment(camera_id, seq), track_id=track_id, box=BOX)


def left(camera_id: str, seq: int, track_id: int) -> TrackEnded:
    told = {"reason": "left", "duration_s": 1.0, "shares": {}, "dominant": "happy"}
    return TrackEnded(**moment(camera_id, seq), track_id=track_id, **told, frames_seen=1, frames_used=1)


def sample(camera_id: str, seq: int, captured_at: datetime | None) -> EmotionSample:
    told = {"track_id": 1, "emotion": "happy", "probabilities": {"happy": 1.0}, "confidence": 1.0, "quality": 1.0}
    return EmotionSample(**moment(camera_id, seq, captured_at), **told, box=BOX)


def kept(*events: Event) -> Sequence[Accepted]:
    return [Accepted(event, NOON, 0) for event in events]


@pytest.fixture(scope="module")
def seen(face_clip: Path) -> tuple[int, Metrics]:
    """Frames of a clip with one face, through the real stages; and what was counted."""
    config, metrics = Config(), watching(info("clip"))
    models, troubles, frames = find_models(config), list[Trouble](), 0
    face, emotion = load_engine(models.face), load_engine(models.emotion)
    pipeline = Pipeline(metrics.around(assemble(config, face, emotion)), troubles.append)
    camera = CameraConfig(name="clip", source=str(face_clip))
    source = make_source(camera, "s", Timeline(5.0, 2.0), SmallSize.of(config.detector, face.spec))
    source.open()
    for frame in source.frames():
        pipeline.step([frame])
        frames += 1
    source.close()
    for engine in (face, emotion):
        engine.close()
    assert not troubles
    return frames, metrics


class TestStages:
    def test_every_frame_is_analysed_once(self, seen: tuple[int, Metrics]) -> None:
        frames, metrics = seen
        found = scraped(metrics)
        assert frames == 10
        assert value(found, "emostream_frames_total", camera="clip", fate="analysed") == frames
        assert value(found, "emostream_faces", camera="clip") == 1

    def test_every_step_is_timed_once_however_often_the_detector_is_asked(self, seen: tuple[int, Metrics]) -> None:
        frames, metrics = seen
        found = scraped(metrics)
        for stage in ("detect", "classify"):
            assert value(found, f"emostream_{stage}_seconds_count") == frames
            assert 0 < (value(found, f"emostream_{stage}_seconds_sum") or 0) < 60
            assert value(found, "emostream_batch_size_count", stage=stage) == frames
        assert value(found, "emostream_batch_size_sum", stage="detect") == frames
        faces = value(found, "emostream_batch_size_sum", stage="classify") or 0
        assert 0 < faces < frames  # a face is followed for a while before it is a track, and then read

    def test_decoding_is_counted_by_the_threads_of_the_camera_also_of_those_that_ended(self) -> None:
        metrics, spent, over = watching(info("cam"), info("cam-2")), threading.Event(), threading.Event()

        def work() -> None:
            while time.thread_time() < 0.05:  # above the resolution of /proc
                pass
            spent.set()
            over.wait()

        thread = threading.Thread(target=work, name="camera-cam-2-3")  # the third one of cam-2
        thread.start()
        spent.wait()
        found = scraped(metrics)
        over.set()
        thread.join()
        assert value(found, "emostream_decode_cpu_seconds_total", camera="cam") == 0
        used = value(found, "emostream_decode_cpu_seconds_total", camera="cam-2")
        assert used is not None
        assert used >= 0.04
        assert value(scraped(metrics), "emostream_decode_cpu_seconds_total", camera="cam-2") == used


class TestCameras:
    def test_state_skips_and_reconnects(self) -> None:
        found = scraped(watching(info("cam", state="offline", skipped={"analysis_busy": 7}, reconnects=3)))
        assert value(found, "emostream_frames_total", camera="cam", fate="analysis_busy") == 7
        assert value(found, "emostream_frames_total", camera="cam", fate="analysed") == 0
        assert value(found, "emostream_reconnects_total", camera="cam") == 3
        states = {
            each.labels["state"]: each.value for each in found if each.name == "emostream_camera_state" and each.value
        }
        assert states == {"offline": 1}

    def test_events_by_type_and_the_tracks_that_live(self) -> None:
        metrics = watching(info("cam"))
        metrics.accepted(kept(began("cam", 0, 1), began("cam", 1, 2)))
        assert value(scraped(metrics), "emostream_tracks", camera="cam") == 2
        metrics.accepted(kept(left("cam", 2, 1), left("cam", 3, 7)))  # 7 was left behind by an earlier start
        found = scraped(metrics)
        assert value(found, "emostream_tracks", camera="cam") == 1
        assert value(found, "emostream_events_total", camera="cam", type="track.started") == 2
        assert value(found, "emostream_events_total", camera="cam", type="track.ended") == 2

    def test_a_camera_that_was_removed_takes_its_series_with_it(self) -> None:
        control = FakeControl([info("stays"), info("goes")])
        metrics = Metrics(PrivacyConfig())
        metrics.bind(control)
        metrics.accepted(kept(began("stays", 0, 1), began("goes", 0, 1)))
        assert {each.labels["camera"] for each in scraped(metrics) if "camera" in each.labels} == {"stays", "goes"}
        control.infos = [info("stays")]
        metrics.accepted(kept(left("goes", 1, 1)))  # its last words
        assert {each.labels["camera"] for each in scraped(metrics) if "camera" in each.labels} == {"stays"}
        control.infos = [info("stays"), info("goes")]
        assert value(scraped(metrics), "emostream_tracks", camera="goes") == 0


class TestLatency:
    @pytest.mark.parametrize("sink", ["redis://host:6379/0", "redis+sentinel://a,b/main", "unix:///run/redis.sock"])
    def test_from_the_capture_to_the_answer_of_redis(self, sink: str) -> None:
        metrics = watching(wall=NOON + timedelta(seconds=0.45))
        metrics.acknowledged(sink, kept(sample("cam", 0, NOON)))
        found = scraped(metrics)
        assert value(found, "emostream_capture_to_publish_seconds_sum") == pytest.approx(0.45)
        assert value(found, "emostream_capture_to_publish_seconds_bucket", le="0.4") == 0
        assert value(found, "emostream_capture_to_publish_seconds_bucket", le="0.5") == 1

    def test_only_once_and_of_nothing_else(self) -> None:
        """Not by other sinks, not of recordings, not of a state, not what Redis gets again after it was away."""
        metrics = watching(wall=NOON + timedelta(seconds=1))
        first, second = sample("cam", 0, NOON), sample("cam", 1, NOON)
        metrics.acknowledged("redis://host:6379/0", kept(first))
        metrics.acknowledged("redis://host:6379/0", kept(first, second))
        metrics.acknowledged("/events.jsonl", kept(first, second))
        metrics.acknowledged("redis://host:6379/0", kept(sample("file", 0, None)))
        metrics.acknowledged("redis://host:6379/0", kept(CameraStatus(**moment("cam", 2), status="live")))
        assert value(scraped(metrics), "emostream_capture_to_publish_seconds_count") == 2


class TestForm:
    def full(self, **other: Any) -> Metrics:
        metrics = watching(info("cam", skipped={"analysis_busy": 1}), **other)
        metrics.accepted(kept(began("cam", 0, 1), CameraStatus(**moment("cam", 1), status="live")))
        return metrics

    def test_names_and_labels_follow_the_conventions(self) -> None:
        """OpenMetrics' own parser is strict: units, suffixes, counters that end in _total, no sample twice."""
        text, media_type = self.full().expose("application/openmetrics-text; version=1.0.0")
        assert media_type.startswith("application/openmetrics-text")
        families = list(strict(text.decode()))
        ours = [family for family in families if family.name.startswith("emostream_")]
        assert len(ours) == len({family.name for family in ours}) > 10
        assert all(family.documentation for family in ours)
        units = {"seconds", "size", "info", "frames", "faces", "tracks", "events", "reconnects", "state"}
        assert {family.name.rpartition("_")[2] for family in ours} == units
        labels = {label for family in ours for each in family.samples for label in each.labels}
        assert labels == {"camera", "fate", "type", "state", "stage", "task", "engine", "le", "version", "python"}

    def test_before_there_is_a_worker_nothing_is_told_of_one(self) -> None:
        found = scraped(Metrics(PrivacyConfig()))
        assert value(found, "emostream_batch_size_count", stage="detect") == 0
        assert any(each.name == "process_cpu_seconds_total" for each in found)
        assert not any("camera" in each.labels for each in found)

    def test_of_groups_alone_nothing_counts_single_faces(self) -> None:
        everything, groups = self.full(), self.full(privacy=ONLY_GROUPS)
        groups.classified([], [], 3, 0.01)
        told, of_groups = scraped(everything), scraped(groups)
        missing = {each.name for each in told} - {each.name for each in of_groups}
        assert missing == {"emostream_faces", "emostream_tracks"}
        assert value(told, "emostream_events_total", camera="cam", type="track.started") == 1
        assert {each.labels["type"] for each in of_groups if "type" in each.labels} == {"camera.status"}
        assert {each.labels["stage"] for each in of_groups if "stage" in each.labels} == {"detect"}

    def test_outbox_and_engines(self) -> None:
        metrics = Metrics(PrivacyConfig())
        metrics.bind(FakeControl(waiting=OutboxInfo(12, 3.5)))
        found = scraped(metrics)
        assert value(found, "emostream_outbox_events") == 12
        assert value(found, "emostream_outbox_oldest_age_seconds") == 3.5
        assert value(found, "emostream_engine_info", task="face", engine="onnxruntime/f") == 1
