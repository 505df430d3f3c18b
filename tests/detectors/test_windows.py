"""Windows: where they are cut, what they show, and that what is found in them comes back to its place in the frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.decoding.base import Candidates
from stream.detectors.windows import FACE_PX, MAX_ENLARGE, WINDOW_PX, Window, pick, window
from stream.records import Frame
from tests.detectors.pictures import frame_of

WIDTH, HEIGHT = 960, 540
PLACES = [  # centre x, centre y, longer side: pixels of the frame
    (480, 270, 8),  # nothing more to be seen of it
    (200, 300, 20),
    (600, 200, 40),
    (500, 260, 84),  # of luma; a little larger, it is cut from the small picture
    (500, 260, 84.1),
    (400, 280, 300),
    (480, 270, 530),  # as high as the picture: its window is higher
    (6, 5, 60),
    (955, 537, 60),
    (955, 4, 200),
]


def slopes(width: int = WIDTH, height: int = HEIGHT, **other: object) -> Frame:
    """Grey that grows to the right and downwards by even steps, so that every level says where it is."""
    x, y = np.arange(width) / width, np.arange(height) / height
    grey = np.round(40 + 100 * x[None, :] + 70 * y[:, None]).astype(np.uint8)
    return frame_of(np.repeat(grey[..., None], 3, axis=2), grey=True, **other)


def box_at(x: float, y: float, longer: float) -> list[float]:
    """A box three quarters as wide as it is high."""
    return [x - 0.375 * longer, y - longer / 2, x + 0.375 * longer, y + longer / 2]


def to_window(seen: Window, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2) edges, pixels of the frame -> pixels of the window."""
    return (points - np.array(seen.corner)) / np.array(seen.scale)


def one(box: NDArray[np.float64], score: float = 0.9) -> Candidates:
    """A candidate at this box of a window, its landmarks in the middle."""
    landmarks = np.tile((box[:2] + box[2:]) / 2, (1, 5, 1)).astype(np.float32)
    return Candidates(box[None].astype(np.float32), landmarks, np.array([score], np.float32))


def in_the_first(count: int) -> NDArray[np.intp]:
    return np.zeros(count, np.intp)


@pytest.mark.parametrize(("x", "y", "longer"), PLACES)
def test_what_is_found_comes_back_to_where_it_is(x: float, y: float, longer: float) -> None:
    expected = box_at(x, y, longer)
    seen = window(slopes(), expected)
    moved = np.array(expected) + np.array([0.1, -0.05, 0.12, 0.02]) * longer
    in_window = to_window(seen, moved.reshape(2, 2)).ravel()
    found, numbers = pick(one(in_window), in_the_first(1), [seen])
    assert numbers.tolist() == [0]
    np.testing.assert_allclose(found.boxes[0], moved, atol=1e-3)
    middle = to_window(seen, np.array([x, y]))  # an edge; the pixel centre half a pixel up and left is the same place
    there = replace(one(in_window), landmarks=np.tile(middle - 0.5, (1, 5, 1)).astype(np.float32))
    np.testing.assert_allclose(
        pick(there, in_the_first(1), [seen])[0].landmarks[0], np.tile([x - 0.5, y - 0.5], (5, 1)), atol=1e-3
    )


@pytest.mark.parametrize(("x", "y", "longer"), PLACES)
def test_a_window_shows_what_its_numbers_say(x: float, y: float, longer: float) -> None:
    frame = slopes()
    seen = window(frame, box_at(x, y, longer))
    assert (seen.pixels.shape, seen.pixels.dtype) == ((WINDOW_PX, WINDOW_PX), np.uint8)
    rows, columns = np.indices(seen.pixels.shape)
    across = seen.corner[0] + (columns + 0.5) * seen.scale[0] - 0.5
    down = seen.corner[1] + (rows + 0.5) * seen.scale[1] - 0.5
    margin = np.array(seen.scale) * 2
    inside = (across > 0) & (across < WIDTH - 1 - margin[0]) & (down > 0) & (down < HEIGHT - 1 - margin[1])
    wanted = 40 + 100 * across / WIDTH + 70 * down / HEIGHT
    np.testing.assert_allclose(seen.pixels[inside], wanted[inside], atol=1.6)
    assert inside.mean() > 0.4


@pytest.mark.parametrize(("x", "y", "longer"), PLACES)
def test_every_face_is_as_large_unless_there_is_no_more_to_be_seen(x: float, y: float, longer: float) -> None:
    seen = window(slopes(), box_at(x, y, longer))
    side = longer / seen.scale[1]
    assert side == pytest.approx(min(FACE_PX, MAX_ENLARGE * longer), rel=0.02)
    middle = to_window(seen, np.array([x, y]))
    np.testing.assert_allclose(seen.centre, middle, atol=1e-3)
    assert seen.reach == pytest.approx(side / 2, rel=1e-3)


