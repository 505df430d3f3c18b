"""Both detectors' boxes drawn on the same pictures, for people who want to see what a number means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding.base import Candidates
from train.detector.boxes import iou
from train.detector.clips import frames
from train.detector.find import find_faces, in_color
from train.detector.scoring import SAME
from train.errors import DataMissing

OURS, TEACHER = (80, 220, 80), (255, 160, 60)  # BGR
TILE_PX = 320  # width of one picture on a sheet
ACROSS = 4
SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture and what both found in it, each at its own threshold."""

    image: NDArray[np.uint8]  # (H, W, 3) BGR
    ours: Candidates
    teacher: Candidates


def write_pictures(
    ours: Engine, teacher: Engine, clips: Iterable[Path], longer_px: int, folder: Path, every: int = 1
) -> list[Path]:
    """One sheet a clip: half of its pictures are those on which both disagree most, the others evenly spread.

    Raises DataMissing when a clip is no video, or a sheet cannot be written.
    """
    paths = []
    for clip in clips:
        # twice through the clip: all of its pictures at once can be gigabytes
        amounts = np.array([disagreement(seen) for seen in both(ours, teacher, clip, longer_px, every)])
        chosen = set(_spread(len(amounts), SHOWN // 2)) | set(_worst(amounts, SHOWN // 2))
        pictures = both(ours, teacher, clip, longer_px, every)
        tiles = [draw(seen, ours.spec.name, teacher.spec.name) for at, seen in enumerate(pictures) if at in chosen]
        if tiles:
            paths.append(folder / f"{clip.stem}.jpg")
            _write(paths[-1], _sheet(tiles))
    return paths


def both(ours: Engine, teacher: Engine, path: Path, longer_px: int, every: int) -> Iterator[Seen]:
    """What both find in a clip."""
    for image in frames(path, longer_px, every):
        mine = find_faces(ours, in_color(image, ours.spec))
        yield Seen(image, mine, find_faces(teacher, in_color(image, teacher.spec)))


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


def disagreement(seen: Seen) -> float:
    """Faces that only one of both found, each by the score it had."""
    ours, teacher = seen.ours, seen.teacher
    overlaps = iou(ours.boxes, teacher.boxes)
    alone = overlaps.max(axis=1, initial=0.0) < SAME
    missed = overlaps.max(axis=0, initial=0.0) < SAME
    return float(ours.scores[alone].sum() + teacher.scores[missed].sum())


def _spread(count: int, wanted: int) -> list[int]:
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist() if count else []


def _worst(amounts: NDArray[np.float64], wanted: int) -> list[int]:
    order = np.argsort(-amounts, kind="stable")[:wanted]
    return [int(number) for number in order if amounts[number] > 0]


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise DataMissing(f"{path} cannot be written; name another folder")


def _sheet(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All on one picture, ACROSS in a row."""
    tiles = [_tile(image) for image in images]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % ACROSS)
    return np.vstack([np.hstack(tiles[start : start + ACROSS]) for start in range(0, len(tiles), ACROSS)])


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(image.shape[0] * TILE_PX / image.shape[1])
    return cv2.resize(image, (TILE_PX, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
