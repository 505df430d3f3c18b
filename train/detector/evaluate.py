"""A detector against its teacher, on clips that nothing has been fitted to, and on the photos that were held out.

No photo that was held out is trained on, but the epoch and the threshold were chosen on mosaics of them.

Both see the same pictures at the same size. Wanted is what the teacher finds at its own threshold. What it only
half believes (down to HALF_BELIEVED) is told apart: it counts against the strict precision, not against the other. How
far the teacher agrees with itself, when the picture is moved by MOVED_PX, says how much agreement can be asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding.base import Candidates
from train.detector.clips import frames
from train.detector.find import find_faces, in_color
from train.detector.photos import Photos
from train.detector.scoring import SIZES_PX, Tally

HALF_BELIEVED = 0.3
MOVED_PX = (5, 3)  # to the right and down: no multiple of a stride, so that each face falls on other cells
PHOTO_HEIGHTS_PX = (32, 64, 200)  # photos are all face; smaller than this a teacher wants to see what is around it


NONE = np.zeros((0, 4), np.float32)  # boxes


@dataclass(slots=True, eq=False)
class Result:
    """One set of pictures: a clip, or the photos."""

    name: str
    threshold: float
    pictures: int = 0
    strict: Tally = field(default_factory=Tally)
    lenient: Tally = field(default_factory=Tally)  # without what the teacher half believes
    itself: Tally = field(default_factory=Tally)  # the teacher, in the moved picture
    teacher_threshold: float = 0.0
    ours_ms: list[float] = field(default_factory=list)
    teacher_ms: list[float] = field(default_factory=list)

    def add(self, ours: Candidates, teacher: Candidates, half_believed: Candidates, moved: Candidates) -> None:
        """What both said of one picture, and the teacher of the moved one."""
        self.pictures += 1
        self.strict.add(ours, teacher, NONE)
        self.lenient.add(ours, teacher, half_believed.boxes)
        self.itself.add(moved, teacher, NONE)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each size of face, then one for all of at least the smallest; None where nothing was wanted."""
        sizes = [*SIZES_PX, (SIZES_PX[0][0], float("inf"))]
        names = [f"{low:.0f}-{high:.0f}" if np.isfinite(high) else f">{low:.0f}" for low, high in SIZES_PX]
        names.append(f">{SIZES_PX[0][0]:.0f}")
        return [self._row(name, low, high) for name, (low, high) in zip(names, sizes, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "pictures": self.pictures,
            "sizes": self.rows(),
            "found": self.found,
            "ms": self.ms,
            "teacher_ms": self.teachers_ms,
        }

    @property
    def found(self) -> int:
        """Answers of any size, right or wrong."""
        return sum(score >= self.threshold for score in self.strict.found_scores)

    @property
    def ms(self) -> float | None:
        """Median time for a picture, from its pixels to the faces."""
        return _median(self.ours_ms)

    @property
    def teachers_ms(self) -> float | None:
        """The same of the teacher."""
        return _median(self.teacher_ms)

    def _row(self, name: str, low: float, high: float) -> dict[str, Any]:
        return {
            "size_px": name,
            "faces": self.strict.count(low, high),
            "recall": _or_none(self.strict.recall(self.threshold, low, high)),
            "precision": _or_none(self.strict.precision(self.threshold, low, high)),
            "precision_lenient": _or_none(self.lenient.precision(self.threshold, low, high)),
            "landmark_error": _or_none(self.strict.error(self.threshold, low, high)),
            "landmark_error_median": _or_none(self.strict.middle_error(self.threshold, low, high)),
            "teacher_recall": _or_none(self.itself.recall(self.teacher_threshold, low, high)),
            "teacher_landmark_error": _or_none(self.itself.error(self.teacher_threshold, low, high)),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How a detector compares with its teacher."""

    model: str
    teacher: str
    threshold: float
    clips: dict[int, list[Result]]  # longer side of the pictures in pixels -> every clip, then all of them together
    photos: Result

    def together(self, longer_px: int) -> Result:
        """All clips at this size."""
        return self.clips[longer_px][-1]

    def metrics(self) -> dict[str, Any]:
        """What spec.json tells of the model's worth."""
        return {
            "teacher": self.teacher,
            "clips": {str(px): results[-1].as_dict() for px, results in self.clips.items()},
            "held_out_photos": self.photos.as_dict(),
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "model": self.model,
            "teacher": self.teacher,
            "threshold": self.threshold,
            "clips": {str(px): [result.as_dict() for result in results] for px, results in self.clips.items()},
            "held_out_photos": self.photos.as_dict(),
        }

    def table(self, results: Sequence[Result]) -> str:
        """Markdown, a line for each size of face that occurs."""
        lines = [
            "| pictures | size of face, px | faces | recall | precision | lenient | landmark error | its median "
            "| teacher itself |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for result in results:
            for row in result.rows():
                if row["faces"]:
                    shown = " | ".join(_shown(row[key]) for key in _COLUMNS)
                    itself = f"{_shown(row['teacher_recall'])}, {_shown(row['teacher_landmark_error'])}"
                    lines.append(f"| {result.name} | {row['size_px']} | {row['faces']} | {shown} | {itself} |")
            if not result.strict.count(SIZES_PX[0][0]):
                lines.append(f"| {result.name} | none | 0 | | {result.found} found | | | | |")
        return "\n".join(lines)

    def as_text(self) -> str:
        """For people."""
        parts = [f"{self.model} against {self.teacher}, scores from {self.threshold}"]
        for px, results in self.clips.items():
            total = results[-1]
            parts.append(f"\nclips, longer side {px} px: {total.ms} ms a picture, the teacher {total.teachers_ms} ms")
            parts.append(self.table(results))
        parts.append("\nheld-out photos")
        parts.append(self.table([self.photos]))
        return "\n".join(parts)


_COLUMNS = ("recall", "precision", "precision_lenient", "landmark_error", "landmark_error_median")


def evaluate(
    ours: Engine, teacher: Engine, clips: Sequence[Path], photos: Photos, sizes_px: Sequence[int], every: int = 1
) -> Report:
    """Both detectors on each `every`-th frame of the clips at each size, and on the photos that were held out."""
    by_size = {}
    for longer_px in sizes_px:
        total = Result("all clips", _threshold(ours), teacher_threshold=_threshold(teacher))
        by_size[longer_px] = [on_clip(ours, teacher, path, longer_px, every, total) for path in clips] + [total]
    numbers = np.flatnonzero(photos.held_out).tolist()
    return Report(
        ours.spec.name, teacher.spec.name, _threshold(ours), by_size, on_photos(ours, teacher, photos, numbers)
    )


def on_clip(ours: Engine, teacher: Engine, path: Path, longer_px: int, every: int, total: Result) -> Result:
    """One clip; what was seen also goes into `total`."""
    result = Result(path.name, _threshold(ours), teacher_threshold=_threshold(teacher))
    for image in frames(path, longer_px, every):
        _look(ours, teacher, image, (result, total))
    return result


def on_photos(ours: Engine, teacher: Engine, photos: Photos, numbers: Iterable[int]) -> Result:
    """Photos that were held out, each at several sizes on a grey ground as large as they are four times over."""
    result = Result("held-out photos", _threshold(ours), teacher_threshold=_threshold(teacher))
    for number in numbers:
        photo = photos[number]
        for height_px in PHOTO_HEIGHTS_PX:
            scale = height_px / photo.shape[0]
            small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
            side = -(-2 * height_px // 32) * 32
            ground = np.full((side, side, 3), 127, np.uint8)
            top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
            ground[top : top + small.shape[0], left : left + small.shape[1]] = small
            _look(ours, teacher, ground, (result,))
    return result


def _look(ours: Engine, teacher: Engine, image: NDArray[np.uint8], results: tuple[Result, ...]) -> None:
    """Both detectors in turn, each at its own threshold and timed from its picture to the faces."""
    mine, ours_ms = _timed(ours, in_color(image, ours.spec))
    seen = in_color(image, teacher.spec)
    theirs, teacher_ms = _timed(teacher, seen)
    half = find_faces(teacher, seen, min(HALF_BELIEVED, _threshold(teacher)))
    moved = _moved_back(find_faces(teacher, _moved(seen)))
    for result in results:
        result.add(mine, theirs, half[half.scores < _threshold(teacher)], moved)
        result.ours_ms.append(ours_ms)
        result.teacher_ms.append(teacher_ms)


def _moved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, further right and down; its edge is repeated."""
    right, down = MOVED_PX
    return cv2.copyMakeBorder(image, down, 0, right, 0, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)


def _moved_back(found: Candidates) -> Candidates:
    shift = np.array(MOVED_PX, np.float32)
    return Candidates(found.boxes - np.tile(shift, 2), found.landmarks - shift, found.scores)


def _timed(engine: Engine, image: NDArray[np.uint8]) -> tuple[Candidates, float]:
    started_s = time.perf_counter()
    found = find_faces(engine, image)
    return found, (time.perf_counter() - started_s) * 1e3


def _threshold(engine: Engine) -> float:
    assert engine.spec.score_threshold is not None  # of a face detector the spec demands it
    return engine.spec.score_threshold


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _or_none(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
