"""Measure the crop template: where the five landmarks lie in FER-2013's own framing.

A network answers best for faces that are framed as its training images were, so the template is measured on them: the
detector on the training images enlarged four times (at 48 pixels it finds few), mean position per landmark.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from train.detector.find import find_faces, in_color
from train.errors import DataMissing

ENLARGE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Mean landmarks over the images in which a face was found."""

    landmarks: NDArray[np.float64]  # (5, 2) x y; pixels of the training image, pixel centres are whole numbers
    spread: NDArray[np.float64]  # (5, 2) standard deviation
    found: int
    images: int  # looked at: each twice, once mirrored


def measure(images: NDArray[np.uint8], detector: Engine) -> Template:
    """The template of (N, H, W) luma images. Raises DataMissing when the detector finds no face in any of them.

    Each image is seen as it is and mirrored, as in training. What asymmetry is left is then the detector's own (YuNet
    puts the left eye about 0.7 pixels lower than the right, whichever way the face is turned), and as the same detector
    finds the faces at run time, it belongs into the template: a symmetric one would turn every crop by 2.5 degrees.
    """
    height, width = images.shape[1] * ENLARGE, images.shape[2] * ENLARGE
    found = []
    for image in (seen for picture in images for seen in (picture, picture[:, ::-1])):
        large = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
        grey = cv2.cvtColor(large, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
        faces = find_faces(detector, in_color(grey, detector.spec))
        if len(faces):
            found.append(faces.landmarks[0])
    if not found:
        raise DataMissing("no face was found in any training image; are these the right detector and FER-2013?")
    # pixel x of the small image covers pixels 4x .. 4x+3 of the large one, whose middle is 4x + 1.5
    points = (np.array(found, np.float64) + 0.5) / ENLARGE - 0.5
    return Template(points.mean(axis=0), points.std(axis=0), len(found), 2 * len(images))
