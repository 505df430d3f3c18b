"""Pixels -> what a network takes, from a ModelSpec alone. Training and run time both come through here.

`align` cuts a face out of a picture the way the network's training images were framed; `to_batch` turns such crops (or
a detector's small images) into the float32 batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Batch
from engines.spec import ModelSpec

Pixels = NDArray[np.uint8]
MAX_WARP_SHRINK = (
    2.0  # a bilinear warp reads 2 x 2 pixels; beyond this it would skip some, so the region is averaged first
)


def to_batch(images: Sequence[Pixels], spec: ModelSpec) -> Batch:
    """Equally sized images, (H, W) for luma or (H, W, 3) in the spec's colour order -> (B, C, H, W) float32.

    Values become (pixel / 255 - mean) / std, computed as one multiply and add.
    """
    height, width = images[0].shape[:2]
    batch = np.empty((len(images), spec.input_shape[0], height, width), np.float32)
    scale = [1.0 / (255.0 * std) for std in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    plain = all(shift_c == 0.0 for shift_c in shift) and all(abs(scale_c - 1.0) < 1e-12 for scale_c in scale)
    for image, planes in zip(images, batch, strict=True):
        channels = [image] if image.ndim == 2 else [image[..., c] for c in range(image.shape[2])]
        for channel, plane in enumerate(planes):
            if plain:  # the network takes 0..255 (YuNet)
                plane[...] = channels[channel]
            else:
                np.multiply(channels[channel], np.float32(scale[channel]), out=plane, casting="unsafe")
                plane += np.float32(shift[channel])
    return batch


def similarity(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 2x3 matrix of the least-squares similarity (rotation, one scale, shift) that maps source onto target.

    Both (N, 2). Closed form of Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point
    Patterns", PAMI 1991, which for two dimensions needs no SVD: with centred points as complex numbers s and t, the
    factor is sum(conj(s) t) / sum(|s|^2). Reflections are impossible by construction. Raises ValueError when all source
    points coincide.
    """
    source_mean, target_mean = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    s, t = source - source_mean, target - target_mean
    spread = float((s * s).sum())
    if not spread > 1e-9:  # also catches NaN
        raise ValueError("landmarks coincide: no similarity can be fitted")
    a = float((s * t).sum()) / spread  # scale x cos
    b = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / spread  # scale x sin
    rotation = np.array([[a, -b], [b, a]])
    shift = target_mean - rotation @ source_mean
    return np.column_stack([rotation, shift])


def align(image: Pixels, landmarks: NDArray[np.float32], spec: ModelSpec) -> Pixels:
    """The face whose five `landmarks` ((5, 2), pixels of `image`) lie on the spec's template.

    (H, W) or (H, W, 3) uint8, as the image is, which is never written to. Where the face shrinks by more than
    MAX_WARP_SHRINK its region is first reduced by area averaging, because a warp alone would read only some of the
    pixels. Outside the image the border is repeated.
    """
    height, width = spec.input_shape[1:]
    matrix = similarity(landmarks, np.asarray(spec.template, np.float32))
    shrink = 1.0 / max(float(np.hypot(matrix[0, 0], matrix[1, 0])), 1e-6)
    if shrink > MAX_WARP_SHRINK:
        image, matrix = _reduce_region(image, matrix, (height, width), shrink)
    return _bytes(
        cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def _reduce_region(
    image: Pixels, matrix: NDArray[np.float64], size: tuple[int, int], shrink: float
) -> tuple[Pixels, NDArray[np.float64]]:
    """Average whole blocks of `int(shrink)` pixels over the region that the warp will read; the matrix moves along."""
    block = int(shrink)
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    back = cv2.invertAffineTransform(matrix)
    there = corners @ back[:, :2].T + back[:, 2]
    limit_x, limit_y = image.shape[1], image.shape[0]
    x1, y1 = np.clip(
        np.floor(there.min(axis=0)).astype(int) - block, 0, (max(limit_x - block, 0), max(limit_y - block, 0))
    )
    x2, y2 = np.minimum(np.ceil(there.max(axis=0)).astype(int) + block, (limit_x, limit_y))
    columns, rows = max((x2 - x1) // block, 1), max((y2 - y1) // block, 1)
    region = image[y1 : y1 + rows * block, x1 : x1 + columns * block]
    reduced = _bytes(cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA))
    # pixel i of the reduced region lies at x1 + block * i + (block - 1) / 2 of the image
    grown = np.array([[block, 0, x1 + (block - 1) / 2], [0, block, y1 + (block - 1) / 2], [0, 0, 1]])
    return reduced, (np.vstack([matrix, [0, 0, 1]]) @ grown)[:2]


def expand_range(crop: Pixels) -> Pixels:
    """Limited-range luma (16..235, ITU-R BT.601 and BT.709) stretched to 0..255, rounded and clipped."""
    return _bytes(cv2.LUT(crop, _EXPAND))


def _bytes(image: np.ndarray[Any, Any]) -> Pixels:
    """OpenCV's stubs promise any number type; uint8 in is uint8 out."""
    return cast(Pixels, image)


_EXPAND = np.clip(np.rint((np.arange(256) - 16.0) * (255.0 / 219.0)), 0, 255).astype(np.uint8)
