"""Everything that a detector learns from, in one file: photos, the same people turned, backgrounds, their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from train.data import read_npz
from train.detector.photos import Photos, album, all_of, encoded
from train.detector.teacher import Labels, joined, label
from train.detector.turn import turned
from train.errors import DataMissing

TURN_SEED = 20261121
Progress = Callable[[str, int, int], None]  # (what, done, of)


class Origin(IntEnum):
    """Where a picture comes from."""

    PHOTO = 0
    TURNED = 1  # a photo's face, turned to the side
    BACKGROUND = 2


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Pictures, and what the teacher says of each."""

    pictures: Photos
    labels: Labels
    origin: NDArray[np.uint8]  # (pictures,) of Origin
    teacher: str  # its name and the digest of its spec

    def sha256(self) -> str:
        """Of all that training sees."""
        digest = hashlib.sha256(self.teacher.encode())
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def count(self, origin: Origin) -> int:
        """How many pictures come from there."""
        return int((self.origin == origin).sum())

    def write(self, path: Path) -> None:
        """All of it or nothing: making it takes longer than an epoch."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez(file, teacher=np.array(self.teacher), **self._arrays())
        part.replace(path)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        pictures, labels = self.pictures, self.labels
        return {
            "jpeg": pictures.jpeg,
            "offset": pictures.offset,
            "held_out": pictures.held_out,
            "origin": self.origin,
            "first": labels.first,
            "boxes": labels.boxes,
            "landmarks": labels.landmarks,
            "scores": labels.scores,
        }


def read_corpus(path: Path) -> Corpus:
    """A corpus that was written. Raises DataMissing for any other file."""
    if not path.is_file():
        raise DataMissing(f"{path} is not there; make it with `train detector corpus {path}`, or name another --corpus")
    arrays = read_npz(path)
    try:
        pictures = Photos(arrays["jpeg"], arrays["offset"], arrays["held_out"])
        labels = Labels(arrays["first"], arrays["boxes"], arrays["landmarks"], arrays["scores"])
        return Corpus(pictures, labels, arrays["origin"], str(arrays["teacher"]))
    except KeyError as error:
        raise DataMissing(f"{path} is no corpus ({error}); make one with `train detector corpus`") from None


def make_corpus(photos: Photos, backgrounds: Photos, teacher: Engine, progress: Progress) -> Corpus:
    """Label the photos, turn their faces to the side, label those, and the backgrounds."""

    def told(what: str, pictures: Photos) -> Callable[[int], None]:
        return lambda done: progress(what, done, len(pictures))

    labels = label(teacher, photos, told("photos", photos))
    sideways = turned_photos(photos, labels, told("turning", photos))
    found = label(teacher, sideways, told("turned photos", sideways))
    empty = label(teacher, backgrounds, told("backgrounds", backgrounds))
    albums = {Origin.PHOTO: photos, Origin.TURNED: sideways, Origin.BACKGROUND: backgrounds}
    origin = np.concatenate([np.full(len(pictures), origin, np.uint8) for origin, pictures in albums.items()])
    name = f"{teacher.spec.name} {teacher.spec.digest()}"
    return Corpus(all_of(list(albums.values())), joined([labels, found, empty]), origin, name)


def turned_photos(photos: Photos, labels: Labels, progress: Callable[[int], None]) -> Photos:
    """One more picture for each photo with a face beyond doubt. It is held out when its photo is."""
    sure = labels.sure()
    files: list[NDArray[np.uint8]] = []
    held_out: list[bool] = []
    for number in range(len(photos)):
        rows = labels.of(number)
        if sure[rows].any():
            row = rows.start + int(sure[rows].argmax())
            random = np.random.default_rng((TURN_SEED, number))
            files.append(encoded(turned(photos[number], labels.boxes[row], labels.landmarks[row], random)))
            held_out.append(bool(photos.held_out[number]))
        progress(number + 1)
    return album(files, held_out)
