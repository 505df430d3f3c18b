"""The recipe of published real-time systems: `python haar.py CLIP [WIDTH]`.

A Haar cascade finds faces in the grey frame, and each face is one call of a network. The cascade and its settings
(scale 1.3, 5 neighbours) are those of Arriaga and others, "Real-time Convolutional Neural Networks for Emotion and
Gender Classification", 2017, https://github.com/oarriaga/face_classification. With WIDTH the frame is first made so
many pixels wide, as a careful user would: the time that a cascade takes grows with the number of pixels.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch
from network import Emotions
from turn import Look, take

CASCADE = "haarcascade_frontalface_default.xml"


def load(width_px: int | None) -> Look:
    emotions = Emotions()
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)

    def look(frame: np.ndarray) -> int:
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if width_px is not None:
            grey = cv2.resize(grey, (width_px, round(grey.shape[0] * width_px / grey.shape[1])))
        faces = cascade.detectMultiScale(grey, 1.3, 5)
        for x, y, width, height in faces:
            emotions.classify(grey[y : y + height, x : x + width])
        return len(faces)

    return look


if __name__ == "__main__":
    wanted_px = int(sys.argv[2]) if len(sys.argv) > 2 else None
    take(sys.argv[1], lambda: load(wanted_px), {"torch": torch.__version__})
