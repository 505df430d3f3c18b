"""The fake's answers are arithmetic that a test can do in its head."""

from __future__ import annotations

import numpy as np
import pytest

from engines.backends.fake import LOGIT_SPAN, FakeEngine
from engines.preprocess import to_batch
from stream.config import DetectorConfig
from stream.detectors import make_detector
from tests.contracts.detector import search_all
from tests.detectors.pictures import frame_of, squares
from tests.engines.networks import emotion_spec, face_spec


@pytest.mark.parametrize(("x", "y", "side"), [(64, 64, 32), (50, 77, 32), (101, 40, 61), (200, 3, 24), (0, 128, 64)])
def test_a_light_patch_is_a_face_and_its_box_the_patch(x: int, y: int, side: int) -> None:
    detector = make_detector(DetectorConfig(), FakeEngine(face_spec()))
    (faces,) = search_all(detector, [frame_of(squares(320, 192, (x, y, side, 255)))])
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes[0], [x, y, x + side, y + side], atol=0.01)
    np.testing.assert_allclose(faces.landmarks[0, 2], [x + 0.5 * side - 0.5, y + 0.6 * side - 0.5], atol=0.01)
    assert faces.scores[0] == pytest.approx(1.0)


def test_its_brightness_is_the_score() -> None:
    detector = make_detector(DetectorConfig(score_threshold=0.1), FakeEngine(face_spec()))
    (faces,) = search_all(detector, [frame_of(squares(320, 192, (32, 32, 40, 51), (192, 96, 40, 204)))])
    assert faces.scores.tolist() == pytest.approx([0.8, 0.2])


def test_each_label_is_a_strip_of_the_crop() -> None:
    crop = np.zeros((16, 16), np.uint8)
    crop[-5:] = 255  # the last of three strips
    engine = FakeEngine(emotion_spec())
    (logits,) = engine.infer(to_batch([crop], engine.spec))["logits"]
    np.testing.assert_allclose(logits, [0, 0, LOGIT_SPAN], atol=1e-5)
    assert engine.batches == [1]
