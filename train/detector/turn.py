"""A face photo turned to the side: the photos are nearly all frontal, and cameras see people from everywhere.

Zhu, Lei, Liu, Shi, Li 2016, "Face Alignment Across Large Poses: A 3D Solution" (arXiv 1511.07212, section 4, "face
profiling"), with the plainest of depths: an ellipsoid with a nose. What comes out is only a picture; whether there is a
face in it, and where, the teacher says as for any other.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.detector.photometric import texture

Pixels = NDArray[np.uint8]
NOSE_HEIGHT, NOSE_WIDTH = 0.22, 0.07  # of the face's width: how far the tip stands out, and its standard deviation
HAIR = 0.5  # of the face's width: how far behind the head's edge its last colour goes on


def turned(
    photo: Pixels, box: NDArray[np.float32], landmarks: NDArray[np.float32], random: np.random.Generator
) -> Pixels:
    """(H, W, 3) BGR of the same person, turned by 20 to 60 degrees away from where the face looks less."""
    height, width = photo.shape[:2]
    face = float(box[2] - box[0])
    away = float(landmarks[2, 0] - landmarks[:2, 0].mean()) / face  # a face that looks to its side is turned further
    side = np.sign(away) if abs(away) > 0.04 else random.choice([-1.0, 1.0])
    angle = np.radians(random.uniform(20.0, 60.0))
    picture, points, box = (photo, landmarks, box) if side > 0 else _mirrored(photo, landmarks, box)
    middle_x = float(box[0] + box[2]) / 2
    x = np.arange(width, dtype=np.float32)[None] - middle_x
    y = np.arange(height, dtype=np.float32)[:, None] - float(box[1] + box[3]) / 2
    depth = _depth(x, y, box, points)
    moved = x * np.cos(angle) + depth * np.sin(angle)  # where each pixel goes, to the right
    shift = face * 0.5 * np.sin(angle) * 0.8
    source, seen = _inverse(moved - shift, depth > 0, x, face)
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    columns = (source + np.float32(middle_x)).astype(np.float32)
    result = cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ground = texture(max(height, width), photo.ndim == 3, random)[:height, :width]
    weight = cv2.blur(seen.astype(np.float32), (3, 3))
    weight = weight if photo.ndim == 2 else weight[..., None]
    mixed = (result * weight + ground * (1 - weight)).astype(np.uint8)
    return mixed if side > 0 else np.ascontiguousarray(mixed[:, ::-1])


def _mirrored(
    photo: Pixels, landmarks: NDArray[np.float32], box: NDArray[np.float32]
) -> tuple[Pixels, NDArray[np.float32], NDArray[np.float32]]:
    width = photo.shape[1]
    points = landmarks[[1, 0, 2, 4, 3]] * np.float32([-1, 1]) + np.float32([width - 1, 0])
    return np.ascontiguousarray(photo[:, ::-1]), points, np.float32([width - box[2], box[1], width - box[0], box[3]])


def _depth(
    x: NDArray[np.float32], y: NDArray[np.float32], box: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(H, W) how far each pixel stands out, in pixels; 0 beside the head."""
    width, height = box[2] - box[0], box[3] - box[1]
    middle = (box[:2] + box[2:]) / 2
    inside = np.clip(1 - (x / (0.56 * width)) ** 2 - (y / (0.68 * height)) ** 2, 0, None)
    nose, eyes = points[2] - middle, points[:2].mean(axis=0) - middle
    along = np.clip((y - eyes[1]) / max(float(nose[1] - eyes[1]), 1.0), 0, None)  # 0 between the eyes, 1 at the tip
    ridge = np.where(along <= 1.1, np.clip(along, 0, 1), np.clip(1 - (along - 1.1) / 0.25, 0, 1))
    line = eyes[0] + np.clip(along, 0, 1) * (nose[0] - eyes[0])
    bump = NOSE_HEIGHT * width * ridge * np.exp(-(((x - line) / (NOSE_WIDTH * width)) ** 2) / 2)
    depth: NDArray[np.float32] = (0.5 * width * np.sqrt(inside) + bump * (inside > 0)).astype(np.float32)
    return depth


def _inverse(
    moved: NDArray[np.float32], head: NDArray[np.bool_], x: NDArray[np.float32], face: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W) which x is seen at each pixel, row by row, and whether the head is seen there at all.

    Going from the far side to the near one, what stands further out hides what lies behind it.
    """
    source = np.zeros_like(moved)
    seen = np.zeros(moved.shape, bool)
    columns = x[0]
    for row in range(len(moved)):
        at = np.flatnonzero(head[row])
        if len(at) < 8:
            continue
        # from the left, which turns towards us, to the right, which turns away: the contour is where it comes back
        reached = np.maximum.accumulate(moved[row, at])
        rising = np.concatenate([[True], np.diff(reached) > 1e-3])
        places, origins = reached[rising], columns[at][rising]
        source[row] = np.interp(columns, places, origins)
        seen[row] = (columns <= places[-1]) & (columns >= places[0] - HAIR * face)
    return source, seen
