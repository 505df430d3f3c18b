"""Pictures -> faces, with any face detector on any engine, read as cameras read it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding import decoding_of
from engines.decoding.base import Candidates
from engines.decoding.nms import best_boxes
from engines.preprocess import to_batch

MOST = 200  # faces in one picture


def find_faces(engine: Engine, image: NDArray[np.uint8], score_threshold: float | None = None) -> Candidates:
    """The faces in (H, W, 3) BGR, best first, in pixels of it. None takes the threshold that the model's spec gives.

    The picture is seen at its own size, padded with black at its right and lower end to the network's stride.
    """
    spec = engine.spec
    height, width = image.shape[:2]
    below, right = -height % spec.stride, -width % spec.stride
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT) if below or right else image
    seen = cv2.cvtColor(padded, cv2.COLOR_BGR2GRAY) if spec.color == "luma" else padded
    outputs = engine.infer(to_batch([seen if spec.color != "rgb" else seen[..., ::-1]], spec))
    threshold = spec.score_threshold if score_threshold is None else score_threshold
    one = {name: values[0] for name, values in outputs.items()}
    candidates = decoding_of(spec).decode(one, (padded.shape[0], padded.shape[1]), threshold or 0.0)
    candidates = candidates[np.isfinite(candidates.boxes).all(axis=1)]
    return candidates[best_boxes(candidates.boxes, candidates.scores, spec.nms_threshold or 1.0, MOST)]
