"""Windows: small squares around faces that are followed, read at a fraction of a whole picture's cost.

Each shows its face at about the same size, whatever it has in the frame, so that the windows of all faces of all
cameras are one batch, and what the network says of a face does not depend on how far away the camera is. A face costs
WINDOW_PX squared pixels; a picture of 640x384 is 27 of them.

In a trial on the development clips at 5 Hz each of 668 faces was sought around its place in the analysed frame before.
None was missed, and landmarks agreed with those of the whole picture to 0.015 to 0.05 of the face's width, where moving
the whole picture by one pixel already makes 0.016. In another, of 213 JAFFE faces, 44 to 340 pixels wide, 49.3 to
50.7 % of the emotions were right by landmarks from windows, 48.4 to 52.1 % by those of the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.decoding.base import Candidates
from engines.preprocess import Pixels, expand_range
from stream.detectors.blending import blended
from stream.records import Frame

WINDOW_PX = 96
FACE_PX = 56  # of the window is the face's longer side; smaller, landmarks suffer, larger, a moving face leaves it
MAX_ENLARGE = 2.0  # a face of fewer pixels is shown smaller than FACE_PX: there is no more to be seen of it
LARGEST_PX = 2 * WINDOW_PX  # bilinear interpolation that shrinks by more would leave pixels out
CENTRAL = 0.5  # of the face's longer side: a face whose centre is further away than this is another one


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A square of a frame, as the network sees it."""

    pixels: Pixels  # (WINDOW_PX, WINDOW_PX) full-range luma
    corner: tuple[float, float]  # x y of its upper left corner (an edge), pixels of the frame
    scale: tuple[float, float]  # x y, pixels of the frame per pixel of the window
    centre: tuple[float, float]  # x y, where the face is expected, pixels of the window
    reach: float  # how far from there its centre may be, pixels of the window


def window(frame: Frame, box: Sequence[float]) -> Window:
    """Cut around a box x1 y1 x2 y2 in pixels of the frame, from the coarsest picture that shows enough of it.

    A small face is cut from the luma, so it is seen more sharply than in the whole picture; a large one from `small`,
    whose pixels are averaged already. `small` must be luma.
    """
    left, top, right, bottom = box
    letterbox = frame.letterbox
    longer = max(right - left, bottom - top, 1.0)
    coarse = longer * letterbox.scale_x >= FACE_PX
    picture, across, down = (
        (frame.small, letterbox.scale_x, letterbox.scale_y) if coarse else (frame.luma, 1.0, 1.0)
    )  # and its pixels per pixel of the frame
    side = _halvable(round(WINDOW_PX * max(longer * across / FACE_PX, 1 / MAX_ENLARGE)))
    x, y = (left + right) / 2 * across, (top + bottom) / 2 * down
    x0, y0 = _begin(x, side, picture.shape[1]), _begin(y, side, picture.shape[0])
    pixels = _resized(picture[y0 : y0 + side, x0 : x0 + side], side)
    per_pixel = side / WINDOW_PX
    return Window(
        pixels if coarse or frame.full_range else expand_range(pixels),
        (x0 / across, y0 / down),
        (per_pixel / across, per_pixel / down),
        ((x - x0) / per_pixel, (y - y0) / per_pixel),
        CENTRAL * longer * across / per_pixel,
    )


def pick(
    found: Candidates, numbers: NDArray[np.intp], windows: Sequence[Window]
) -> tuple[Candidates, NDArray[np.intp]]:
    """The one face of each window that has it, in pixels of its frame, and the number of each one's window.

    `found` lies in pixels of the windows, each in that of its number. Best of what is where the face should be; what is
    elsewhere may be cut off by the window's edge, and has a window of its own if it is known.
    """
    geometry = _geometry(windows)
    centre, reach, scale, corner = geometry[:, :2], geometry[:, 2], geometry[:, 3:5], geometry[:, 5:]
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    near = np.flatnonzero(np.abs(middles - centre[numbers]).max(axis=1) <= reach[numbers])
    order = near[np.lexsort((-found.scores[near], numbers[near]))]  # by window, then best first; ties as they came
    owners = numbers[order]
    first = np.ones(len(owners), np.bool_)
    first[1:] = owners[1:] != owners[:-1]
    chosen = owners[first]
    best = blended(found, numbers, order[first])
    scale, corner = scale[chosen, None], corner[chosen, None]
    half = np.float32(0.5)  # boxes are edges, landmarks pixel centres
    boxes = best.boxes.reshape(-1, 2, 2) * scale + corner
    landmarks = (best.landmarks + half) * scale + corner - half
    return Candidates(boxes.reshape(-1, 4), landmarks, best.scores), chosen


def _geometry(windows: Sequence[Window]) -> NDArray[np.float32]:
    """(N, 7) centre x y, reach, scale x y, corner x y."""
    return np.array([(*w.centre, w.reach, *w.scale, *w.corner) for w in windows], np.float32).reshape(-1, 7)


def _begin(middle: float, side: int, limit: int) -> int:
    """Where a window begins: inside the picture if it fits, because its edge would be another edge to the network."""
    return max(min(round(middle - side / 2), limit - side), 0)


def _halvable(side: int) -> int:
    """This, or a few pixels less, so that it can be halved as often as `_resized` does."""
    halvings = max((math.ceil(side / LARGEST_PX) - 1).bit_length(), 0)
    return side >> halvings << halvings


def _resized(region: Pixels, side: int) -> Pixels:
    """To the size of a window; what lies outside the picture is black, as padding is.

    Larger ones are halved first. Of 250 pixels that took 14 us in a trial, where averaging areas of a fraction of a
    pixel in one step (INTER_AREA) took 113.
    """
    height, width = region.shape
    if (height, width) != (side, side):
        region = cast(Pixels, cv2.copyMakeBorder(region, 0, side - height, 0, side - width, cv2.BORDER_CONSTANT))
    while side > LARGEST_PX:
        side //= 2
        region = cast(Pixels, cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA))
    return cast(Pixels, cv2.resize(region, (WINDOW_PX, WINDOW_PX), interpolation=cv2.INTER_LINEAR))
