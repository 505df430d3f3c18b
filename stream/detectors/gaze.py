"""Where to search a frame for faces that nobody follows yet. Pure: times are arguments. One Gaze per camera.

A face that is followed is sought around its last place in every analysed frame (`windows.py`), at a twentieth of the
cost of the whole picture. Somebody new can only appear where something changes. So what is searched is

- all of it at the first frame, after a jump of time, and at a cut: more than CUT of it changed since the frame before;
- the areas that have changed since they were searched last, those of faces in view left out, and the surroundings of
  faces that are not found at their places; all of it if there is a face in them that nobody follows;
- all of it every `idle_scan_s` in any case.

Areas are searched at once as long as all searching together costs no more than `scan_hz` whole pictures a second; where
more than that changes, they wait. So an empty corridor costs nothing, and a crowd no more than it may. A cut may be
ahead of what is paid for, a picture that is all cuts may not.

Changes are those of means of 8x8 pixels of the detector's picture. They are counted from the picture that was searched
last, not from the one before, so that slow ones add up.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.preprocess import Pixels
from stream.config import DetectorConfig
from stream.records import Frame

CELL_PX = 8  # of the detector's picture
CHANGED = 12  # of 255 by which a cell must differ: the mean of 64 pixels trembles by less than 1 from a camera's noise
CELLS = 2  # so many such cells make a block one that has changed
CUT = 0.5  # of all cells
AHEAD = 2.0  # whole pictures, so much may have been searched before it is paid for when a cut comes
AROUND = 0.5  # of a face's size, on each side, belongs to it
MOST = 0.6  # of the picture: areas of more cost as much as all of it
ROUNDING_S = 0.005  # containers round time stamps, some to a millisecond

Boxes = NDArray[np.float32]
Area = tuple[int, int, int, int]  # x1 y1 x2 y2, pixels of the small image, multiples of the network's stride


class Gaze:
    """What of one camera's picture was searched when."""

    def __init__(self, config: DetectorConfig, stride: int) -> None:
        in_cells = stride % CELL_PX == 0  # else there are no blocks of cells
        self._scan_hz, self._idle_scan_s = config.scan_hz if in_cells else None, config.idle_scan_s
        self._stride = stride
        self._asked_s = -math.inf  # media time of the frame that was asked about last
        self._areas: list[Area] = []  # and what was answered
        self._all_s = -math.inf  # media time of the last search of all of it
        self._due_s = -math.inf  # media time from which on areas may be searched again
        self._searched: Pixels = np.zeros((0, 0), np.uint8)  # the cells, each as it was when it was searched last
        self._before: Pixels | None = None  # the cells of the frame before

    def areas(self, frame: Frame, known: Boxes, missing: Boxes) -> list[Area]:
        """What to search in this frame, which then counts as searched; to be asked of each frame, in order.

        The answer is the same when a frame is asked about again, because a neighbour's data made the analysis fail.
        (N, 4) x1 y1 x2 y2, pixels of the frame: `known` are the faces in view, `missing` the places of followed faces
        that are not there.
        """
        if self._scan_hz is None:
            return everything(frame)
        if frame.media_time_s != self._asked_s:
            self._asked_s, self._areas = frame.media_time_s, self._choose(frame, known, missing)
        return self._areas

    def searched_all(self, frame: Frame) -> None:
        """All of the frame that was asked about last is searched."""
        self._areas = everything(frame)
        self._all_s = frame.media_time_s
        self._pay(frame, self._areas)
        if self._before is not None:
            self._searched = self._before.copy()

    def _choose(self, frame: Frame, known: Boxes, missing: Boxes) -> list[Area]:
        cells = _cells(frame.small)
        areas: list[Area] = []
        all_due = self._is_all_due(frame, cells)
        self._before = cells
        if not all_due and frame.media_time_s >= self._due_s - ROUNDING_S:
            areas = self._worth(frame, cells, known, missing)
        if all_due or _share(areas, frame) > MOST:
            self.searched_all(frame)
            return everything(frame)
        self._pay(frame, areas)
        for left, top, right, bottom in areas:
            there = np.s_[top // CELL_PX : bottom // CELL_PX, left // CELL_PX : right // CELL_PX]
            self._searched[there] = cells[there]
        return areas

    def _pay(self, frame: Frame, areas: list[Area]) -> None:
        """Wait for as long as this search may cost."""
        wait_s = _share(areas, frame) / (self._scan_hz or math.inf)
        self._due_s = max(self._due_s, frame.media_time_s) + wait_s

    def _is_all_due(self, frame: Frame, cells: Pixels) -> bool:
        before = self._before
        return bool(
            before is None
            or before.shape != cells.shape
            or frame.discontinuity is not None
            or frame.media_time_s - self._all_s >= self._idle_scan_s - ROUNDING_S
            or (
                np.count_nonzero(cv2.absdiff(cells, before) > CHANGED) > CUT * cells.size
                and (self._due_s - frame.media_time_s) * (self._scan_hz or math.inf) <= AHEAD
            )
        )

    def _worth(self, frame: Frame, cells: Pixels, known: Boxes, missing: Boxes) -> list[Area]:
        """Rectangles around what has changed, with a block of surroundings, by which a network tells a face."""
        changed = (cv2.absdiff(cells, self._searched) > CHANGED).astype(np.uint8)
        for left, top, right, bottom in _around(known, frame, CELL_PX):
            changed[top:bottom, left:right] = 0
        blocks = self._blocks(changed)
        if blocks.any():
            blocks = np.asarray(cv2.dilate(blocks, np.ones((3, 3), np.uint8)), np.uint8)
        for left, top, right, bottom in _around(missing, frame, self._stride):
            blocks[top:bottom, left:right] = 1
        if not blocks.any():
            return []
        found = cv2.connectedComponentsWithStats(blocks, connectivity=8)[2]
        return [
            (left * self._stride, top * self._stride, (left + width) * self._stride, (top + height) * self._stride)
            for left, top, width, height in found[1:, : cv2.CC_STAT_AREA].tolist()  # the first is the background
        ]

    def _blocks(self, changed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cells -> blocks of the network's stride, 1 where enough of their cells are."""
        per_block = self._stride // CELL_PX
        rows, columns = changed.shape[0] // per_block, changed.shape[1] // per_block
        counts = changed.reshape(rows, per_block, columns, per_block).sum(axis=(1, 3))
        return np.asarray(counts >= min(CELLS, per_block * per_block), np.uint8)


def everything(frame: Frame) -> list[Area]:
    """The whole picture, as one area."""
    height, width = frame.small.shape[:2]
    return [(0, 0, width, height)]


def _share(areas: list[Area], frame: Frame) -> float:
    """Of the whole picture."""
    height, width = frame.small.shape[:2]
    size: int = sum((right - left) * (bottom - top) for left, top, right, bottom in areas)
    return size / (int(width) * int(height))


def _around(boxes: Boxes, frame: Frame, unit_px: int) -> list[list[int]]:
    """x1 y1 x2 y2 of what belongs to each face, in units of so many pixels of the small image, rounded outwards."""
    more = AROUND * (boxes[:, 2:] - boxes[:, :2])
    scale = np.array([frame.letterbox.scale_x, frame.letterbox.scale_y], np.float32) / unit_px
    begins = np.floor(np.maximum((boxes[:, :2] - more) * scale, 0))
    corners: list[list[int]] = np.hstack([begins, np.ceil((boxes[:, 2:] + more) * scale)]).astype(int).tolist()
    return corners


def _cells(small: Pixels) -> Pixels:
    """Means of CELL_PX squared pixels, by halving: in a trial 15 us for 640x384, in one step 63."""
    means = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    height, width = means.shape
    for part in (2, 4, CELL_PX):
        means = cv2.resize(means, (width // part, height // part), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.uint8)
