"""What the programs have in common: read a clip to its end with OpenCV, look at every frame, print one JSON line.

Counted are user and system seconds of all threads, and the wall clock. Loading the models is counted, imports are not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

Look = Callable[[np.ndarray], int]  # (H, W, 3) BGR uint8, a frame -> how many faces were classified in it


def take(clip: str, load: Callable[[], Look], versions: dict[str, str]) -> None:
    """`load` loads the models and returns what looks at a frame."""
    Path(clip).read_bytes()  # into the page cache
    frames = faces = 0
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    look = load()
    capture = cv2.VideoCapture(clip)
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames += 1
        faces += look(frame)
    capture.release()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    versions = {"opencv": cv2.__version__, **versions}
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "frames": frames, "faces": faces, "versions": versions}))
