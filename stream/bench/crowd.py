"""Clips that differ only in how many faces are in them: one portrait, many times, each face equally large.

The faces sway a little, so that they are followed, not only seen. The same installation makes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.portrait import portrait

FRAME_PX: Final = (1920, 1080)  # width, height
RATE_HZ: Final = 25
GRID: Final = (5, 4)  # columns, rows: places for faces
HEAD: Final = (100, 40, 432, 420)  # of the portrait, its collar too: x1 y1 x2 y2
HEAD_PX: Final = 210  # height of a head in the clip; the face is about half of it
SWAY_PX: Final = 20
SWAY_S: Final = 4.0

Image = NDArray[np.uint8]


def make_clip(path: Path, faces: int, seconds: float) -> Path:
    """An H.264 file with so many faces (at most 20) in every frame. Raises ModelInvalid without the portrait."""
    import av
    import cv2

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE_HZ, options={"preset": "veryfast", "crf": "23", "g": "50"})
        video.width, video.height = FRAME_PX
        video.pix_fmt = "yuv420p"
        video.thread_count = 1  # the bytes must not depend on the number of cores
        for picture in _pictures(faces, round(seconds * RATE_HZ)):
            planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(video.encode())
    return path


def _pictures(faces: int, count: int) -> Iterator[Image]:
    """(1080, 1920, 3) BGR, one after the other."""
    import cv2

    x1, y1, x2, y2 = HEAD
    head = portrait()[y1:y2, x1:x2]
    head = np.asarray(cv2.resize(head, (HEAD_PX * (x2 - x1) // (y2 - y1), HEAD_PX), interpolation=cv2.INTER_AREA))
    width, height = FRAME_PX
    wall = np.empty((height, width, 3), np.uint8)
    wall[:] = np.linspace(90, 170, height)[:, None, None]
    for index in range(count):
        picture = wall.copy()
        for number, (x, y) in enumerate(_places(faces)):
            phase = 2 * math.pi * (index / RATE_HZ / SWAY_S + number / len(_places(faces)))
            left, top = round(x + SWAY_PX * math.sin(phase)), round(y + SWAY_PX / 2 * math.cos(phase))
            picture[top : top + head.shape[0], left : left + head.shape[1]] = head
        yield picture


def _places(faces: int) -> list[tuple[float, float]]:
    """Upper left corners of the heads, the places in the middle of the picture first."""
    columns, rows = GRID
    width, height = FRAME_PX[0] / columns, FRAME_PX[1] / rows
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    cells.sort(key=lambda cell: (cell[0] - (columns - 1) / 2) ** 2 + (cell[1] - (rows - 1) / 2) ** 2)
    head_px = HEAD_PX * (HEAD[2] - HEAD[0]) / (HEAD[3] - HEAD[1])
    return [(width * (column + 0.5) - head_px / 2, height * (row + 0.5) - HEAD_PX / 2) for column, row in cells[:faces]]
