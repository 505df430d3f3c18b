"""What every Detector promises, whatever finds the faces. An implementation gives `make` and `frames`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream.detectors.base import Detector
from stream.detectors.gaze import everything
from stream.records import Faces, Frame

Make = Callable[..., Detector]


def same(first: Faces, second: Faces) -> bool:
    """Bit for bit."""
    pairs = ((first.boxes, second.boxes), (first.landmarks, second.landmarks), (first.scores, second.scores))
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def search_all(detector: Detector, frames: Sequence[Frame]) -> list[Faces]:
    """The faces of whole pictures."""
    return detector.search(frames, [everything(frame) for frame in frames])


def read_only(frame: Frame) -> Frame:
    """The same frame with a small image that nobody may write to."""
    small = frame.small.copy()
    small.flags.writeable = False
    return replace(frame, small=small)


def dark(frame: Frame) -> Frame:
    """The same frame when the light is out."""
    luma = np.zeros_like(frame.luma)
    luma.flags.writeable = False
    return replace(frame, luma=luma, small=np.zeros_like(frame.small))


class DetectorContract:
    @pytest.fixture
    def make(self) -> Make:
        """`make(**settings of DetectorConfig)`: a detector."""
        raise NotImplementedError

    @pytest.fixture
    def frames(self) -> Sequence[Frame]:
        """At least three frames of at least two sizes: every one with upright faces, one with two or more."""
        raise NotImplementedError

    @pytest.fixture
    def detector(self, make: Make) -> Detector:
        return make()

    def test_there_is_something_to_find(self, detector: Detector, frames: Sequence[Frame]) -> None:
        found = [len(faces) for faces in search_all(detector, frames)]
        assert min(found) >= 1
        assert max(found) >= 2

    def test_each_frame_gets_its_own_answer_in_order(self, detector: Detector, frames: Sequence[Frame]) -> None:
        forward = search_all(detector, frames)
        backward = search_all(detector, list(reversed(frames)))
        assert len(forward) == len(frames)
        assert all(same(a, b) for a, b in zip(forward, reversed(backward), strict=True))
        assert any(not same(forward[0], other) for other in forward[1:])

    def test_together_is_as_one_by_one(self, detector: Detector, frames: Sequence[Frame]) -> None:
        many = [*frames, *frames, *frames]
        alone = [search_all(detector, [frame])[0] for frame in many]
        assert all(same(a, b) for a, b in zip(search_all(detector, many), alone, strict=True))

    def test_no_frames_no_answers(self, detector: Detector) -> None:
        assert search_all(detector, []) == []

    def test_an_empty_picture_has_no_faces(self, detector: Detector, frames: Sequence[Frame]) -> None:
        empty = [replace(frame, small=np.zeros_like(frame.small)) for frame in frames]
        for faces in search_all(detector, empty):
            assert len(faces) == 0
            assert (faces.boxes.shape, faces.landmarks.shape, faces.scores.shape) == ((0, 4), (0, 5, 2), (0,))

    def test_faces_are_float32_with_the_best_first(self, detector: Detector, frames: Sequence[Frame]) -> None:
        for faces in search_all(detector, frames):
            count = len(faces)
            assert (faces.boxes.shape, faces.landmarks.shape, faces.scores.shape) == (
                (count, 4),
                (count, 5, 2),
                (count,),
            )
            assert {faces.boxes.dtype, faces.landmarks.dtype, faces.scores.dtype} == {np.dtype(np.float32)}
            assert (np.diff(faces.scores) <= 0).all()
            assert ((faces.scores > 0) & (faces.scores <= 1)).all()

    def test_boxes_lie_within_the_full_frame(self, detector: Detector, frames: Sequence[Frame]) -> None:
        for frame, faces in zip(frames, search_all(detector, frames), strict=True):
            limits = np.array([frame.letterbox.width_px, frame.letterbox.height_px] * 2)
            assert (faces.boxes >= 0).all()
            assert (faces.boxes <= limits).all()
            assert (faces.boxes[:, 2:] > faces.boxes[:, :2]).all()
            assert np.isfinite(faces.landmarks).all()

    def test_landmarks_are_in_the_order_of_the_picture(self, detector: Detector, frames: Sequence[Frame]) -> None:
        for faces in search_all(detector, frames):
            for left_eye, right_eye, nose, left_mouth, right_mouth in faces.landmarks:
                assert left_eye[0] < right_eye[0]
                assert left_mouth[0] < right_mouth[0]
                assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])

    def test_a_frame_of_another_size_scales_its_faces(self, detector: Detector, frames: Sequence[Frame]) -> None:
        frame = frames[0]
        seen = frame.letterbox
        larger = replace(
            seen,
            width_px=seen.width_px * 3,
            height_px=seen.height_px * 3,
            scale_x=seen.scale_x / 3,
            scale_y=seen.scale_y / 3,
        )
        faces, grown = search_all(detector, [frame, replace(frame, letterbox=larger)])
        np.testing.assert_allclose(grown.boxes, faces.boxes * 3, rtol=1e-5, atol=1e-3)
        # boxes are edges and landmarks pixel centres
        np.testing.assert_allclose(grown.landmarks, faces.landmarks * 3 + 1, rtol=1e-5, atol=1e-3)

    def test_frames_are_only_read(self, detector: Detector, frames: Sequence[Frame]) -> None:
        locked = [read_only(frame) for frame in frames]
        before = [frame.small.tobytes() for frame in locked]
        found = search_all(detector, locked)
        for faces in found:
            for values in (faces.boxes, faces.landmarks, faces.scores):
                values[...] = 0
        assert [frame.small.tobytes() for frame in locked] == before
        assert all(same(a, b) for a, b in zip(search_all(detector, frames), search_all(detector, locked), strict=True))

    def test_areas_are_read_as_pictures_of_their_own(self, detector: Detector, frames: Sequence[Frame]) -> None:
        whole = search_all(detector, frames)
        rows = [frame.small.shape[0] // 64 * 32 for frame in frames]
        halves = [
            [(0, 0, frame.small.shape[1], row), (0, row, frame.small.shape[1], frame.small.shape[0])]
            for frame, row in zip(frames, rows, strict=True)
        ]
        for frame, of_frame, faces in zip(frames, halves, whole, strict=True):
            upper, lower = (detector.search([frame], [[area]])[0] for area in of_frame)
            (both,) = detector.search([frame], [of_frame])
            told = {box.tobytes() for part in (upper, lower) for box in part.boxes}
            assert {box.tobytes() for box in both.boxes} <= told
            assert len(both) <= len(upper) + len(lower)
            assert len(both) >= 1 or not len(faces)
            assert (np.diff(both.scores) <= 0).all()

    def test_no_areas_no_faces(self, detector: Detector, frames: Sequence[Frame]) -> None:
        only_the_last = [[] for _ in frames[1:]] + [everything(frames[-1])]
        *none, last = detector.search(frames, only_the_last)
        assert [len(faces) for faces in none] == [0] * len(none)
        assert same(last, search_all(detector, frames[-1:])[0])

    def test_a_face_that_is_where_it_was_is_followed(self, detector: Detector, frames: Sequence[Frame]) -> None:
        whole = search_all(detector, frames)
        followed = detector.follow(frames, [faces.boxes + np.float32(2) for faces in whole])
        if not detector.follows:
            assert [len(faces) for faces in followed] == [0] * len(frames)
            return
        for faces, again in zip(whole, followed, strict=True):
            assert len(again) == len(faces)
            assert (np.diff(again.scores) <= 0).all()
            for box, points in zip(again.boxes, again.landmarks, strict=True):
                row = int(np.abs(faces.boxes - box).max(axis=1).argmin())
                width = faces.boxes[row, 2] - faces.boxes[row, 0]
                np.testing.assert_allclose(box, faces.boxes[row], atol=0.2 * width)
                np.testing.assert_allclose(points, faces.landmarks[row], atol=0.1 * width)

    def test_followed_together_is_as_one_by_one(self, detector: Detector, frames: Sequence[Frame]) -> None:
        many = [*frames, *frames, *frames]
        expected = [faces.boxes for faces in search_all(detector, many)]
        alone = [detector.follow([frame], [boxes])[0] for frame, boxes in zip(many, expected, strict=True)]
        assert all(same(a, b) for a, b in zip(detector.follow(many, expected), alone, strict=True))

    def test_where_no_face_is_expected_or_is_any_more_none_is_followed(
        self, detector: Detector, frames: Sequence[Frame]
    ) -> None:
        expected = [faces.boxes for faces in search_all(detector, frames)]
        assert detector.follow([], []) == []
        nobody = [boxes[:0] for boxes in expected]
        for faces in detector.follow(frames, nobody):
            assert (faces.boxes.shape, faces.landmarks.shape, faces.scores.shape) == ((0, 4), (0, 5, 2), (0,))
        assert [len(faces) for faces in detector.follow([dark(frame) for frame in frames], expected)] == [0] * len(
            frames
        )

    def test_never_more_faces_than_places(self, detector: Detector, frames: Sequence[Frame]) -> None:
        twice = [np.repeat(faces.boxes[:1], 3, axis=0) for faces in search_all(detector, frames)]
        for faces in detector.follow(frames, twice):
            assert len(faces) == int(detector.follows)

    @pytest.mark.parametrize("settings", [{"max_faces": 1}, {"score_threshold": 1.0}, {"score_threshold": 0.0}])
    def test_settings_are_kept(self, make: Make, frames: Sequence[Frame], settings: dict[str, Any]) -> None:
        plain, other = make(), make(**settings)
        for usual, faces in zip(search_all(plain, frames), search_all(other, frames), strict=True):
            if "max_faces" in settings:
                assert faces.scores.tolist() == usual.scores[:1].tolist()
            else:
                assert (faces.scores >= settings["score_threshold"]).all()
                assert len(faces) <= 50
