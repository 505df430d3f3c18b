"""Pictures for detectors, as frames: squares for networks that take light for a face, portraits for real ones."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.records import Frame
from stream.sources.base import SmallSize
from tests.clips import portrait
from tests.makers import moment


def frame_of(picture: NDArray[np.uint8], longer_px: int = 640, *, grey: bool = False, **other: Any) -> Frame:
    """A frame with this BGR picture, letterboxed as sources do it; `grey`: for a detector that takes luma."""
    height, width = picture.shape[:2]
    letterbox, content, (padded_width, padded_height) = SmallSize(longer_px, 32).letterbox(width, height)
    small = np.zeros((padded_height, padded_width, 3), np.uint8)
    small[: content[1], : content[0]] = cv2.resize(picture, content, interpolation=cv2.INTER_AREA)
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    luma.flags.writeable = False
    if grey:
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    fields = {"index": 0, "luma": luma, "full_range": True, "small": small, "letterbox": letterbox}
    return Frame(**{**moment(), **fields, **other})


def squares(width: int, height: int, *places: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A black picture with squares (x, y, side, brightness)."""
    picture = np.zeros((height, width, 3), np.uint8)
    for x, y, side, brightness in places:
        picture[y : y + side, x : x + side] = brightness
    return picture


def portraits(width: int, height: int, *places: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A grey picture with portraits (x, y, width)."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for x, y, wide in places:
        face = portrait()
        size = (wide, round(wide * face.shape[0] / face.shape[1]))
        picture[y : y + size[1], x : x + size[0]] = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    return picture
