"""The crop template, measured with the real detector on real images where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.load import load_engine
from engines.store import find_model
from train.data import load_fer2013
from train.template import measure


@pytest.mark.shared
@pytest.mark.parametrize("name", ["face", "yunet"])
def test_landmarks_come_left_eye_first_and_near_the_template(shared: Path, name: str) -> None:
    images = load_fer2013(shared / "data/fer2013.npz").training.images[:40]
    models = {"EMOSTREAM_MODELS": str(shared / "models")}
    detector = load_engine(find_model(name, environment=models, download=False))
    found = measure(images, detector)

    assert found.images == 80
    assert found.found >= 60
    expected = [(15.5, 18.5), (32.0, 18.0), (24.0, 28.0), (17.5, 35.5), (31.0, 35.0)]
    np.testing.assert_allclose(found.landmarks, expected, atol=2.5)
