"""How much a face crop deserves to be believed: 0..1 from its size, sharpness, detector score and turn of the head.

Each factor is smooth and near 1 for a good face, so that their product says how much of a good frame this one is worth:
one thing badly wrong is enough to spoil a crop. Smooth, because a threshold would make faces near it flicker.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.preprocess import Pixels

# The box width at which a face is worth half; the network's 48 pixel crop shows a face about 38 pixels wide.
HALF_WIDTH_PX = 14.0
# The sharpness at which a face is worth half.
HALF_SHARPNESS = 0.015
# The detector's score at which a face is worth half, and how fast that changes.
HALF_SCORE = 0.55
SCORE_STEP = 0.06
# How far the tip of the nose stands out from the plane of the eyes, in distances between the eyes.
NOSE_DEPTH = 0.55


def quality(crop: Pixels, landmarks: NDArray[np.float32], box: NDArray[np.float32], score: float) -> float:
    """0..1 for one face: `crop` is its aligned (H, W) uint8 luma, full range; `landmarks` (5, 2) and `box` (4,)
    x1 y1 x2 y2 are in pixels of the full frame, and `score` is the detector's.
    """
    width_px = float(box[2] - box[0])
    return size_factor(width_px) * sharpness_factor(sharpness(crop)) * score_factor(score) * turn_factor(landmarks)


def size_factor(width_px: float) -> float:
    """1 for a large face, 0.5 at HALF_WIDTH_PX: a small one is enlarged to the crop, and shows less than a crop can."""
    return _rise(width_px, HALF_WIDTH_PX)


def sharpness_factor(value: float) -> float:
    """1 for a sharp crop, 0.5 at HALF_SHARPNESS: out of focus, moving or hard compressed faces lose the wrinkles."""
    return _rise(value, HALF_SHARPNESS)


def score_factor(score: float) -> float:
    """1 for a sure detection, 0.5 at HALF_SCORE: what the detector doubts may be covered, cut off, or no face."""
    return 1.0 / (1.0 + math.exp((HALF_SCORE - score) / SCORE_STEP))


def turn_factor(landmarks: NDArray[np.float32]) -> float:
    """The squared cosine of the head's yaw: 1 for a frontal face, 0.5 at 45 degrees, 0 in profile; (5, 2) in any unit.

    The tip of the nose lies NOSE_DEPTH in front of the middle between the eyes. A head turned by an angle shows the
    distance of the eyes times its cosine, and the nose that depth times its sine to the side, along the line of the
    eyes; so their ratio is the tangent, however the head is rolled.
    """
    (left_x, left_y), (right_x, right_y), (nose_x, nose_y) = landmarks[:3].tolist()
    eyes_x, eyes_y = right_x - left_x, right_y - left_y
    from_middle_x, from_middle_y = nose_x - (left_x + right_x) / 2, nose_y - (left_y + right_y) / 2
    eyes = eyes_x * eyes_x + eyes_y * eyes_y  # distance squared
    aside = (from_middle_x * eyes_x + from_middle_y * eyes_y) / NOSE_DEPTH  # times the distance of the eyes
    return eyes * eyes / (eyes * eyes + aside * aside) if eyes > 0.0 else 0.0


def sharpness(crop: Pixels) -> float:
    """Variance of the Laplacian over the variance of the (H, W) uint8 crop; 0 for one flat colour.

    The ratio does not change when a picture gets brighter or richer in contrast, only its fine detail counts.
    """
    contrast = float(cv2.meanStdDev(crop)[1][0, 0])
    detail = float(cv2.meanStdDev(cv2.Laplacian(crop, cv2.CV_16S))[1][0, 0])
    return (detail / contrast) ** 2 if contrast > 0.0 else 0.0


def _rise(value: float, half: float) -> float:
    """0 at 0, 0.5 at `half`, towards 1 beyond: a Hill curve of the second order."""
    return value * value / (value * value + half * half)
