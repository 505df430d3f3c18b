"""Arithmetic of boxes on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou(ours: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) and (M, 4), x1 y1 x2 y2 -> (N, M) intersection over union, 0..1."""
    shared = _shared(ours, others)
    union = area(ours)[:, None] + area(others)[None] - shared
    return shared / np.maximum(union, np.float32(1e-9))


def share_inside(ours: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) and (M, 4) -> (N, M) the part of each of ours that lies in each other, 0..1 (COCO's rule for crowds)."""
    return _shared(ours, others) / np.maximum(area(ours)[:, None], np.float32(1e-9))


def area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) -> (N,) in square pixels; 0 where a box is inside out."""
    sides: NDArray[np.float32] = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return sides[:, 0] * sides[:, 1]


def _shared(ours: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) the area that both have in common."""
    low = np.maximum(ours[:, None, :2], others[None, :, :2])
    high = np.minimum(ours[:, None, 2:], others[None, :, 2:])
    shared: NDArray[np.float32] = np.clip(high - low, 0, None).prod(axis=2)
    return shared
