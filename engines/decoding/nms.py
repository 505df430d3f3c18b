"""Boxes that overlap, and non-maximum suppression: of those that overlap too much, only the best stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_boxes(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], iou_threshold: float, most: int
) -> NDArray[np.intp]:
    """Indices of at most `most` boxes, best score first; of equal scores the lower index is the better.

    (N, 4) x1 y1 x2 y2 and (N,). Greedy: a box goes when its IoU with a better box that stays is above the threshold.
    """
    order = np.argsort(-scores, kind="stable")
    corners, areas = boxes[order], _areas(boxes[order])
    kept: list[int] = []
    left = np.arange(len(order))
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(order[best]))
        overlap = _overlap(corners[best], corners[left])
        left = left[overlap <= iou_threshold * (areas[best] + areas[left] - overlap)]
    return np.array(kept, np.intp)


def ious(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) and (M, 4) x1 y1 x2 y2 -> (N, M) intersection over union; 0 for boxes without an area."""
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = np.maximum(sides, np.float32(0)).prod(axis=2)
    union = _areas(boxes)[:, None] + _areas(others)[None] - shared
    found: NDArray[np.float32] = shared / np.maximum(union, np.float32(1e-6))
    return found


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _overlap(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) the area that one box shares with each of the others."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    sides = np.maximum(sides, np.float32(0))
    shared: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return shared
