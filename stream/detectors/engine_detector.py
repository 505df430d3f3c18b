"""A detector out of any engine: small images -> batches -> decoded candidates -> faces in pixels of the full frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import cv2

from engines.base import Engine, Outputs
from engines.decoding.reader import Reader
from engines.preprocess import Pixels, to_batch
from stream.records import Faces, Frame


class EngineDetector:
    """See stream.detectors.base.Detector. Whoever made the engine goes on owning it."""

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    def detect(self, frames: Sequence[Frame]) -> list[Faces]:
        """One Faces per frame, same order, in pixels of the full frame; a frame's answer depends on it alone."""
        found = [Faces()] * len(frames)
        spec = self._engine.spec
        for part in _parts(frames, self._engine.best_batch):
            images = [_in_color(frames[number].small, spec.color) for number in part]
            outputs = self._engine.infer(to_batch(images, spec))
            for row, number in enumerate(part):
                frame = frames[number]
                found[number] = self._faces({name: values[row] for name, values in outputs.items()}, frame)
        return found

    def _faces(self, outputs: Outputs, frame: Frame) -> Faces:
        letterbox = frame.letterbox
        picture = letterbox.height_px * letterbox.scale_y, letterbox.width_px * letterbox.scale_x
        best = self._reader.faces(outputs, (frame.small.shape[0], frame.small.shape[1]), picture)
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
