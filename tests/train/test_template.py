"""The crop template: mirror symmetry, and the measure on the real detector and images where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.data import load_fer2013
from train.template import measure, symmetric


def test_symmetric_lies_between_a_template_and_its_mirror_image() -> None:
    landmarks = np.array([[15.0, 19.0], [31.0, 18.0], [24.0, 28.0], [17.0, 36.0], [32.0, 35.0]])
    made = symmetric(landmarks, width=48)

    assert made[0].tolist() == [15.5, 18.5]
    np.testing.assert_allclose(made[[1, 0, 2, 4, 3]] * [-1, 1] + [47, 0], made)  # its own mirror image


@pytest.mark.shared
def test_landmarks_come_left_eye_first_and_near_the_template(shared: Path) -> None:
    images = load_fer2013(shared / "data/fer2013.npz").training.images[:40]
    found = measure(images, shared / "models/yunet/yunet_n_dynamic.onnx")

    assert found.found >= 30
    expected = [(15.5, 18.5), (32.0, 18.0), (24.0, 28.0), (17.5, 35.5), (31.0, 35.0)]
    np.testing.assert_allclose(found.landmarks, expected, atol=2.5)
