"""Pictures -> faces, with any face detector on any engine, read as cameras read it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding import reader_of
from engines.decoding.base import Candidates
from engines.preprocess import to_batch
from engines.spec import ModelSpec

MOST = 200  # faces in one picture


def find_faces(engine: Engine, image: NDArray[np.uint8], score_threshold: float | None = None) -> Candidates:
    """The faces in a picture as `in_color` gives it, best first, in pixels of it.

    None takes the threshold that the model's spec gives. The picture is seen at its own size, padded with black at its
    right and lower end to the network's stride. Raises ModelInvalid when the model is no face detector.
    """
    spec = engine.spec
    reader = reader_of(spec, MOST, score_threshold)
    height, width = image.shape[:2]
    below, right = -height % spec.stride, -width % spec.stride
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT) if below or right else image
    outputs = engine.infer(to_batch([padded.astype(np.uint8, copy=False)], spec))
    one = {name: values[0] for name, values in outputs.items()}
    return reader.faces(one, (height + below, width + right), (height, width))


def in_color(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.uint8]:
    """(H, W, 3) BGR -> what this network sees: (H, W) luma, or (H, W, 3) in its order."""
    if spec.color == "luma":
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    return image if spec.color == "bgr" else np.ascontiguousarray(image[..., ::-1])
