"""YuNet's way of telling faces: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023.

For strides 8, 16 and 32 the network answers once per cell of so many pixels, in rows: `cls` and `obj` (whether a face
is there; the score is the root of their product), `bbox` (centre relative to the cell's corner and log of the size, in
strides) and `kps` (five points relative to the cell's corner, in strides). OpenCV's FaceDetectorYN reads it likewise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engines.base import Outputs
from engines.decoding.base import Candidates, Decoding
from engines.errors import EngineMismatch
from engines.spec import LANDMARKS

STRIDES = (8, 16, 32)
NOTHING = Candidates(np.zeros((0, 4), np.float32), np.zeros((0, LANDMARKS, 2), np.float32), np.zeros(0, np.float32))
MAX_LOG_SIZE = 8.0  # e^8 strides are 24,000 px: an answer beyond is nonsense, and would overflow


def decode(outputs: Outputs, size: tuple[int, int], score_threshold: float) -> tuple[Candidates, NDArray[np.intp]]:
    """Cells that reach the threshold, and (N,) in which image. Raises EngineMismatch when they do not fit `size`."""
    decoded = [_decode_stride(outputs, stride, size, score_threshold) for stride in STRIDES]
    # most levels hold nothing, and of a window that shows one face two of three
    parts = [part for part in decoded if len(part[1])] or decoded[:1]
    if len(parts) == 1:
        return parts[0]
    return Candidates.joined([found for found, _ in parts]), np.concatenate([images for _, images in parts])


def _decode_stride(
    outputs: Outputs, stride: int, size: tuple[int, int], score_threshold: float
) -> tuple[Candidates, NDArray[np.intp]]:
    rows, columns = size[0] // stride, size[1] // stride
    cls, obj = outputs[f"cls_{stride}"], outputs[f"obj_{stride}"]
    if cls.shape[1:] != (rows * columns, 1):
        raise EngineMismatch(
            f"cls_{stride}: expected {rows} x {columns} cells for an image of {size}, got {cls.shape[1:]}; "
            "is this network of the yunet family?"
        )
    # most cells hold nothing: only those that may reach the threshold, which no factor of at most 1 falls short of
    floor = np.float32(score_threshold) ** 2
    images, cells = np.nonzero((cls[..., 0] >= floor) & (obj[..., 0] >= floor))
    product = np.minimum(cls[images, cells, 0], np.float32(1)) * np.minimum(obj[images, cells, 0], np.float32(1))
    reached = product >= floor
    images, cells, scores = images[reached], cells[reached], np.sqrt(product[reached])
    if not len(cells):
        return NOTHING, images
    corners = _corners(rows, columns)[cells]
    boxes = _boxes(outputs[f"bbox_{stride}"][images, cells], corners) * np.float32(stride)
    points = outputs[f"kps_{stride}"][images, cells].reshape(-1, LANDMARKS, 2)
    landmarks = (points + corners[:, None, :]) * np.float32(stride)
    return Candidates(boxes, landmarks, scores), images


@lru_cache(maxsize=64)
def _corners(rows: int, columns: int) -> NDArray[np.float32]:
    """(rows * columns, 2) x y of each cell, in cells. Only to be read."""
    cells = np.arange(rows * columns)
    corners = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    corners.flags.writeable = False
    return corners


def _boxes(bbox: NDArray[np.float32], corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) x1 y1 x2 y2, in strides."""
    centres = corners + bbox[:, :2]
    half = np.exp(np.minimum(bbox[:, 2:], np.float32(MAX_LOG_SIZE))) * np.float32(0.5)
    return np.concatenate([centres - half, centres + half], axis=1)


YUNET = Decoding(
    outputs=tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES),
    decode=decode,
)
