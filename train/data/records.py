"""The records every source of training data comes as: faces, and their three splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.errors import DataMissing

SPLITS = ("training", "public", "private")  # numbers 0, 1, 2 wherever a split is a number


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Images of one split and what people called them."""

    images: NDArray[np.uint8]  # (N, 48, 48) luma
    labels: NDArray[np.int64]  # (N,) index into the classes of the Splits they belong to
    votes: NDArray[np.uint8]  # (N, classes) how many people chose each class; a row can be all 0
    subjects: NDArray[np.str_] | None = None  # (N,) whose face it is; None where that is not known of every image
    clear: NDArray[np.bool_] | None = None  # (N,) most people chose one class; None where nobody was asked

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Faces:
        """The faces of some rows: their numbers, or a (N,) mask."""
        subjects = None if self.subjects is None else self.subjects[rows]
        clear = None if self.clear is None else self.clear[rows]
        return Faces(self.images[rows], self.labels[rows], self.votes[rows], subjects, clear)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The three splits of a data set, and the digest of what they came from.

    A data set whose makers did not split it is all in `training`; `folds` then says what to hold out.
    """

    classes: tuple[str, ...]  # in the order of EMOTIONS, contempt last; only classes that the data set has
    training: Faces
    public: Faces  # to choose on; empty where there is none
    private: Faces  # to report once; empty where there is none
    sha256: str  # of the file, or over the files, that were read

    def split(self, name: str) -> Faces:
        """One of SPLITS by name. Raises DataMissing when it is empty, or when there is none of that name."""
        if name not in SPLITS:
            raise DataMissing(f"there is no split {name!r}; known: {', '.join(SPLITS)}")
        faces: Faces = getattr(self, name)
        if not len(faces):
            raise DataMissing(f"this data has no labelled {name} split; hold images out with train.data.folds")
        return faces


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Labelled pictures of people as they came, of any size, to find and cut the faces out as at run time."""

    classes: tuple[str, ...]  # as in Splits
    images: Sequence[NDArray[np.uint8]]  # N times (H, W) luma
    labels: NDArray[np.int64]  # (N,)
    subjects: NDArray[np.str_] | None = None  # as in Faces


def unsplit(faces: Faces, classes: tuple[str, ...], sha256: str) -> Splits:
    """Splits that have everything in `training`."""
    none = faces.take(np.zeros(0, np.int64))
    return Splits(classes, faces, none, none, sha256)


def without_votes(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, subjects: NDArray[np.str_] | None = None
) -> Faces:
    """Faces that nobody voted on: (N, classes) zeros."""
    return Faces(images, labels, np.zeros((len(labels), classes), np.uint8), subjects)


def soft_labels(faces: Faces, votes_weight: float, smoothing: float) -> NDArray[np.float32]:
    """(N, classes) target probabilities: the data set's label, mixed with votes where there are any, then smoothed.

    `votes_weight` is the votes' share, 0..1. FER+ votes for contempt, unknown and "not a face" have no column here; a
    row without any other vote keeps its hard label.
    """
    classes = faces.votes.shape[1]
    hard = np.eye(classes, dtype=np.float32)[faces.labels]
    total = faces.votes.sum(axis=1, keepdims=True).astype(np.float32)
    shares = np.divide(faces.votes, total, out=hard.copy(), where=total > 0)
    mixed = (1.0 - votes_weight) * hard + votes_weight * shares
    return ((1.0 - smoothing) * mixed + smoothing / classes).astype(np.float32)
