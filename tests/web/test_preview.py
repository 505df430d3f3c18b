"""Pictures on the page: none without a viewer, no pixel of the camera with `boxes`, no face with `blurred`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.records import Faces, Frame, Letterbox, Tracks
from stream.web.preview import MOST_VIEWERS, WIDTH_PX, Preview
from tests.makers import faces, moment

NOBODY = np.zeros((0, 4), np.float32)
FACE = (400.0, 200.0, 520.0, 360.0)


def noise(index: int = 0, media_time_s: float = 0.0) -> Frame:
    """1280x720 of fine stripes: whatever is hidden loses them."""
    luma = np.tile(np.array([0, 0, 255, 255], np.uint8), (720, 320))
    luma.flags.writeable = False
    small = np.zeros((64, 96), np.uint8)
    return Frame(
        **moment("cam1", media_time_s),
        index=index,
        luma=luma,
        full_range=True,
        small=small,
        letterbox=Letterbox(1280, 720, 0.075, 0.075),
    )


def tracked(*boxes: tuple[float, float, float, float]) -> Tracks:
    return Tracks(tuple(range(1, len(boxes) + 1)), faces(*boxes) if boxes else Faces())


def shown(preview: Preview) -> NDArray[np.uint8]:
    drawn = preview.picture("cam1", -1)
    assert drawn is not None
    picture = cv2.imdecode(np.frombuffer(drawn[1], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def contrast(picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> float:
    """How much neighbouring pixels differ inside a box of the full frame, its outline left out."""
    left, top, right, bottom = (int(edge * WIDTH_PX / 1280) for edge in box)
    inside = picture[top + 8 : bottom - 4, left + 4 : right - 4].astype(np.float32)
    return float(np.abs(np.diff(inside, axis=1)).mean())


def watched(mode: str) -> Preview:
    preview = Preview(mode)
    assert preview.join("cam1")
    return preview


def test_without_a_viewer_nothing_is_kept() -> None:
    preview = Preview("full")
    preview.offer(noise(), NOBODY, Tracks())
    assert preview.join("cam1")
    assert preview.picture("cam1", -1) is None


def test_the_last_viewer_takes_the_pictures_along() -> None:
    preview = watched("full")
    assert preview.join("cam1")
    preview.offer(noise(), NOBODY, Tracks())
    preview.leave("cam1")
    assert preview.picture("cam1", -1) is not None
    preview.leave("cam1")
    assert preview.picture("cam1", -1) is None


def test_only_boxes_and_no_pixel() -> None:
    preview = watched("boxes")
    preview.offer(noise(), NOBODY, tracked(FACE))
    picture = shown(preview)
    assert picture.shape == (360, WIDTH_PX)
    assert picture.max() > 200  # the box itself
    outside = picture.copy()
    outside[80:190, 190:270] = 0
    assert outside.max() < 16


def test_faces_are_hidden_and_the_rest_is_seen() -> None:
    preview = watched("blurred")
    unconfirmed = (800.0, 100.0, 920.0, 260.0)
    preview.offer(noise(), np.array([unconfirmed], np.float32), tracked(FACE))
    picture = shown(preview)
    for box in (FACE, unconfirmed):
        assert contrast(picture, box) < 12
    assert contrast(picture, (20, 400, 140, 560)) > 60


def test_a_face_that_was_just_lost_stays_hidden() -> None:
    preview = watched("blurred")
    preview.offer(noise(0, 0.0), NOBODY, tracked(FACE))
    preview.offer(noise(1, 0.8), NOBODY, Tracks())
    assert contrast(shown(preview), FACE) < 12
    preview.offer(noise(2, 2.0), NOBODY, Tracks())
    assert contrast(shown(preview), FACE) > 60


def test_a_clock_that_begins_again_hides_no_old_places() -> None:
    preview = watched("blurred")
    preview.offer(noise(0, 50.0), NOBODY, tracked(FACE))
    preview.offer(noise(1, 0.0), NOBODY, Tracks())
    assert contrast(shown(preview), FACE) > 60


@pytest.mark.parametrize(
    "box", [(-50.0, -50.0, 30.0, 30.0), (1270.0, 700.0, 1400.0, 900.0), (5.0, 5.0, 5.0, 5.0), (2000.0, 0, 2100, 50)]
)
def test_boxes_at_and_beyond_the_edge(box: tuple[float, float, float, float]) -> None:
    preview = watched("blurred")
    preview.offer(noise(), NOBODY, tracked(box))
    assert shown(preview).shape == (360, WIDTH_PX)


def test_the_whole_picture_and_the_same_one_once() -> None:
    preview = watched("full")
    preview.offer(noise(7), NOBODY, tracked(FACE))
    assert contrast(shown(preview), FACE) > 60
    drawn = preview.picture("cam1", -1)
    assert drawn is not None
    assert drawn == preview.picture("cam1", 3)
    assert preview.picture("cam1", drawn[0]) is None


def test_viewers_are_counted() -> None:
    preview = Preview("full")
    assert all(preview.join("cam1") for _ in range(MOST_VIEWERS))
    assert not preview.join("cam2")
    preview.leave("cam1")
    assert preview.join("cam2")
