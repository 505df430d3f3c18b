"""The program that anyone would write: `python naive.py CLIP YUNET.onnx [WIDTH]`.

OpenCV reads the video, YuNet finds faces in OpenCV's own runtime, and each face is one call of a network in PyTorch.
With WIDTH the detector's frame is first made so many pixels wide, which a first version would not do.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch
from network import Emotions
from turn import Look, take

SCORE = 0.7


def load(yunet: str, width_px: int | None) -> Look:
    emotions = Emotions()
    detector = cv2.FaceDetectorYN.create(yunet, "", (640, 640), score_threshold=SCORE)

    def look(frame: np.ndarray) -> int:
        small, scale = frame, 1.0
        if width_px is not None:
            scale = frame.shape[1] / width_px
            small = cv2.resize(frame, (width_px, round(frame.shape[0] / scale)))
        detector.setInputSize((small.shape[1], small.shape[0]))
        _, found = detector.detect(small)
        boxes = np.zeros((0, 4)) if found is None else found[:, :4] * scale
        classified = 0
        for x, y, width, height in np.maximum(boxes, 0).astype(int):
            face = frame[y : y + height, x : x + width]
            if face.size:
                emotions.classify(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY))
                classified += 1
        return classified

    return look


if __name__ == "__main__":
    wanted_px = int(sys.argv[3]) if len(sys.argv) > 3 else None
    take(sys.argv[1], lambda: load(sys.argv[2], wanted_px), {"torch": torch.__version__})
