"""Folds for cross-validation, for data sets whose makers did not split them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from train.data.records import Faces
from train.errors import DataMissing, RecipeInvalid

Rows = NDArray[np.int64]  # row numbers, ascending


def folds(
    faces: Faces, count: int = 10, by: Literal["subject", "image"] = "subject", seed: int = 0
) -> list[tuple[Rows, Rows]]:
    """`count` pairs (training rows, held-out rows); every row is held out once. The same seed gives the same folds.

    By "subject" nobody's face is in both, and the folds are as even in size as whole subjects allow: the honest number,
    as a camera meets people it was not trained on. By "image" each class is spread evenly over the folds: what many
    papers did, and what makes their numbers high, since the same people are in both, and CK+'s three frames of a
    sequence are near-copies of each other. The two must never be compared.
    """
    if by not in ("subject", "image") or count < 2:
        raise RecipeInvalid(f'folds are at least 2, by "subject" or by "image", not {count} by {by!r}')
    numbers = (_by_subject if by == "subject" else _by_image)(faces, count, np.random.default_rng(seed))
    return [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(count)]


def _by_subject(faces: Faces, count: int, random: np.random.Generator) -> Rows:
    """(N,) fold of each row: the subjects with most images first, each to the fold that has fewest images so far."""
    if faces.subjects is None:
        raise DataMissing('nothing tells whose faces these are; make the folds by "image"')
    subjects, subject, images = np.unique(faces.subjects, return_inverse=True, return_counts=True)
    _enough(len(subjects), "subjects", count)
    shuffled = random.permutation(len(subjects))  # so that the seed decides among subjects with as many images
    sizes, fold_of = np.zeros(count, np.int64), np.zeros(len(subjects), np.int64)
    for number in shuffled[np.argsort(-images[shuffled], kind="stable")]:
        fold_of[number] = sizes.argmin()
        sizes[fold_of[number]] += images[number]
    return fold_of[subject]


def _by_image(faces: Faces, count: int, random: np.random.Generator) -> Rows:
    """(N,) fold of each row: shuffled, sorted by class, then dealt like cards."""
    _enough(len(faces), "images", count)
    shuffled = random.permutation(len(faces))
    dealt = shuffled[np.argsort(faces.labels[shuffled], kind="stable")]
    numbers = np.empty(len(faces), np.int64)
    numbers[dealt] = np.arange(len(faces)) % count
    return numbers


def _enough(have: int, what: str, count: int) -> None:
    if have < count:
        raise DataMissing(f"{count} folds need at least {count} {what}, there are {have}; ask for fewer folds")
