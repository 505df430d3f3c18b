"""Followed faces at their places, new ones where they may have come from; the detector finds what a test says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.fake import FakeEngine
from engines.base import Outputs
from stream.assembly import assemble
from stream.config import Config, DetectorConfig, TrackingConfig
from stream.detectors.attention import find
from stream.detectors.gaze import Area, Boxes, Gaze
from stream.records import Faces, Frame
from stream.tracking import Tracker
from tests.detectors.pictures import frame_of, squares
from tests.detectors.test_gaze import ALL, NOBODY, boxes, plain, seen
from tests.engines.networks import emotion_spec, face_spec
from tests.makers import faces

Box = tuple[float, float, float, float]

HERE, THERE = (40.0, 30.0, 60.0, 50.0), (200.0, 100.0, 220.0, 120.0)
SHADOW = (100.0, 60.0, 120.0, 80.0)  # what only the edge of an area shows
STIRRED = plain((192, 96, 224, 128))  # around THERE


class Scene:
    """A Detector: `at` are the faces that windows and the whole picture show, `in_areas` those that areas show."""

    follows = True
    most = 3

    def __init__(self, *at: Box, in_areas: Sequence[Box] = (), hidden: Sequence[Box] = ()) -> None:
        self.at, self.in_areas, self.hidden = at, in_areas, hidden  # `hidden` from windows alone
        self.searched: list[list[Area]] = []  # of each frame with areas

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        self.searched += [list(of_frame) for of_frame in areas if of_frame]
        return [
            faces(*(self.at if of_frame == ALL else self.in_areas if of_frame else ()), score=0.8) for of_frame in areas
        ]

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        return [
            faces(*(box for box in self.at if box not in self.hidden and _is_near(box, of_frame)), score=0.9)
            for of_frame in expected
        ]


def _is_near(box: Box, expected: Boxes) -> bool:
    return any(np.abs(row - np.array(box)).max() < 10 for row in expected)


def looked(picture: NDArray[np.uint8] | None = None) -> Gaze:
    """One that has searched all of a plain picture at 0 s."""
    gaze = Gaze(DetectorConfig(scan_hz=2.0, idle_scan_s=100.0), 32)
    gaze.areas(seen(plain() if picture is None else picture, 0.0), NOBODY, NOBODY)
    return gaze


def found(scene: Scene, gaze: Gaze, frame: Frame, *expected: Box) -> list[list[float]]:
    (told,) = find(scene, [frame], [gaze], [boxes(*expected)])
    assert (np.diff(told.scores) <= 0).all()
    return told.boxes.tolist()


def test_who_is_followed_costs_no_search() -> None:
    scene = Scene(HERE)
    assert found(scene, looked(), seen(plain(), 1.0), HERE) == [list(HERE)]
    assert scene.searched == []


def test_a_hint_in_an_area_leads_to_the_whole_picture() -> None:
    scene = Scene(HERE, THERE, in_areas=[THERE])
    assert found(scene, looked(), seen(STIRRED, 1.0), HERE) == [list(HERE), list(THERE)]
    assert scene.searched == [[(160, 64, 256, 160)], ALL]


def test_what_only_an_areas_edge_shows_is_no_face() -> None:
    scene = Scene(HERE, in_areas=[SHADOW])
    gaze = looked()
    assert found(scene, gaze, seen(STIRRED, 1.0), HERE) == [list(HERE)]
    assert found(scene, gaze, seen(STIRRED, 3.0), HERE) == [list(HERE)]  # and is not looked at again
    assert len(scene.searched) == 2


def test_an_area_without_anybody_leads_nowhere() -> None:
    scene = Scene(HERE)
    assert found(scene, looked(), seen(STIRRED, 1.0), HERE) == [list(HERE)]
    assert scene.searched == [[(160, 64, 256, 160)]]


def test_a_followed_face_that_an_area_shows_too_is_told_once_and_by_its_window() -> None:
    shifted = tuple(value + 4 for value in THERE)
    scene = Scene(THERE, in_areas=[shifted])
    frame = seen(plain((150, 96, 182, 128)), 1.0)
    assert found(scene, looked(), frame, THERE) == [list(THERE)]
    assert ALL not in scene.searched


def test_a_face_that_its_window_misses_is_told_by_the_area_around_it_without_all_of_the_picture() -> None:
    scene = Scene(THERE, in_areas=[THERE], hidden=[THERE])
    assert found(scene, looked(), seen(plain(), 1.0), THERE) == [list(THERE)]
    assert len(scene.searched) == 1
    assert ALL not in scene.searched


def test_a_missing_face_that_is_found_in_an_area_keeps_its_track() -> None:
    scene, gaze, tracker = (
        Scene(THERE),
        Gaze(DetectorConfig(scan_hz=5.0, idle_scan_s=100.0), 32),
        Tracker(TrackingConfig()),
    )
    ids = set()
    for number in range(20):
        if number == 10:
            scene.in_areas = scene.hidden = [THERE]
        frame = seen(plain(), number / 5)
        (told,) = find(scene, [frame], [gaze], [tracker.expected()])
        tracks = tracker.update(frame.media_time_s, told)
        ids.update(tracks.ids)
        assert len(tracks) == (number >= 2)
        assert tracks.ended == ()
    assert ids == {1}


def test_frames_of_several_cameras_are_each_their_own() -> None:
    scene, gazes = Scene(HERE, THERE, in_areas=[THERE]), [looked(), looked(), looked()]
    frames = [seen(plain(), 1.0), seen(STIRRED, 1.0), seen(plain(), 1.0)]
    told = find(scene, frames, gazes, [boxes(HERE), NOBODY, NOBODY])
    assert [each.boxes.tolist() for each in told] == [[list(HERE)], [list(HERE), list(THERE)], []]
    assert scene.searched == [[(160, 64, 256, 160)], ALL]


def test_no_more_faces_than_the_detector_may_tell() -> None:
    scene = Scene(HERE, THERE, (0, 0, 20, 20), (300, 170, 320, 190))
    told = found(scene, Gaze(DetectorConfig(), 32), seen(plain(), 0.0), HERE, THERE)
    assert told == [list(HERE), list(THERE), [0, 0, 20, 20]]  # followed ones have the better scores here


@pytest.mark.parametrize("color", ["bgr", "luma"])
def test_a_detector_that_cannot_follow_searches_all_of_every_frame(color: str) -> None:
    channels = 3 if color == "bgr" else 1
    spec = face_spec(color=color, input_shape=(channels, 0, 0), mean=(0.0,) * channels, std=(1 / 255,) * channels)
    shapes = []

    class Watching(FakeEngine):
        def infer(self, batch: np.ndarray) -> Outputs:
            shapes.append(batch.shape[2:])
            return super().infer(batch)

    parts = assemble(Config(), Watching(spec), FakeEngine(emotion_spec()))
    gaze, tracker = parts.new_gaze(), parts.new_tracker()
    for number in range(5):
        frame = frame_of(squares(320, 192, (160, 64, 32, 255)), grey=color == "luma", media_time_s=number / 5)
        (told,) = find(parts.detector, [frame], [gaze], [tracker.expected()])
        tracker.update(frame.media_time_s, told)
        assert len(told) == 1
    # all of each frame; and else all of the first frame, then a window in each
    assert shapes == ([(192, 320)] * 5 if color == "bgr" else [(192, 320)] + [(96, 96)] * 4)


def test_windows_that_are_no_whole_strides_are_not_followed() -> None:
    spec = face_spec(color="luma", input_shape=(1, 0, 0), mean=(0.0,), std=(1 / 255,), stride=64)
    assert not assemble(Config(), FakeEngine(spec), FakeEngine(emotion_spec())).detector.follows
