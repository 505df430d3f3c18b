"""One image's outputs -> its faces: decode, drop what cannot be, keep the best of each. The same for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.base import Outputs
from engines.decoding.base import Candidates, Decoding
from engines.decoding.nms import best_boxes


@dataclass(frozen=True, slots=True)
class Reader:
    """How a detector is read, with what thresholds."""

    decoding: Decoding
    score_threshold: float
    iou_threshold: float  # of two faces that overlap more, the better one stays
    most: int  # faces in one image

    def faces(self, outputs: Outputs, size: tuple[int, int], picture: tuple[float, float]) -> Candidates:
        """Best score first, in pixels of the image. `outputs` without B.

        `size` is (height, width) of the image, and `picture` that of its upper left part that is no padding.
        """
        candidates, _ = self.candidates({name: values[None] for name, values in outputs.items()}, size)
        if not len(candidates):
            return candidates
        believable = candidates[_on_the_picture(candidates, picture)]
        return believable[best_boxes(believable.boxes, believable.scores, self.iou_threshold, self.most)]

    def candidates(self, outputs: Outputs, size: tuple[int, int]) -> tuple[Candidates, NDArray[np.intp]]:
        """All in B images that reach the threshold, in no order, several for each face, and (N,) in which image."""
        found, images = self.decoding.decode(outputs, size, self.score_threshold)
        finite = _finite(found)
        return found[finite], images[finite]


def _finite(candidates: Candidates) -> NDArray[np.bool_]:
    """(N,)"""
    boxes = np.asarray(np.isfinite(candidates.boxes).all(axis=1), np.bool_)
    landmarks = np.asarray(np.isfinite(candidates.landmarks).all(axis=(1, 2)), np.bool_)
    return boxes & landmarks


def _on_the_picture(candidates: Candidates, picture: tuple[float, float]) -> NDArray[np.bool_]:
    """(N,) at least a pixel of the box is on the picture, not on its padding."""
    boxes = candidates.boxes
    seen = np.minimum(boxes[:, 2:], np.array(picture[::-1], np.float32)) - np.maximum(boxes[:, :2], np.float32(0))
    on_it: NDArray[np.bool_] = (seen[:, 0] >= 1) & (seen[:, 1] >= 1)
    return on_it
