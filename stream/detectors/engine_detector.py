"""A detector out of any engine: small images -> batches -> decoded candidates -> faces in pixels of the full frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding.base import Candidates, Decoding
from engines.decoding.nms import best_boxes
from engines.errors import ModelInvalid
from engines.preprocess import Pixels, to_batch
from stream.config import DetectorConfig
from stream.records import Faces, Frame, Letterbox


class EngineDetector:
    """See stream.detectors.base.Detector. It owns the engine."""

    def __init__(self, config: DetectorConfig, engine: Engine, decoding: Decoding) -> None:
        spec = engine.spec
        if spec.score_threshold is None or spec.nms_threshold is None:
            raise ModelInvalid(f"{spec.name}: as a detector it also needs its thresholds")
        own = config.score_threshold
        self._score_threshold = spec.score_threshold if own is None else own
        self._iou_threshold = spec.nms_threshold
        self._max_faces = config.max_faces
        self._decode = decoding.decode
        self._engine = engine

    def detect(self, frames: Sequence[Frame]) -> list[Faces]:
        """One Faces per frame, same order, in pixels of the full frame; a frame's answer depends on it alone."""
        found = [Faces()] * len(frames)
        spec = self._engine.spec
        for part in _parts(frames, self._engine.best_batch):
            images = [_in_color(frames[number].small, spec.color) for number in part]
            outputs = self._engine.infer(to_batch(images, spec))
            for row, number in enumerate(part):
                frame = frames[number]
                own = {name: values[row] for name, values in outputs.items()}
                candidates = self._decode(own, (frame.small.shape[0], frame.small.shape[1]), self._score_threshold)
                found[number] = self._faces(candidates, frame.letterbox)
        return found

    def close(self) -> None:
        """Close the engine. May be called twice."""
        self._engine.close()

    def _faces(self, candidates: Candidates, letterbox: Letterbox) -> Faces:
        if not len(candidates):
            return Faces()
        inside = candidates[_inside(candidates, letterbox)]
        best = inside[best_boxes(inside.boxes, inside.scores, self._iou_threshold, self._max_faces)]
        return Faces(letterbox.boxes_to_frame(best.boxes), letterbox.points_to_frame(best.landmarks), best.scores)


def _parts(frames: Sequence[Frame], best_batch: int) -> Iterator[list[int]]:
    """The numbers of the frames that go together: equally large, at most `best_batch`."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, frame in enumerate(frames):
        by_size.setdefault(frame.small.shape, []).append(number)
    for numbers in by_size.values():
        for start in range(0, len(numbers), best_batch):
            yield numbers[start : start + best_batch]


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


def _inside(candidates: Candidates, letterbox: Letterbox) -> NDArray[np.bool_]:
    """(N,) which are believable: finite, and at least a pixel of the box is on the picture, not on its padding."""
    boxes = candidates.boxes
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(candidates.landmarks).all(axis=(1, 2))
    picture = np.array([letterbox.width_px * letterbox.scale_x, letterbox.height_px * letterbox.scale_y], np.float32)
    seen = np.minimum(boxes[:, 2:], picture) - np.maximum(boxes[:, :2], np.float32(0))
    believable: NDArray[np.bool_] = finite & (seen[:, 0] >= 1) & (seen[:, 1] >= 1)
    return believable
