"""Faces that arithmetic can check: five bright dots on a dark ground, and what a teacher would say of them.

The dot of the eye on the left of the picture is the brightest, so that a mirrored face can be told from a plain one.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.spec import ModelSpec
from tests.squares import make_clip, make_models
from train.detector.corpus import Corpus, Origin
from train.detector.mosaic import Material
from train.detector.photos import Photos, album, encoded
from train.detector.teacher import SCALES, Labels

PLACES = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.78], [0.65, 0.78]], np.float32)  # of the box
LEFT_EYE, DOT, GROUND = 255, 200, 30  # grey levels
SQUARE = 180  # of which the detector of light squares is sure, though not as sure as it can be


def dotted(side: int, box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(side, side, 3) BGR with one face that fills `box`."""
    picture = np.full((side, side, 3), GROUND, np.uint8)
    for number, (x, y) in enumerate(landmarks_of(box).astype(int).tolist()):
        level = LEFT_EYE if number == 0 else DOT
        cv2.circle(picture, (x, y), round(float(box[2] - box[0]) * 0.08), (level,) * 3, -1)
    return picture


def landmarks_of(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, 2) where the dots of the face in this box are: whole numbers, which are pixel centres."""
    points: NDArray[np.float32] = np.rint(box[:2] + PLACES * (box[2:] - box[:2]) - np.float32(0.5))
    return points


def labels_of(boxes: list[NDArray[np.float32]], score: float = 0.9) -> Labels:
    """One face a picture, of which the teacher says the same at every scale."""
    return Labels(
        np.arange(len(boxes) + 1),
        np.stack(boxes),
        np.stack([landmarks_of(box) for box in boxes]),
        np.full((len(boxes), len(SCALES)), score, np.float32),
    )


def nothing(pictures: int) -> Labels:
    """Pictures in which the teacher finds no face."""
    boxes, landmarks = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    return Labels(np.zeros(pictures + 1, np.int64), boxes, landmarks, np.zeros((0, len(SCALES)), np.float32))


def corpus(faces: int = 8, empty: int = 4) -> Corpus:
    """Pictures of 96 pixels with a face, then some without; every fourth is held out."""
    boxes = [np.float32([20 + number, 16, 70 + number, 76]) for number in range(faces)]
    ramp = np.repeat(np.linspace(0, 200, 128, dtype=np.uint8)[None, :, None], 128, axis=0).repeat(3, axis=2)
    files = [encoded(dotted(96, box)) for box in boxes] + [encoded(np.roll(ramp, 9 * turn, 1)) for turn in range(empty)]
    found, none = labels_of(boxes), nothing(empty)
    first = np.concatenate([found.first, found.first[-1] + none.first[1:]])
    labels = Labels(first, found.boxes, found.landmarks, found.scores)
    origin = np.array([Origin.PHOTO] * faces + [Origin.BACKGROUND] * empty, np.uint8)
    return Corpus(album(files, [number % 4 == 3 for number in range(len(files))]), labels, origin, "somebody 12345678")


def material(color: str = "luma", side: int = 240) -> Material:
    """One photo, as large as real ones are, and no background."""
    box = np.float32([side * 0.25, side * 0.2, side * 0.75, side * 0.8])
    photos = album([encoded(dotted(side, box))], [False])
    read = photos.luma if color == "luma" else photos.bgr
    faces, empty = np.array([0], np.intp), np.zeros(0, np.intp)
    return Material(read, labels_of([box]), np.array([True]), faces, empty)


def light_squares(folder: Path) -> tuple[Path, Path]:
    """A detector of light squares that believes in what it is fairly sure of, and 0.4 s of a clip for it."""
    model, _ = make_models(folder / "models")
    ModelSpec.read(model).model_copy(update={"score_threshold": 0.5}).write(model)
    return model, make_clip(folder / "square.mp4", [(0.3, SQUARE), (0.1, None)])


def square_photos() -> Photos:
    """A photo that is held out, and one that is not."""
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[30:90, 20:80] = SQUARE
    return album([encoded(picture), encoded(picture[::-1])], [True, False])
