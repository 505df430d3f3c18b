"""Tracks and luma -> crops -> emotion engine -> Scores, over all cameras at once.

A crop is cut exactly as the network's training images were framed (`engines.preprocess.align`); limited-range luma is
expanded on the crop, never on the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.errors import ModelInvalid
from engines.preprocess import Pixels, align, expand_range, to_batch
from engines.probabilities import softmax
from stream.config import EmotionConfig
from stream.quality import quality
from stream.records import Frame, Scores, Tracks

ROUNDING_S = 0.005  # containers round time stamps, some to a millisecond


class Reads:
    """When each face of one camera was classified last: looks that follow each other closely tell nearly the same."""

    def __init__(self, config: EmotionConfig) -> None:
        self._interval_s = 1.0 / config.read_hz if config.read_hz else 0.0
        self._last_s: dict[int, float] = {}  # track id -> media time

    def due(self, media_time_s: float, tracks: Tracks) -> list[bool]:
        """Which of these tracks are to be classified now, and then count as classified; who has just come always is."""
        before, until_s = self._last_s, media_time_s - self._interval_s + ROUNDING_S
        due = [before.get(track_id, -math.inf) <= until_s for track_id in tracks.ids]
        self._last_s = {
            track_id: media_time_s if now else before[track_id] for track_id, now in zip(tracks.ids, due, strict=True)
        }
        return due


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    frame: int  # which frame of the call
    row: int  # which row of its tracks
    pixels: Pixels  # (H, W) full range


class Classifier:
    """Made and used by the analysis thread, which owns the engine in it.

    Raises ModelInvalid when the model reads no emotions.
    """

    def __init__(self, config: EmotionConfig, engine: Engine) -> None:
        if engine.spec.task != "emotion":
            raise ModelInvalid(
                f"{engine.spec.name}: expected an emotion network, got task {engine.spec.task}; name an emotion model "
                "as emotion.model"
            )
        self._min_face_px = config.min_face_px
        self._engine = engine
        self.labels = engine.spec.labels

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        """One Scores per frame, same order. A face too small to read gets quality 0 and equal probabilities.

        `due`: per frame, which of its tracks are to be looked at.
        """
        scores = [self._unread(wanted) for wanted in due]
        crops = [
            _Crop(number, row, pixels)
            for number, (frame, rows) in enumerate(zip(frames, tracks, strict=True))
            for row in range(len(rows))
            if due[number][row] and (pixels := self._crop(frame, rows, row)) is not None
        ]
        for start in range(0, len(crops), self._engine.best_batch):
            part = crops[start : start + self._engine.best_batch]
            for crop, answer in zip(part, self._probabilities(part), strict=True):
                faces = tracks[crop.frame].faces
                scores[crop.frame].probabilities[crop.row] = answer
                scores[crop.frame].quality[crop.row] = quality(
                    crop.pixels, faces.landmarks[crop.row], faces.boxes[crop.row], float(faces.scores[crop.row])
                )
        return scores

    def _unread(self, due: Sequence[bool]) -> Scores:
        rows, labels = len(due), len(self.labels)
        return Scores(
            np.full((rows, labels), 1.0 / labels, np.float32), np.zeros(rows, np.float32), np.array(due, np.bool_)
        )

    def _crop(self, frame: Frame, tracks: Tracks, row: int) -> Pixels | None:
        box = tracks.faces.boxes[row]
        if box[2] - box[0] < self._min_face_px:
            return None
        try:
            crop = align(frame.luma, tracks.faces.landmarks[row], self._engine.spec)
        except ValueError:  # the five landmarks coincide: there is no face to cut out
            return None
        return crop if frame.full_range else expand_range(crop)

    def _probabilities(self, crops: Sequence[_Crop]) -> NDArray[np.float32]:
        """(B, L) softmax of the logits over the spec's temperature."""
        spec = self._engine.spec
        logits = self._engine.infer(to_batch([crop.pixels for crop in crops], spec))[spec.outputs[0]]
        return softmax(logits.astype(np.float64) / spec.temperature).astype(np.float32)
