"""Pictures of any size as the 48x48 luma that the networks are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.errors import DataMissing

SIDE_PX = 48  # height and width of a picture that a network is trained on


def read_luma(path: Path, content: bytes) -> NDArray[np.uint8]:
    """(H, W) luma of an encoded picture; `path` is for the error. Raises DataMissing when it is no picture."""
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # an empty file
        picture = None
    if picture is None:
        raise DataMissing(f"{path} is not a readable picture; fetch it again or take it away")
    return np.asarray(picture, np.uint8)


def to_48(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(48, 48): the middle square of a (H, W) picture, reduced by area averaging or enlarged linearly."""
    import cv2

    height, width = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if side == SIDE_PX:
        return square
    how = cv2.INTER_AREA if side > SIDE_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=how), np.uint8)
