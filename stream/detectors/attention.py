"""Finding the faces of a frame: those that are followed at their places, new ones where they may have come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.decoding.nms import ious
from stream.detectors.base import Detector
from stream.detectors.gaze import Boxes, Gaze, everything
from stream.records import Faces, Frame

SAME = 0.3  # IoU from which a face that was searched for is one that is followed


def find(detector: Detector, frames: Sequence[Frame], gazes: Sequence[Gaze], expected: Sequence[Boxes]) -> list[Faces]:
    """The faces of each frame; `expected`: (N, 4) x1 y1 x2 y2 per frame, where the followed ones were last.

    What is told of a followed face comes from its own window, in every frame alike, whether the picture is searched or
    not: there the network sees faces of all sizes at one, so the crop is framed in one way. A face that its window does
    not show may be seen in an area. New ones are told by the whole picture alone, and an area only hints at them: where
    it ends, the network sees an edge that is none, and then faces that are none.
    """
    followed = detector.follow(frames, expected)
    missing = [boxes[_apart(boxes, faces.boxes)] for faces, boxes in zip(followed, expected, strict=True)]
    areas = [
        gaze.areas(frame, faces.boxes, away)
        for gaze, frame, faces, away in zip(gazes, frames, followed, missing, strict=True)
    ]
    searched = detector.search(frames, areas)
    hints = [
        number
        for number, (frame, new) in enumerate(zip(frames, searched, strict=True))
        if areas[number] != everything(frame) and _apart(new.boxes, followed[number].boxes, missing[number]).any()
    ]
    again = detector.search([frames[n] for n in hints], [everything(frames[n]) for n in hints])
    for number, faces in zip(hints, again, strict=True):
        gazes[number].searched_all(frames[number])
        searched[number] = faces
    return [_joined(known, new, detector.most) for known, new in zip(followed, searched, strict=True)]


def _joined(known: Faces, new: Faces, most: int) -> Faces:
    """Both, without those of `new` that are in `known`; best score first, and no more than `most`."""
    if not len(new) or not len(known):
        return new if len(new) else known
    fresh = _apart(new.boxes, known.boxes)
    scores = np.concatenate([known.scores, new.scores[fresh]])
    order = np.argsort(-scores, kind="stable")[:most]
    return Faces(
        np.concatenate([known.boxes, new.boxes[fresh]])[order],
        np.concatenate([known.landmarks, new.landmarks[fresh]])[order],
        scores[order],
    )


def _apart(boxes: Boxes, *others: Boxes) -> NDArray[np.bool_]:
    """(N,) which of the (N, 4) boxes are none of the others, (M, 4) each."""
    apart: NDArray[np.bool_] = ious(boxes, np.concatenate(others)).max(axis=1, initial=0.0) < SAME
    return apart
