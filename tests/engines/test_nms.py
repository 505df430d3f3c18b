"""Of boxes that overlap too much only the best stays, whatever their number and order."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.decoding.nms import best_boxes


def boxes_and_scores(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes that often overlap, with whole corners, and scores of which some are equal."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 60, (count, 2))
    sizes = random.integers(1, 40, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    return boxes, (random.integers(0, 12, count) / 12).astype(np.float32)


def by_hand(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """The definition, one pair after the other."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        if all(iou(boxes[index], boxes[better]) <= threshold for better in kept):
            kept.append(index)
    return kept


def iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    sides = [max(0.0, min(first[2 + k], second[2 + k]) - max(first[k], second[k])) for k in (0, 1)]
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (first, second)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


@given(seed=st.integers(0, 10_000), count=st.integers(0, 40), threshold=st.sampled_from([0.1, 0.3, 0.45, 0.7]))
def test_it_keeps_what_the_definition_keeps(seed: int, count: int, threshold: float) -> None:
    boxes, scores = boxes_and_scores(seed, count)
    assert best_boxes(boxes, scores, threshold, most=100).tolist() == by_hand(boxes, scores, threshold)


def test_opencv_keeps_the_same() -> None:
    for seed in range(30):
        boxes, _ = boxes_and_scores(seed, 50)
        scores = np.random.default_rng(seed).permutation(50).astype(np.float32) / 50 + 0.01
        sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        wanted = cv2.dnn.NMSBoxes(sized.tolist(), scores.tolist(), 0.0, 0.3)
        assert best_boxes(boxes, scores, 0.3, most=100).tolist() == list(wanted)


def test_of_equal_scores_the_first_is_the_better() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [40, 0, 45, 5]], np.float32)
    assert best_boxes(boxes, np.full(4, 0.5, np.float32), 0.3, most=10).tolist() == [0, 2, 3]


def test_the_best_are_kept_when_there_are_too_many() -> None:
    boxes = np.array([[x, 0, x + 5, 5] for x in range(0, 100, 10)], np.float32)
    scores = np.linspace(0.1, 1.0, 10).astype(np.float32)
    assert best_boxes(boxes, scores, 0.3, most=3).tolist() == [9, 8, 7]


def test_nothing_comes_of_nothing() -> None:
    assert len(best_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.3, most=5)) == 0
