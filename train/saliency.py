"""What a network looks at: cover each part of a face in turn, and mark where its answer breaks.

The occlusion method as Deep-Emotion uses it (Minaee & Abdolrashidi 2019, https://arxiv.org/abs/1902.01019), after
Zeiler & Fergus 2014 (https://arxiv.org/abs/1311.2901): a square of zeros slides over the face, and where the label
changes there was something that the network needs.

Zero is meant after normalisation, so the square is the grey of the spec's mean (128 of 255), as in Zeiler & Fergus.
A zero before it would be black: the far end of the input, and to a network an open mouth or dark glasses. Mid-grey
is what convolutions pad with, so it says the least.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import ModelSpec
from train.data import Faces
from train.errors import DataMissing, TrainError
from train.plots import Tile, class_maps_png, face_maps_png
from train.predict import Network, Predict

FACES_FILE, CLASSES_FILE, FACTS_FILE = "faces.png", "classes.png", "saliency.json"

Images = NDArray[np.uint8]  # (N, H, W) luma
Maps = NDArray[np.float32]  # (N, H, W) share, 0..1, of the squares over a pixel that broke the answer


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Faces that the network names right, and where each of those answers breaks."""

    labels: tuple[str, ...]
    images: Images
    truth: NDArray[np.int64]  # (N,) index into labels; also the answer
    maps: Maps
    patch: int  # side of the square, pixels
    stride: int  # pixels
    grey: int  # of the square, 0..255

    def rows(self, label: int) -> NDArray[np.int64]:
        """Where the faces of one class stand."""
        return np.flatnonzero(self.truth == label)


def explain(network: Network, faces: Faces, per_class: int, patch: int, stride: int) -> Explained:
    """Maps of the first `per_class` faces of every class that the network names right.

    Only those, because an answer that is wrong already cannot break. Raises DataMissing when there is none at all.
    """
    answers = network.predict(faces.images).argmax(axis=1)
    chosen = first_right(answers, faces.labels, per_class)
    if not len(chosen):
        raise DataMissing("the network names no face of this split right, so that no answer can break; train it first")
    images, truth, grey = faces.images[chosen], faces.labels[chosen], grey_of(network.spec)
    maps = occlusion_maps(network.predict, images, truth, patch, stride, grey)
    return Explained(network.spec.labels, images, truth, maps, patch, stride, grey)


def first_right(answers: NDArray[np.int64], truth: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """Rows of the first `per_class` right answers of every class, in their order."""
    right = answers == truth
    rows = [np.flatnonzero(right & (truth == label))[:per_class] for label in np.unique(truth)]
    return np.sort(np.concatenate(rows))


def grey_of(spec: ModelSpec) -> int:
    """The pixel that comes nearest to 0 after the spec's normalisation."""
    return round(255 * spec.mean[0])


def occlusion_maps(
    predict: Predict, images: Images, answers: NDArray[np.int64], patch: int, stride: int, grey: int
) -> Maps:
    """For each image and pixel, the share of the squares over it with which the network no longer says `answers`.

    One image's squares go through the network together. Raises TrainError when the square is larger than the images.
    """
    height, width = images.shape[1:]
    if not 1 <= patch <= min(height, width):
        raise TrainError(f"a patch of {patch} pixels does not fit into faces of {height}x{width}; choose a smaller one")
    squares = [
        (slice(top, top + patch), slice(left, left + patch))
        for top in starts(height, patch, stride)
        for left in starts(width, patch, stride)
    ]
    covering = np.zeros((height, width), np.float32)
    for square in squares:
        covering[square] += 1
    maps = np.zeros(images.shape, np.float32)
    for image, answer, broken in zip(images, answers, maps, strict=True):
        now = predict(covered(image, squares, grey)).argmax(axis=1)
        for square in (squares[row] for row in np.flatnonzero(now != answer)):
            broken[square] += 1
    # a stride beyond the patch leaves pixels that no square covers: nothing is known to break there
    return maps / np.maximum(covering, 1)


def starts(side: int, patch: int, stride: int) -> list[int]:
    """Where squares begin along a side, in pixels; the last one always reaches the edge."""
    last = side - patch
    return [*range(0, last, stride), last]


def covered(image: NDArray[np.uint8], squares: Sequence[tuple[slice, slice]], grey: int) -> Images:
    """(squares, H, W): the image as often as there are squares, each time with one of them grey."""
    images = np.repeat(image[None], len(squares), axis=0)
    for copy, square in zip(images, squares, strict=True):
        copy[square] = grey
    return images


def write_maps(found: Explained, faces: int, folder: Path) -> dict[str, Any]:
    """Write `faces.png`, `classes.png` and `saliency.json` into an existing folder; what the last says is returned."""
    square = f"grey square of {found.patch} px, every {found.stride} px"
    face_maps_png(face_tiles(found, faces), folder / FACES_FILE, f"Where the answer breaks: {square}")
    class_maps_png(class_tiles(found), folder / CLASSES_FILE, f"Mean over right answers: {square}")
    facts = {
        "patch": found.patch,
        "stride": found.stride,
        "grey": found.grey,
        "faces": {label: len(found.rows(at)) for at, label in enumerate(found.labels)},
        "unbreakable": {label: _unbreakable(found.maps[found.rows(at)]) for at, label in enumerate(found.labels)},
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def face_tiles(found: Explained, faces: int) -> list[Tile]:
    """At most `faces` single ones, taken from the classes in turn, so that each class comes before any comes twice."""
    by_class = [found.rows(label) for label in range(len(found.labels))]
    in_turn = [row for turn in zip_longest(*by_class) for row in turn if row is not None]
    return [Tile(found.images[row], found.maps[row], found.labels[found.truth[row]]) for row in in_turn[:faces]]


def class_tiles(found: Explained) -> list[Tile]:
    """Every class that has a face: the mean face and the mean map."""
    tiles = []
    for at, label in enumerate(found.labels):
        if len(rows := found.rows(at)):
            mean_face = found.images[rows].mean(axis=0).round().astype(np.uint8)
            tiles.append(Tile(mean_face, found.maps[rows].mean(axis=0), f"{label} ({len(rows)} faces)"))
    return tiles


def _unbreakable(maps: Maps) -> int:
    """How many faces keep their answer whatever is covered."""
    return int((~maps.any(axis=(1, 2))).sum())
