"""YuNet's way of telling faces: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023.

For strides 8, 16 and 32 the network answers once per cell of so many pixels, in rows: `cls` and `obj` (whether a face
is there; the score is the root of their product), `bbox` (centre relative to the cell's corner and log of the size, in
strides) and `kps` (five points relative to the cell's corner, in strides). OpenCV's FaceDetectorYN reads it likewise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.base import Outputs
from engines.decoding.base import Candidates, Decoding
from engines.errors import EngineMismatch
from engines.spec import LANDMARKS

STRIDES = (8, 16, 32)
MAX_LOG_SIZE = 8.0  # e^8 strides are 24,000 px: an answer beyond is nonsense, and would overflow


def decode(outputs: Outputs, size: tuple[int, int], score_threshold: float) -> tuple[Candidates, NDArray[np.intp]]:
    """Cells that reach the threshold, and (N,) in which image. Raises EngineMismatch when they do not fit `size`."""
    parts, images = zip(*(_decode_stride(outputs, stride, size, score_threshold) for stride in STRIDES), strict=True)
    return Candidates.joined(parts), np.concatenate(images)


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
    # most cells hold nothing: only those over the threshold are decoded
    product = np.clip(cls[..., 0], 0.0, 1.0) * np.clip(obj[..., 0], 0.0, 1.0)
    images, cells = np.nonzero(product >= np.float32(score_threshold) ** 2)
    corners = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    boxes = _boxes(outputs[f"bbox_{stride}"][images, cells], corners) * np.float32(stride)
    points = outputs[f"kps_{stride}"][images, cells].reshape(-1, LANDMARKS, 2)
    landmarks = (points + corners[:, None, :]) * np.float32(stride)
    return Candidates(boxes, landmarks, np.sqrt(product[images, cells])), images


def _boxes(bbox: NDArray[np.float32], corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) x1 y1 x2 y2, in strides."""
    centres = corners + bbox[:, :2]
    half = np.exp(np.minimum(bbox[:, 2:], np.float32(MAX_LOG_SIZE))) * np.float32(0.5)
    return np.concatenate([centres - half, centres + half], axis=1)


YUNET = Decoding(
    outputs=tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES),
    decode=decode,
)
