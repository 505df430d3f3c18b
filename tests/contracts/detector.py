"""What every Detector promises, whatever finds the faces. An implementation gives `make` and `frames`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream.detectors.base import Detector
from stream.records import Faces, Frame

Make = Callable[..., Detector]


def same(first: Faces, second: Faces) -> bool:
    """Bit for bit."""
    pairs = ((first.boxes, second.boxes), (first.landmarks, second.landmarks), (first.scores, second.scores))
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def read_only(frame: Frame) -> Frame:
    """The same frame with a small image that nobody may write to."""
    small = frame.small.copy()
    small.flags.writeable = False
    return replace(frame, small=small)


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
        found = [len(faces) for faces in detector.detect(frames)]
        assert min(found) >= 1
        assert max(found) >= 2

    def test_each_frame_gets_its_own_answer_in_order(self, detector: Detector, frames: Sequence[Frame]) -> None:
        forward = detector.detect(frames)
        backward = detector.detect(list(reversed(frames)))
        assert len(forward) == len(frames)
        assert all(same(a, b) for a, b in zip(forward, reversed(backward), strict=True))
        assert any(not same(forward[0], other) for other in forward[1:])

    def test_together_is_as_one_by_one(self, detector: Detector, frames: Sequence[Frame]) -> None:
        many = [*frames, *frames, *frames]
        alone = [detector.detect([frame])[0] for frame in many]
        assert all(same(a, b) for a, b in zip(detector.detect(many), alone, strict=True))

    def test_no_frames_no_answers(self, detector: Detector) -> None:
        assert detector.detect([]) == []

    def test_an_empty_picture_has_no_faces(self, detector: Detector, frames: Sequence[Frame]) -> None:
        empty = [replace(frame, small=np.zeros_like(frame.small)) for frame in frames]
        for faces in detector.detect(empty):
            assert len(faces) == 0
            assert (faces.boxes.shape, faces.landmarks.shape, faces.scores.shape) == ((0, 4), (0, 5, 2), (0,))

    def test_faces_are_float32_with_the_best_first(self, detector: Detector, frames: Sequence[Frame]) -> None:
        for faces in detector.detect(frames):
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
        for frame, faces in zip(frames, detector.detect(frames), strict=True):
            limits = np.array([frame.letterbox.width_px, frame.letterbox.height_px] * 2)
            assert (faces.boxes >= 0).all()
            assert (faces.boxes <= limits).all()
            assert (faces.boxes[:, 2:] > faces.boxes[:, :2]).all()
            assert np.isfinite(faces.landmarks).all()

    def test_landmarks_are_in_the_order_of_the_picture(self, detector: Detector, frames: Sequence[Frame]) -> None:
        for faces in detector.detect(frames):
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
        faces, grown = detector.detect([frame, replace(frame, letterbox=larger)])
        np.testing.assert_allclose(grown.boxes, faces.boxes * 3, rtol=1e-5, atol=1e-3)
        # boxes are edges and landmarks pixel centres
        np.testing.assert_allclose(grown.landmarks, faces.landmarks * 3 + 1, rtol=1e-5, atol=1e-3)

    def test_frames_are_only_read(self, detector: Detector, frames: Sequence[Frame]) -> None:
        locked = [read_only(frame) for frame in frames]
        before = [frame.small.tobytes() for frame in locked]
        found = detector.detect(locked)
        for faces in found:
            for values in (faces.boxes, faces.landmarks, faces.scores):
                values[...] = 0
        assert [frame.small.tobytes() for frame in locked] == before
        assert all(same(a, b) for a, b in zip(detector.detect(frames), detector.detect(locked), strict=True))

    @pytest.mark.parametrize("settings", [{"max_faces": 1}, {"score_threshold": 1.0}, {"score_threshold": 0.0}])
    def test_settings_are_kept(self, make: Make, frames: Sequence[Frame], settings: dict[str, Any]) -> None:
        plain, other = make(), make(**settings)
        for usual, faces in zip(plain.detect(frames), other.detect(frames), strict=True):
            if "max_faces" in settings:
                assert faces.scores.tolist() == usual.scores[:1].tolist()
            else:
                assert (faces.scores >= settings["score_threshold"]).all()
                assert len(faces) <= 50
