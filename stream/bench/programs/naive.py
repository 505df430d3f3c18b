"""The program that anyone would write: `python naive.py CLIP YUNET.onnx`.

OpenCV reads the video, YuNet finds faces in OpenCV's own runtime, and each face is one call of a network in PyTorch. It
is kind to itself: frames are made 640 pixels wide for the detector (as wide as emostream makes them), which a first
version would not do.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch
from network import Emotions
from turn import Look, take

WIDTH_PX = 640
SCORE = 0.7


def load(yunet: str) -> Look:
    emotions = Emotions()
    detector = cv2.FaceDetectorYN.create(yunet, "", (WIDTH_PX, WIDTH_PX), score_threshold=SCORE)

    def look(frame: np.ndarray) -> int:
        scale = frame.shape[1] / WIDTH_PX
        small = cv2.resize(frame, (WIDTH_PX, round(frame.shape[0] / scale)))
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
    take(sys.argv[1], lambda: load(sys.argv[2]), {"torch": torch.__version__})
