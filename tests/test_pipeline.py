"""The journey of a frame, with stages that do what the test says; trackers and aggregators are the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engines.errors import EngineError
from stream.aggregate import Aggregator
from stream.classify import Reads
from stream.config import AggregateConfig, DetectorConfig, EmotionConfig, TrackingConfig
from stream.detectors.gaze import Area, Boxes, Gaze
from stream.events import CameraStatus, Event, Gap, TimeRange, TrackEnded, TrackStarted
from stream.pipeline import Parts, Pipeline, Trouble
from stream.records import Faces, Frame, Input, Scores, Tracks
from stream.tracking import Tracker
from tests.makers import ended, faces, frame, live, tick

LABELS = ("angry", "happy")
FACE = (20.0, 10.0, 60.0, 58.0)


class FaceEverywhere:
    """A Detector: the same face in every frame; a frame of value 255 makes it raise, 254 makes the engine fail."""

    follows = True
    most = 50

    def __init__(self) -> None:
        self.batches: list[int] = []

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        if any(item.luma[0, 0] == 254 for item in frames):
            raise EngineError("the engine is broken")
        if any(item.luma[0, 0] == 255 for item in frames):
            raise ZeroDivisionError("this frame")
        return [faces(FACE) if of_frame else faces() for of_frame in areas]

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        self.batches.append(len(frames))
        return [faces(*[FACE][: len(boxes)]) for boxes in expected]


class AlwaysHappy:
    """A classifier that is sure; a frame of value 253 makes it raise."""

    def __init__(self) -> None:
        self.read: list[int] = []  # index of each frame in which a face was due

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        if any(item.luma[0, 0] == 253 for item in frames):
            raise ValueError("this crop")
        self.read += [item.index for item, wanted in zip(frames, due, strict=True) if any(wanted)]
        return [
            Scores(
                np.tile(np.array([[0.1, 0.9]], np.float32), (len(rows), 1)),
                np.ones(len(rows), np.float32),
                np.array(wanted, np.bool_),
            )
            for rows, wanted in zip(tracks, due, strict=True)
        ]


class Bench:
    def __init__(self, best_batch: int = 8) -> None:
        self.detector = FaceEverywhere()
        self.classifier = AlwaysHappy()
        self.troubles: list[Trouble] = []
        self.parts = Parts(
            detector=self.detector,
            classifier=self.classifier,
            new_gaze=lambda: Gaze(DetectorConfig(), 32),
            new_tracker=lambda: Tracker(TrackingConfig()),
            new_reads=lambda: Reads(EmotionConfig()),
            new_aggregator=lambda: Aggregator(AggregateConfig(), LABELS),
            best_batch=best_batch,
            models={"face": "f"},
            engines={"face": "e"},
        )
        self.pipeline = Pipeline(self.parts, self.troubles.append)

    def feed(self, inputs: Sequence[Input]) -> list[Event]:
        return [event for part in self.pipeline.run(inputs) for event in part]


def times(camera_id: str, count: int, start_s: float = 0.0, **other: object) -> list[Frame]:
    return [frame(camera_id, start_s + number * 0.2, index=number, **other) for number in range(count)]


def types(events: Sequence[Event], camera_id: str = "a") -> list[str]:
    return [event.type for event in events if event.camera_id == camera_id]


def test_from_connecting_to_the_summary() -> None:
    bench = Bench()
    events = bench.feed([live("a"), *times("a", 12), ended("a", 2.2)])
    assert types(events)[0] == "camera.status"
    assert types(events)[-2:] == ["track.ended", "camera.status"]
    assert [event for event in types(events) if event == "emotion.changed"] == ["emotion.changed"]
    status = events[0]
    assert isinstance(status, CameraStatus)
    assert (status.models, status.engines) == ({"face": "f"}, {"face": "e"})
    summary = events[-2]
    assert isinstance(summary, TrackEnded)
    assert (summary.dominant, summary.reason) == ("happy", "camera_ended")


def test_a_cameras_events_do_not_depend_on_its_neighbours() -> None:
    alone = Bench().feed([live("a"), *times("a", 10), ended("a", 2.0)])
    mixed: list[Input] = [live("a"), live("b")]
    for left, right in zip(times("a", 10), times("b", 10, 0.01), strict=True):
        mixed += [left, right]
    together = Bench().feed([*mixed, ended("a", 2.0), ended("b", 2.01)])
    assert [event for event in together if event.camera_id == "a"] == alone


@pytest.mark.parametrize("value", [255, 253])  # the detector or the classifier raises
def test_one_cameras_bad_frame_quarantines_that_camera_only(value: int) -> None:
    bench = Bench()
    for good in range(4):
        bench.feed([times("a", 4)[good], times("b", 4)[good]])
    events = bench.feed([frame("a", 0.8, index=17, value=value), frame("b", 0.8)])
    events += bench.feed([frame("a", 1.0), frame("b", 1.0), tick("a", 9.0), ended("a", 9.0)])
    assert types(events)[-2:] == ["track.ended", "camera.status"]
    last = [event for event in events if event.camera_id == "a"][-1]
    assert isinstance(last, CameraStatus)
    assert last.status == "failed"
    assert "this frame" not in str(last.reason)
    assert [(trouble.camera_id, trouble.frame_index) for trouble in bench.troubles] == [("a", 17)]
    assert "track.ended" not in types(events, "b")
    later = bench.feed([frame("b", 1.2 + 0.2 * number) for number in range(5)])
    assert "emotion.sample" in types(later, "b")


def test_a_neighbours_bad_frame_takes_no_face_from_the_others() -> None:
    """Their frames are analysed a second time then, and what was searched in vain is searched again."""
    alone, bench = Bench(), Bench()
    expected = alone.feed([*times("b", 10), ended("b", 2.0)])
    first, *others = times("b", 10)
    told = bench.feed([frame("a", 0.0, value=255), first])
    told += bench.feed([*others, ended("b", 2.0)])
    assert "track.started" in types(expected, "b")
    assert [event for event in told if event.camera_id == "b"] == expected


def test_a_face_is_classified_as_often_as_is_configured() -> None:
    bench = Bench()
    frames = [frame("a", number / 25, index=number) for number in range(50)]
    bench.feed(frames)
    # from 0.4 s on it is a track; every third frame is 8.3 a second
    assert bench.classifier.read == list(range(10, 50, 3))


def test_an_engine_that_cannot_work_stops_everything() -> None:
    with pytest.raises(EngineError):
        Bench().feed([frame("a", 0.0, value=254)])


def test_a_restart_ends_the_tracks_and_ids_go_on() -> None:
    bench = Bench()
    bench.feed(times("a", 5))
    again = bench.feed([frame("a", 1.0, discontinuity="pts_restarted"), *times("a", 5, 1.2)])
    assert types(again)[0] == "track.ended"
    started = [event for event in again if isinstance(event, TrackStarted)]
    assert [event.track_id for event in started] == [2]


def test_a_jump_is_told_as_a_gap_in_its_place() -> None:
    bench = Bench()
    bench.feed(times("a", 5))
    jumped = bench.feed([frame("a", 10.8, discontinuity="pts_jumped", skipped_s=10.0)])
    assert types(jumped)[:2] == ["gap", "track.ended"]
    gap = jumped[0]
    assert isinstance(gap, Gap)
    (missing,) = gap.ranges
    assert isinstance(missing, TimeRange)
    assert (missing.from_s, missing.to_s) == (pytest.approx(0.8), 10.8)


def test_a_tick_ends_the_tracks_of_a_camera_without_frames() -> None:
    bench = Bench()
    bench.feed(times("a", 5))
    assert types(bench.feed([tick("a", 1.0)])) == []
    assert types(bench.feed([tick("a", 5.0)]))[-1] == "track.ended"


def test_the_detector_gets_the_batches_it_likes() -> None:
    bench = Bench(best_batch=3)
    bench.feed([frame(f"c{number}") for number in range(7)])
    assert bench.detector.batches == [3, 3, 1]


def test_a_frame_never_overtakes_what_came_before_it() -> None:
    bench = Bench()
    bench.feed(times("a", 5))
    events = bench.feed([ended("a", 1.0, state="offline"), live("a", 3.0), *times("a", 4, 3.2)])
    assert types(events)[:3] == ["track.ended", "camera.status", "camera.status"]
    assert [event.track_id for event in events if isinstance(event, TrackStarted)] == [2]


def test_other_engines_take_over_between_two_batches_and_every_track_goes_on() -> None:
    bench = Bench()
    before = bench.feed([live("a"), *times("a", 6)])
    detector = FaceEverywhere()
    bench.pipeline.swap(replace(bench.parts, detector=detector, best_batch=2, engines={"face": "better"}))
    after = bench.feed([*times("a", 6, 1.2), live("a", 2.4), *times("b", 2, 2.4), ended("a", 2.6)])
    assert (bench.detector.batches, detector.batches) == ([1] * 6, [1, 1, 1, 1, 1, 2, 1])
    assert types(before).count("track.started") == 1
    assert types(after).count("track.started") == 0
    assert types(after).count("track.ended") == 1  # at the very end
    told = [event.engines for event in [*before, *after] if isinstance(event, CameraStatus) and event.status == "live"]
    assert told == [{"face": "e"}, {"face": "better"}]


def test_a_name_that_comes_again_after_its_last_word_begins_anew() -> None:
    """As when a camera is removed and added: nothing of the first is left, not even its quarantine."""
    bench = Bench()
    bench.feed([frame("a", 0.0, value=255)])
    assert bench.feed([live("a", 0.2), ended("a", 0.2, state="offline")]) == []
    assert bench.feed([ended("a", 0.4, state="failed")]) == []
    assert types(bench.feed([live("a"), *times("a", 4)])) == ["camera.status", "track.started"]
    bench.feed([ended("a", 1.0)])
    assert types(bench.feed([live("a"), *times("a", 4)])) == ["camera.status", "track.started"]
