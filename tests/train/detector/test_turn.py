"""Faces turned to the side: still a picture of the same size, the same for the same state, the same when mirrored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.portrait import portrait
from train.detector.turn import turned

Face = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]  # picture, box, landmarks
HALF = 0.5


@pytest.fixture(scope="module")
def face() -> Face:
    """The portrait at half its size, 256 wide and 300 high; the nose stands to the right of the eyes' middle."""
    picture = cv2.resize(portrait(), None, fx=HALF, fy=HALF, interpolation=cv2.INTER_AREA).astype(np.uint8)
    box = np.float32([88, 62, 178, 168])
    landmarks = np.float32([[112, 105], [152, 105], [139, 128], [116, 145], [150, 145]])
    return picture, box, landmarks


def mirrored(face: Face) -> Face:
    picture, box, landmarks = face
    width = picture.shape[1]
    points = (landmarks * [-1, 1] + [width - 1, 0])[[1, 0, 2, 4, 3]].astype(np.float32)
    return np.ascontiguousarray(picture[:, ::-1]), np.float32([width - box[2], box[1], width - box[0], box[3]]), points


@pytest.mark.parametrize("size", [(300, 256), (200, 256), (300, 190)])
def test_a_turned_photo_has_the_size_of_the_photo(face: Face, size: tuple[int, int]) -> None:
    picture, box, landmarks = face
    part = np.ascontiguousarray(picture[: size[0], : size[1]])
    kept = part.copy()
    part.flags.writeable = False
    result = turned(part, box, landmarks, np.random.default_rng(0))
    assert result.shape == (*size, 3)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(part, kept)


def test_the_same_state_gives_the_same_picture(face: Face) -> None:
    first, again = (turned(*face, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, turned(*face, np.random.default_rng(6)))


@pytest.mark.parametrize("seed", range(3))
def test_the_mirrored_photo_is_turned_to_the_other_side(face: Face, seed: int) -> None:
    result = turned(*face, np.random.default_rng(seed))
    other = turned(*mirrored(face), np.random.default_rng(seed))
    np.testing.assert_array_equal(other, result[:, ::-1])


def test_a_frontal_face_is_turned_to_either_side(face: Face) -> None:
    picture, box, landmarks = face
    frontal = landmarks.copy()
    frontal[2, 0] = frontal[:2, 0].mean()
    one_way = [turned(picture, box, landmarks, np.random.default_rng(seed)) for seed in range(8)]
    assert len({image.tobytes() for image in one_way}) == 8
    either = [turned(picture, box, frontal, np.random.default_rng(seed)) for seed in range(8)]
    # the half of the head that is still seen: it keeps the photo's own pixels nearer by than the other
    sides = {bool(_likeness(image, picture, box, 0) > _likeness(image, picture, box, 1)) for image in either}
    assert sides == {False, True}


def _likeness(image: NDArray[np.uint8], picture: NDArray[np.uint8], box: NDArray[np.float32], half: int) -> float:
    """How alike the left (0) or right (1) half of the box is in both, 0 at best."""
    left, top, right, bottom = box.astype(int).tolist()
    middle = (left + right) // 2
    low, high = (left, middle) if half == 0 else (middle, right)
    gap = image[top:bottom, low:high].astype(float) - picture[top:bottom, low:high]
    return -float(np.abs(gap).mean())


def test_eyes_come_nearer_to_each_other(face: Face) -> None:
    """What differs when the eyes are painted is where they are seen; they are 40 pixels apart from the front."""
    picture, box, landmarks = face
    landmarks = np.float32([[113, 105], [153, 105], [133, 128], [116, 145], [150, 145]])
    painted = picture.copy()
    for x, y in landmarks[:2].astype(int).tolist():
        cv2.circle(painted, (x, y), 2, (0, 255, 0), -1)
    distances = []
    for seed in range(8):
        plain, eyes = (turned(image, box, landmarks, np.random.default_rng(seed)) for image in (picture, painted))
        columns = np.flatnonzero((plain != eyes).any(axis=(0, 2)))
        gaps = np.diff(columns)
        assert len(columns) > 0
        assert gaps.max(initial=1) < 40  # 36 from edge to edge from the front
        distances.append(int(columns.max() - columns.min()))
    assert max(distances) < 44
    assert np.median(distances) < 38
