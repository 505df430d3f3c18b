"""The 256 pictures that travel with a detector, so that anyone can check an engine against the checkpoint's answers.

No training photo may be shipped: these show one portrait in the public domain (`engines/portrait.py`) at many sizes and
places, and textures without a face.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.portrait import portrait
from train.detector.photometric import degrade, texture

COUNT = 256
TEXTURES = 32
SIDE_PX = 64
FACE = (190, 100, 340, 320)  # x1 y1 x2 y2 of the face in the 512x600 portrait


def parity_pictures(color: str) -> NDArray[np.uint8]:
    """(COUNT, 64, 64) luma or (COUNT, 64, 64, 3) BGR: the same bytes at every call with the same libraries."""
    random = np.random.default_rng(20261121)
    picture = portrait()
    seen = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint8) if color == "luma" else picture
    faces = [degrade(_part(seen, random), random) for _ in range(COUNT - TEXTURES)]
    return np.stack(faces + [texture(SIDE_PX, color != "luma", random) for _ in range(TEXTURES)])


def _part(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A square of the portrait in which the face is 10 to 60 pixels high, somewhere."""
    scale = float(np.exp(random.uniform(np.log(10), np.log(60)))) / (FACE[3] - FACE[1])
    middle = np.array([FACE[0] + FACE[2], FACE[1] + FACE[3]]) / 2
    shift = random.uniform(0.3, 0.7, 2) * SIDE_PX - middle * scale
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    matrix = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    part = cv2.warpAffine(small, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return part.astype(np.uint8, copy=False)
