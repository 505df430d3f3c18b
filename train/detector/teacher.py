"""Pseudo labels: what a teacher finds in unlabelled pictures, at several scales, and how sure it is at each.

A face counts as one when the teacher is sure of it at most of the scales; its box and landmarks are then the mean of
what was seen at those, each weighted by its score. What is found at fewer scales is a doubt: neither taught nor held
against the student. The table keeps every score, so that another rule needs no other look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding.base import Candidates
from train.detector.boxes import iou
from train.detector.find import find_faces, in_color
from train.detector.photos import Photos

SCALES = (0.1, 0.14, 0.2, 0.28, 0.4, 0.57, 0.8, 1.13, 1.6)  # half octaves
LOWEST = 0.3  # below this score an answer is not even a doubt
SURE = 0.7
SAME = 0.5  # IoU from which two boxes are one face
MOST = (len(SCALES) + 1) // 2  # scales at which it has to be sure


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The faces of many pictures, in one table: picture i has the rows first[i] : first[i + 1]."""

    first: NDArray[np.int64]  # (pictures + 1,)
    boxes: NDArray[np.float32]  # (N, 4) x1 y1 x2 y2, edges in pixels of the picture
    landmarks: NDArray[np.float32]  # (N, 5, 2), pixel centres
    scores: NDArray[np.float32]  # (N, len(SCALES)) the teacher's at each scale, 0 where it found nothing

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, number: int) -> slice:
        """The rows of one picture."""
        return slice(int(self.first[number]), int(self.first[number + 1]))

    def sure(self) -> NDArray[np.bool_]:
        """(N,) which are faces beyond doubt."""
        counts: NDArray[np.bool_] = (self.scores >= SURE).sum(axis=1) >= MOST
        return counts


def joined(parts: Sequence[Labels]) -> Labels:
    """The labels of several albums, one after the other."""
    counts = np.concatenate([np.diff(part.first) for part in parts])
    return Labels(
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def label(
    teacher: Engine, pictures: Photos | Sequence[NDArray[np.uint8]], progress: Callable[[int], None] = lambda done: None
) -> Labels:
    """Look at every picture at every scale."""
    tables = []
    for number in range(len(pictures)):
        tables.append(label_picture(teacher, pictures[number]))
        progress(number + 1)
    counts = np.array([0] + [len(scores) for _, _, scores in tables], np.int64)
    return Labels(
        np.cumsum(counts),
        np.concatenate([_none(4), *[boxes for boxes, _, _ in tables]]),
        np.concatenate([_none(5, 2), *[landmarks for _, landmarks, _ in tables]]),
        np.concatenate([_none(len(SCALES)), *[scores for _, _, scores in tables]]),
    )


def label_picture(
    teacher: Engine, picture: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (N, 4), landmarks (N, 5, 2) and scores (N, len(SCALES)) of one picture."""
    seen = [_seen_at(teacher, picture, scale) for scale in SCALES]
    together = Candidates.joined(seen)
    boxes, landmarks, scores = together.boxes, together.landmarks, together.scores
    groups = _same_face(boxes, scores)
    table = np.zeros((len(groups), len(SCALES)), np.float32)
    at = np.concatenate([np.full(len(found), number) for number, found in enumerate(seen)]).astype(np.intp)
    mean_boxes, mean_landmarks = np.zeros((len(groups), 4), np.float32), np.zeros((len(groups), 5, 2), np.float32)
    for row, members in enumerate(groups):
        np.maximum.at(table[row], at[members], scores[members])
        trusted = members[scores[members] >= min(SURE, float(scores[members].max()))]
        mean_boxes[row] = np.average(boxes[trusted], axis=0, weights=scores[trusted])
        mean_landmarks[row] = np.average(landmarks[trusted], axis=0, weights=scores[trusted])
    return mean_boxes, mean_landmarks, table


def _none(*shape: int) -> NDArray[np.float32]:
    return np.zeros((0, *shape), np.float32)


def _seen_at(teacher: Engine, picture: NDArray[np.uint8], scale: float) -> Candidates:
    """What the teacher finds in the picture at this scale, in pixels of the picture itself."""
    height, width = picture.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    seen = cv2.resize(picture, size, interpolation=way).astype(np.uint8)
    found = find_faces(teacher, in_color(seen, teacher.spec), LOWEST)
    grown = np.array([width / size[0], height / size[1]], np.float32)
    return Candidates(found.boxes * np.tile(grown, 2), (found.landmarks + 0.5) * grown - 0.5, found.scores)


def _same_face(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """The rows of each face: the best answer that is left, and all that overlap it."""
    left = np.argsort(-scores, kind="stable")
    groups = []
    while len(left):
        same = iou(boxes[left[:1]], boxes[left])[0] >= SAME
        groups.append(left[same])
        left = left[~same]
    return groups
