"""How well found faces agree with wanted ones: recall, precision and landmark error by size of the face."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.decoding.base import Candidates
from train.detector.boxes import iou, share_inside

SAME = 0.5  # IoU from which a found face is the wanted one
SIZES_PX = ((12.0, 24.0), (24.0, 48.0), (48.0, float("inf")))  # longer side of a face in the detector's input


@dataclass(slots=True, eq=False)
class Tally:
    """What was seen over many pictures. A row a face; found ones with every score down to the lowest."""

    found_scores: list[float] = field(default_factory=list)
    found_sizes: list[float] = field(default_factory=list)
    found_true: list[bool] = field(default_factory=list)
    wanted_sizes: list[float] = field(default_factory=list)
    wanted_scores: list[float] = field(default_factory=list)  # of the answer that found it; 0 when none did
    wanted_errors: list[float] = field(
        default_factory=list
    )  # mean landmark distance / eye distance; nan when not found

    def add(self, found: Candidates, wanted: Candidates, doubtful: NDArray[np.float32]) -> None:
        """One picture. What lies by half on a `doubtful` box (M, 4), and on no wanted one, counts neither way.

        Greedy: the best score has the first choice, and takes the wanted face that it overlaps most.
        """
        overlaps = iou(found.boxes, wanted.boxes)
        doubts = share_inside(found.boxes, doubtful).max(axis=1, initial=0.0) >= SAME
        scores, errors = np.zeros(len(wanted)), np.full(len(wanted), np.nan)
        free = np.ones(len(wanted), bool)
        for row in np.argsort(-found.scores, kind="stable"):
            best = int(np.where(free, overlaps[row], -1.0).argmax()) if free.any() else -1
            true = best >= 0 and overlaps[row, best] >= SAME
            if true:
                free[best] = False
                scores[best] = found.scores[row]
                errors[best] = landmark_error(found.landmarks[row], wanted.landmarks[best])
            if true or not doubts[row]:
                self.found_scores.append(float(found.scores[row]))
                self.found_sizes.append(float(sizes(found.boxes[row : row + 1])[0]))
                self.found_true.append(bool(true))
        self.wanted_sizes += sizes(wanted.boxes).tolist()
        self.wanted_scores += scores.tolist()
        self.wanted_errors += errors.tolist()

    def recall(self, threshold: float, low: float = 0.0, high: float = float("inf")) -> float:
        """Share of wanted faces of this size that were found with at least this score; nan when there are none."""
        inside = _between(self.wanted_sizes, low, high)
        return float((np.array(self.wanted_scores)[inside] >= threshold).mean()) if inside.any() else float("nan")

    def precision(self, threshold: float, low: float = 0.0, high: float = float("inf")) -> float:
        """Share of answers of this size and at least this score that are wanted faces; nan when there are none."""
        inside = _between(self.found_sizes, low, high) & (np.array(self.found_scores) >= threshold)
        return float(np.array(self.found_true)[inside].mean()) if inside.any() else float("nan")

    def error(self, threshold: float, low: float = 0.0, high: float = float("inf")) -> float:
        """Mean landmark error of the wanted faces found, in distances of the eyes; nan when there are none."""
        errors = self._errors(threshold, low, high)
        return float(errors.mean()) if len(errors) else float("nan")

    def middle_error(self, threshold: float, low: float = 0.0, high: float = float("inf")) -> float:
        """The median of the same: in profile the eyes lie close together, and few such faces make up half the mean."""
        errors = self._errors(threshold, low, high)
        return float(np.median(errors)) if len(errors) else float("nan")

    def threshold_for(self, precision: float) -> float:
        """The lowest score from which on the answers are so precise; 1 when no score is enough."""
        order = np.argsort(-np.array(self.found_scores), kind="stable")
        scores, true = np.array(self.found_scores)[order], np.cumsum(np.array(self.found_true)[order])
        last = np.ones(len(scores), bool)
        last[:-1] = scores[:-1] != scores[1:]  # of equal scores all are meant
        enough = np.flatnonzero((true >= precision * np.arange(1, len(order) + 1)) & last)
        return float(scores[enough[-1]]) if len(enough) else 1.0

    def count(self, low: float = 0.0, high: float = float("inf")) -> int:
        """Wanted faces of this size."""
        return int(_between(self.wanted_sizes, low, high).sum())

    def average_precision(self) -> float:
        """Area under precision over recall, every point (as COCO, but at one IoU); 0 when nothing is wanted."""
        if not self.wanted_sizes or not self.found_scores:
            return 0.0
        order = np.argsort(-np.array(self.found_scores), kind="stable")
        true = np.cumsum(np.array(self.found_true)[order])
        precision = true / np.arange(1, len(order) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.diff(np.concatenate([[0], true])) / len(self.wanted_sizes)
        return float((best * steps).sum())

    def _errors(self, threshold: float, low: float, high: float) -> NDArray[np.float64]:
        inside = _between(self.wanted_sizes, low, high) & (np.array(self.wanted_scores) >= threshold)
        errors: NDArray[np.float64] = np.array(self.wanted_errors)[inside]
        return errors


def landmark_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """(5, 2) and (5, 2): mean distance over that of the wanted eyes (Sagonas et al. 2013, "300 Faces in-the-Wild")."""
    eyes = float(np.linalg.norm(wanted[1] - wanted[0]))
    return float(np.linalg.norm(found - wanted, axis=1).mean()) / max(eyes, 1e-6)


def sizes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) -> (N,) the longer side."""
    longer: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    return longer


def _between(values: list[float], low: float, high: float) -> NDArray[np.bool_]:
    array = np.array(values)
    inside: NDArray[np.bool_] = (array >= low) & (array < high)
    return inside
