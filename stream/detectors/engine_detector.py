"""A detector out of any engine: pictures -> batches -> decoded candidates -> faces in pixels of the full frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine, Outputs
from engines.decoding.base import Candidates
from engines.decoding.nms import best_boxes
from engines.decoding.reader import Reader
from engines.preprocess import Pixels, to_batch
from stream.detectors.gaze import Area, Boxes
from stream.detectors.windows import WINDOW_PX, Window, pick, window
from stream.records import Faces, Frame, Letterbox

KEEP = 0.9  # of the score that a new face needs is enough for one that is followed (Byte, Zhang et al., ECCV 2022)
WINDOWS = 16  # in one call: together they are a little over half of a whole picture


@dataclass(frozen=True, slots=True)
class _Job:
    """An area of a frame."""

    frame: int  # which of the call
    area: Area

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        left, top, right, bottom = self.area
        return bottom - top, right - left


class EngineDetector:
    """See stream.detectors.base.Detector. Whoever made the engine goes on owning it."""

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader
        self._near = replace(reader, score_threshold=KEEP * reader.score_threshold)
        # windows are cut from luma, and are as large as they are
        self.follows = engine.spec.color == "luma" and WINDOW_PX % engine.spec.stride == 0
        self.most = reader.most

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        """See stream.detectors.base.Detector. Areas of one size go together, as the engine likes it."""
        jobs = [_Job(number, area) for number, of_frame in enumerate(areas) for area in of_frame]
        found: list[list[Candidates]] = [[] for _ in frames]
        for part in _parts(jobs, self._engine.best_batch):
            images = [self._image(frames[job.frame].small, job.area) for job in part]
            for job, outputs in zip(part, self._infer(images), strict=True):
                found[job.frame].append(self._in_area(outputs, job, frames[job.frame].letterbox))
        return [self._merged(parts, frame) for parts, frame in zip(found, frames, strict=True)]

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        """See stream.detectors.base.Detector. The windows of all frames go together."""
        windows = [
            (number, window(frame, box))
            for number, (frame, boxes) in enumerate(zip(frames, expected, strict=True))
            for box in boxes.tolist()
            if self.follows
        ]
        found: list[list[Candidates]] = [[] for _ in frames]
        most = min(WINDOWS, self._engine.max_batch)
        for start in range(0, len(windows), most):
            part = windows[start : start + most]
            seen, rows = self._in_windows([w for _, w in part])
            owners = np.array([number for number, _ in part])[rows]
            for number in np.unique(owners).tolist():
                found[number].append(seen[owners == number])
        return [self._merged(parts, frame) for parts, frame in zip(found, frames, strict=True)]

    def _in_windows(self, windows: Sequence[Window]) -> tuple[Candidates, NDArray[np.intp]]:
        """See stream.detectors.windows.pick. All are decoded at once."""
        outputs = self._engine.infer(to_batch([w.pixels for w in windows], self._engine.spec))
        return pick(*self._near.candidates(outputs, (WINDOW_PX, WINDOW_PX)), windows)

    def _infer(self, images: Sequence[Pixels]) -> Iterator[Outputs]:
        """The outputs for each of some images of one size."""
        outputs = self._engine.infer(to_batch(images, self._engine.spec))
        for row in range(len(images)):
            yield {name: values[row] for name, values in outputs.items()}

    def _image(self, small: Pixels, area: Area) -> Pixels:
        left, top, right, bottom = area
        return _in_color(small[top:bottom, left:right], self._engine.spec.color)

    def _in_area(self, outputs: Outputs, job: _Job, letterbox: Letterbox) -> Candidates:
        left, top = job.area[:2]
        picture = letterbox.height_px * letterbox.scale_y - top, letterbox.width_px * letterbox.scale_x - left
        best = self._reader.faces(outputs, job.size, picture)
        corner = np.array([left, top], np.float32)
        boxes = letterbox.boxes_to_frame(best.boxes + np.tile(corner, 2))
        return Candidates(boxes, letterbox.points_to_frame(best.landmarks + corner), best.scores)

    def _merged(self, parts: Sequence[Candidates], frame: Frame) -> Faces:
        """One frame's faces; what was seen in two places is told once."""
        if not parts:
            return Faces()
        found = parts[0] if len(parts) == 1 else Candidates.joined(parts)
        if len(found) > 1:
            found = found[best_boxes(found.boxes, found.scores, self._reader.iou_threshold, self._reader.most)]
        limit = np.array([frame.letterbox.width_px, frame.letterbox.height_px] * 2, np.float32)
        return Faces(np.minimum(np.maximum(found.boxes, np.float32(0)), limit), found.landmarks, found.scores)


def _parts(jobs: Sequence[_Job], best_batch: int) -> Iterator[list[_Job]]:
    """Those that go together: equally large, at most `best_batch`."""
    by_size: dict[tuple[int, int], list[_Job]] = {}
    for job in jobs:
        by_size.setdefault(job.size, []).append(job)
    for together in by_size.values():
        for start in range(0, len(together), best_batch):
            yield together[start : start + best_batch]


def _in_color(small: Pixels, color: str) -> Pixels:
    """(h, w) luma or (h, w, 3) BGR, as a frame carries it, in the colours of the network."""
    match color, small.ndim:
        case "luma", 3:
            return cast(Pixels, cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        case "bgr" | "rgb", 2:
            return cast(Pixels, cv2.cvtColor(small, cv2.COLOR_GRAY2BGR))
        case "rgb", _:
            return small[..., ::-1]
        case _:
            return small
