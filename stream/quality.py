"""How much a face crop deserves to be believed: 0..1 from its size, sharpness, detection and the turn of the head.

Each factor is smooth and near 1 for a good face, so that the product says how much of a good frame this one is worth:
one thing badly wrong spoils a crop. Smooth, because a threshold would make faces near it flicker.

The constants follow the share of right answers of a MobileNetV1 trained on FER-2013, on its held-out images, blurred,
shrunk and enlarged again, or moved: a crop is worth what is left of the accuracy above chance (20 %).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.preprocess import Pixels

# Sharpness that is worth 63 %. Right answers by sharpness: 23 % at 0.006, 36 % at 0.02, 41 % at 0.05, 51 % at 0.1,
# and 54 to 58 % from 0.13 on; untouched images have 0.22.
SHARP_ENOUGH = 0.05
# Box width worth 63 %. The crop shows a face 38 pixels wide; shrunk to 29 pixels it lost 1 % of right answers, 10 %
# at 19, 23 % at 13 and 52 % at 6, of which sharpness already accounts for about half.
WIDE_ENOUGH_PX = 14.0
# How far the tip of the nose stands out from the plane of the eyes, in distances between the eyes: about 35 of 63 mm.
NOSE_DEPTH = 0.55


def quality(crop: Pixels, landmarks: NDArray[np.float32], box: NDArray[np.float32], score: float) -> float:
    """0..1 for one face: `crop` is its aligned (H, W) uint8 luma in full range, `landmarks` (5, 2) and `box` (4,)
    x1 y1 x2 y2 are in pixels of the full frame, `score` is the detector's.

    The score goes in as it is: right answers fell in step with YuNet's, from 66 % above 0.9 to 59 % at 0.87 and about
    53 % below 0.85. What a detector doubts may be covered, cut off, or no face.
    """
    width_px = float(box[2] - box[0])
    return size_factor(width_px) * sharpness_factor(sharpness(crop)) * turn_factor(landmarks) * score


def size_factor(width_px: float) -> float:
    """Near 1 from 30 pixels on. A smaller face is enlarged to the crop, and its landmarks tremble more."""
    return -math.expm1(-((width_px / WIDE_ENOUGH_PX) ** 2))


def sharpness_factor(value: float) -> float:
    """Near 1 for a sharp crop, 0 for one without any detail: out of focus, moving, or compressed too hard."""
    return -math.expm1(-value / SHARP_ENOUGH)


def turn_factor(landmarks: NDArray[np.float32]) -> float:
    """The squared cosine of the head's yaw: 1 for a frontal face, 0.5 at 45 degrees, 0 in profile; (5, 2) in any unit.

    The tip of the nose lies NOSE_DEPTH in front of the middle between the eyes. A head turned by an angle shows the
    distance of the eyes times its cosine, and the nose that depth times its sine to the side, along the line of the
    eyes; so their ratio is the tangent, however the head is rolled. On FER-2013 right answers fell from 68 % below a
    ratio of 0.1 to 53 % above 0.3; this falls further, because our crops are framed by landmarks that a turned head
    moves, and those images were not.
    """
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = landmarks[:3].tolist()
    eyes_x, eyes_y = right_x - left_x, right_y - left_y
    from_middle_x, from_middle_y = nose_x - (left_x + right_x) / 2, nose_y - (left_y + right_y) / 2
    eyes = eyes_x * eyes_x + eyes_y * eyes_y  # distance squared
    aside = (from_middle_x * eyes_x + from_middle_y * eyes_y) / NOSE_DEPTH  # times the distance of the eyes
    return eyes * eyes / (eyes * eyes + aside * aside) if eyes > 0.0 else 0.0


def sharpness(crop: Pixels) -> float:
    """How much fine detail the (H, W) uint8 crop has for its contrast, in the worse direction; 0 for a flat colour.

    Mean square of the second differences over the variance, a ratio that does not change when a picture gets brighter
    or richer in contrast. Averaging 3 x 3 pixels first, and looking two pixels far, leaves out the noise of the camera,
    which would pass for detail; a blur of half a pixel took nothing from the network's answers. The harmonic mean of
    both directions is ruled by the smaller one, so a face that moved in one direction counts as blurred. Explains half
    as much again of the probability that the network gave to the right label as the usual variance of the Laplacian
    (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000).
    """
    contrast = cv2.meanStdDev(crop)[1].item() ** 2
    smooth = cv2.blur(crop, (3, 3)).astype(np.int16)
    across = _energy(smooth[:, 4:] + smooth[:, :-4] - 2 * smooth[:, 2:-2])
    down = _energy(smooth[4:] + smooth[:-4] - 2 * smooth[2:-2])
    both = across + down
    return 2.0 * across * down / (both * contrast) if both * contrast > 0.0 else 0.0


def _energy(differences: NDArray[np.int16]) -> float:
    """Mean square."""
    return cv2.norm(differences, cv2.NORM_L2SQR) / differences.size
