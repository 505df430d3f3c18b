"""Both detectors' boxes drawn on the same pictures, for people who want to see what a number means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding.base import Candidates
from train.detector.boxes import iou
from train.detector.evaluate import Seen, both
from train.detector.scoring import SAME

OURS, TEACHER = (80, 220, 80), (255, 160, 60)  # BGR
TILE_PX = 320  # width of one picture on a sheet
ACROSS = 4
SHOWN = 12


def write_pictures(
    ours: Engine, teacher: Engine, clips: Iterable[Path], longer_px: int, folder: Path, every: int = 1
) -> list[Path]:
    """One sheet a clip: half of its pictures are those on which both disagree most, the others evenly spread."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for clip in clips:
        seen = list(both(ours, teacher, clip, longer_px, every))
        chosen = sorted(set(_spread(len(seen), SHOWN // 2)) | set(_worst(seen, SHOWN // 2)))
        sheet = _sheet([draw(seen[number], ours.spec.name, teacher.spec.name) for number in chosen])
        paths.append(folder / f"{clip.stem}.jpg")
        cv2.imwrite(str(paths[-1]), sheet)
    return paths


def draw(seen: Seen, ours: str, teacher: str) -> NDArray[np.uint8]:
    """The picture with both detectors' boxes, landmarks and scores."""
    image = seen.image.copy()
    for found, colour, thick in ((seen.teacher, TEACHER, 3), (seen.ours, OURS, 1)):
        for box, points, score in zip(found.boxes, found.landmarks, found.scores, strict=True):
            left, top, right, bottom = np.rint(box).astype(int).tolist()
            cv2.rectangle(image, (left, top), (right, bottom), colour, thick)
            for x, y in np.rint(points).astype(int).tolist():
                cv2.circle(image, (x, y), thick, colour, -1)
            below = bottom + 12 if found is seen.ours else top - 4
            cv2.putText(image, f"{score:.2f}", (left, below), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)
    cv2.putText(image, ours, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, OURS, 1)
    cv2.putText(image, teacher, (4, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEACHER, 1)
    return image


def disagreement(ours: Candidates, teacher: Candidates) -> float:
    """Faces that only one of both found, each by the score it had."""
    overlaps = iou(ours.boxes, teacher.boxes)
    alone = overlaps.max(axis=1, initial=0.0) < SAME
    missed = overlaps.max(axis=0, initial=0.0) < SAME
    return float(ours.scores[alone].sum() + teacher.scores[missed].sum())


def _spread(count: int, wanted: int) -> list[int]:
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist() if count else []


def _worst(seen: list[Seen], wanted: int) -> list[int]:
    amounts = np.array([disagreement(one.ours, one.teacher) for one in seen])
    order = np.argsort(-amounts, kind="stable")[:wanted]
    return [int(number) for number in order if amounts[number] > 0]


def _sheet(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All on one picture, ACROSS in a row."""
    tiles = [_tile(image) for image in images]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % ACROSS)
    return np.vstack([np.hstack(tiles[start : start + ACROSS]) for start in range(0, len(tiles), ACROSS)])


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(image.shape[0] * TILE_PX / image.shape[1])
    return cv2.resize(image, (TILE_PX, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
