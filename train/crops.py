"""Pictures of people -> faces as cameras see them: found by a detector and cut out by `engines.preprocess.align`.

A data set has its own framing, which a camera never sees, so what a network is worth on other people's pictures is
measured on crops made in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.preprocess import align
from engines.spec import ModelSpec
from train.data import Splits, load, load_pictures, without_votes
from train.data.leaks import divided
from train.data.pictures import to_48
from train.detector.find import find_faces, in_color
from train.errors import DataMissing


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The faces of N pictures."""

    images: NDArray[np.uint8]  # (M, H, W) luma, M <= N, in the order of the pictures
    found: NDArray[np.bool_]  # (N,) whether a picture has one of them


def cut_out(pictures: Sequence[NDArray[np.uint8]], detector: Engine, spec: ModelSpec) -> Crops:
    """The largest face of each (H, W) luma picture, framed for the network of `spec`. Pictures may differ in size."""
    crops = [_largest(picture, detector, spec) for picture in pictures]
    images = [crop for crop in crops if crop is not None]
    empty = np.zeros((0, *spec.input_shape[1:]), np.uint8)
    return Crops(np.stack(images) if images else empty, np.array([crop is not None for crop in crops], bool))


def load_cut_out(name: str, detector: Engine, spec: ModelSpec) -> Splits:
    """`train.data.load`, each face cut out as a camera's is; a picture in which none is found stays whole.

    A picture that is blank is left out. Data that comes with test images of its own stays as it is: nobody holds out
    parts of that. Raises DataMissing when no face is found at all.
    """
    whole = load(name)
    if len(whole.public) or len(whole.private):
        return whole
    pictures = load_pictures(name)
    crops = cut_out(pictures.images, detector, spec)
    if not crops.found.any():
        raise DataMissing(f"{detector.spec.name} finds no face in {name}; leave the pictures whole")
    images = np.stack([to_48(picture) for picture in pictures.images])
    images[crops.found] = crops.images
    faces = without_votes(images, pictures.labels, len(pictures.classes), pictures.subjects)
    return divided(faces, np.zeros(len(faces), np.uint8), pictures.classes, whole.sha256)


def _largest(picture: NDArray[np.uint8], detector: Engine, spec: ModelSpec) -> NDArray[np.uint8] | None:
    seen = in_color(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False), detector.spec)
    faces = find_faces(detector, seen)
    if not len(faces):
        return None
    width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).T
    try:
        return align(picture, faces.landmarks[int((width * height).argmax())], spec)
    except ValueError:  # the landmarks coincide
        return None
