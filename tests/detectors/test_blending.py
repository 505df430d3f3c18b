"""Blending: one answer out of what neighbouring cells say of one face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.decoding.base import Candidates
from stream.detectors.blending import blended


def candidates(*lefts: float, scores: tuple[float, ...], top: float = 10.0) -> Candidates:
    """Boxes of 100 x 100 pixels, so far from the left; all landmarks lie on the upper left corner."""
    corners = np.array([[left, top] for left in lefts], np.float32).reshape(-1, 2)
    boxes = np.hstack([corners, corners + 100])
    return Candidates(boxes, np.repeat(corners[:, None], 5, axis=1), np.array(scores, np.float32))


def blend(found: Candidates, images: list[int], chosen: list[int]) -> Candidates:
    return blended(found, np.array(images, np.intp), np.array(chosen, np.intp))


def test_the_mean_counts_each_by_its_score() -> None:
    best = blend(candidates(0, 4, scores=(0.9, 0.3)), [0, 0], [0])
    assert best.boxes[0] == pytest.approx([1, 10, 101, 110])
    assert best.landmarks[0] == pytest.approx(np.tile([1, 10], (5, 1)))
    assert best.scores[0] == np.float32(0.9)


def test_what_overlaps_less_is_not_this_face() -> None:
    best = blend(candidates(0, 60, scores=(0.9, 0.8)), [0, 0], [0])  # an IoU of 0.25
    assert best.boxes[0] == pytest.approx([0, 10, 100, 110])


def test_another_image_has_faces_of_its_own() -> None:
    best = blend(candidates(0, 4, scores=(0.9, 0.9)), [0, 1], [0, 1])
    assert best.boxes[:, 0] == pytest.approx([0, 4])


def test_one_that_stands_alone_stays_as_it_is() -> None:
    found = candidates(3, scores=(0.7,))
    best = blend(found, [0], [0])
    assert best.boxes == pytest.approx(found.boxes)
    assert best.landmarks == pytest.approx(found.landmarks)


@pytest.mark.parametrize("found", [candidates(scores=()), candidates(1, 2, scores=(0.5, 0.5))])
def test_of_none_chosen_none_comes(found: Candidates) -> None:
    best = blend(found, [0] * len(found), [])
    assert len(best) == 0
    assert best.boxes.shape == (0, 4)
    assert best.landmarks.shape == (0, 5, 2)


@given(seed=st.integers(0, 1000))
def test_neighbours_change_nothing_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    lefts, scores = random.uniform(0, 30, 12), tuple(random.uniform(0.5, 1, 12).tolist())
    found, images = candidates(*lefts, scores=scores), np.repeat([0, 1, 2], 4)
    together = blend(found, images.tolist(), [0, 5, 9])
    for number, row in enumerate((0, 5, 9)):
        alone = blend(found[images == number], [0] * 4, [row - 4 * number])
        assert alone.boxes.tobytes() == together.boxes[number].tobytes()
        assert alone.landmarks.tobytes() == together.landmarks[number].tobytes()