def test_a_window_stays_in_the_picture_where_it_fits() -> None:
    for x, y, longer in PLACES:
        seen = window(slopes(), box_at(x, y, longer))
        reaches = np.array(seen.corner) + np.array(seen.scale) * WINDOW_PX
        assert min(seen.corner) >= 0
        assert reaches[0] <= WIDTH + 1e-3
        assert reaches[1] <= HEIGHT + 1e-3 or seen.corner[1] == 0


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 200), (7, 5)])
def test_around_a_picture_smaller_than_its_window_is_black(width: int, height: int) -> None:
    frame = slopes(width, height)
    box = box_at(width / 2, height / 2, 0.8 * min(width, height))
    seen = window(frame, box)
    assert seen.pixels[0, 0] >= 40
    reaches = np.array(seen.corner) + np.array(seen.scale) * WINDOW_PX
    if reaches[0] > frame.small.shape[1] + 1:
        assert seen.pixels[:, -1].max() == 0
    found, _ = pick(one(to_window(seen, np.array(box).reshape(2, 2)).ravel()), in_the_first(1), [seen])
    np.testing.assert_allclose(found.boxes[0], box, atol=1e-3)


def test_limited_range_is_expanded_in_luma_and_not_in_the_small_picture_which_is_expanded_already() -> None:
    frame = frame_of(np.full((HEIGHT, WIDTH, 3), 235, np.uint8), grey=True, full_range=False)
    assert window(frame, box_at(480, 270, 40)).pixels.min() == 255
    assert np.unique(window(frame, box_at(480, 270, 300)).pixels).tolist() == [235]


def test_a_box_without_any_size_or_outside_the_picture_has_a_window_all_the_same() -> None:
    for box in ([480.0, 270.0, 480.0, 270.0], [-90.0, -80.0, -50.0, -30.0], [1000.0, 600.0, 1040.0, 650.0]):
        assert window(slopes(), box).pixels.shape == (WINDOW_PX, WINDOW_PX)


class TestPick:
    """Two windows, whose faces are expected in their middle."""

    WINDOWS = (
        Window(np.zeros((WINDOW_PX, WINDOW_PX), np.uint8), (100.0, 50.0), (2.0, 2.0), (48.0, 48.0), 28.0),
        Window(np.zeros((WINDOW_PX, WINDOW_PX), np.uint8), (300.0, 10.0), (0.5, 0.5), (48.0, 48.0), 28.0),
    )
    FACE = np.array([20.0, 20.0, 76.0, 76.0])

    def picked(self, *found: tuple[Candidates, int]) -> tuple[list[list[float]], list[float], list[int]]:
        """Candidates with the number of the window that they are in -> boxes, scores, numbers."""
        windows_of = np.array([number for _, number in found], np.intp)
        faces, numbers = pick(Candidates.joined([each for each, _ in found]), windows_of, self.WINDOWS)
        return faces.boxes.tolist(), faces.scores.tolist(), numbers.tolist()

    def test_each_window_has_its_own(self) -> None:
        boxes, scores, numbers = self.picked((one(self.FACE, 0.75), 1), (one(self.FACE, 0.625), 0))
        assert (scores, numbers) == ([0.625, 0.75], [0, 1])
        assert boxes == [[140, 90, 252, 202], [310, 20, 338, 48]]

    def test_of_those_near_the_middle_the_best_is_taken(self) -> None:
        near = [(one(self.FACE + off, score), 0) for off, score in ((0, 0.5), (8, 0.75), (-3, 0.625))]
        assert self.picked(*near)[1:] == ([0.75], [0])

    def test_a_better_one_far_from_the_middle_is_another_face(self) -> None:
        all_three = [(one(self.FACE + off, score), 0) for off, score in ((0, 0.5), (29, 0.75), (-29, 0.75))]
        assert self.picked(*all_three)[1:] == ([0.5], [0])

    def test_there_may_be_none(self) -> None:
        assert self.picked((one(self.FACE + 29), 0), (one(self.FACE - 29), 1)) == ([], [], [])
        nothing = one(self.FACE)[np.zeros(1, np.bool_)]
        assert len(pick(nothing, in_the_first(0), self.WINDOWS)[0]) == 0

    def test_the_first_of_equal_ones_is_taken(self) -> None:
        boxes, _, _ = self.picked((one(self.FACE + 8), 0), (one(self.FACE), 0))
        assert boxes == [[156, 106, 268, 218]]

    def test_what_neighbouring_cells_say_of_it_is_blended(self) -> None:
        boxes, scores, _ = self.picked((one(self.FACE + 1, 0.75), 0), (one(self.FACE, 0.75), 0), (one(self.FACE), 1))
        assert boxes[0] == [141, 91, 253, 203]
        assert scores[0] == 0.75

    def test_a_face_half_outside_of_its_window_is_no_other_windows(self) -> None:
        """As at the picture's edge, where a window shows its face beside its middle."""
        at_the_edge = [replace(w, centre=(48.0, 4.0)) for w in self.WINDOWS]
        out = one(np.array([20.0, -30.0, 76.0, 26.0]))
        faces, numbers = pick(out, np.array([1], np.intp), at_the_edge)
        assert numbers.tolist() == [1]
        assert faces.boxes.tolist() == [[310, -5, 338, 23]]
