"""Measure the crop template: where the five landmarks lie in FER-2013's own framing.

A network answers best for faces that are framed as its training images were, so the template is measured on them: YuNet
on the training images enlarged four times (at 48 pixels it finds few), mean position per landmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.errors import DataMissing

ENLARGE = 4
SCORE_THRESHOLD = 0.6
# FaceDetectorYN rows: x y w h, then right eye, left eye, nose, right and left mouth corner of the *person*, then score.
# The person's right is the picture's left, so this is already our order: left eye, right eye, ... as seen.
_LANDMARKS = slice(4, 14)


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Mean landmarks over the images in which a face was found."""

    landmarks: NDArray[np.float64]  # (5, 2) x y; pixels of the training image, pixel centres are whole numbers
    spread: NDArray[np.float64]  # (5, 2) standard deviation
    found: int
    images: int  # looked at: each twice, once mirrored


def measure(images: NDArray[np.uint8], detector_path: Path) -> Template:
    """The template of (N, H, W) luma images. Raises DataMissing when the detector finds no face in any of them.

    Each image is seen as it is and mirrored, as in training. What asymmetry is left is then the detector's own (it puts
    the left eye about 0.7 pixels lower than the right, whichever way the face is turned), and as the same detector
    finds the faces at run time, it belongs into the template: a symmetric one would turn every crop by 2.5 degrees.
    """
    height, width = images.shape[1] * ENLARGE, images.shape[2] * ENLARGE
    detector = cv2.FaceDetectorYN.create(str(detector_path), "", (width, height), score_threshold=SCORE_THRESHOLD)
    found = []
    for image in (seen for picture in images for seen in (picture, picture[:, ::-1])):
        large = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
        _, faces = detector.detect(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR))
        if faces is not None:
            best = faces[faces[:, -1].argmax()]
            found.append(best[_LANDMARKS].reshape(5, 2))
    if not found:
        raise DataMissing("no face was found in any training image; is this the YuNet model and FER-2013?")
    # pixel x of the small image covers pixels 4x .. 4x+3 of the large one, whose middle is 4x + 1.5
    points = (np.array(found, np.float64) + 0.5) / ENLARGE - 0.5
    return Template(points.mean(axis=0), points.std(axis=0), len(found), 2 * len(images))
