"""Reading detectors: the name of a decoding family, as a model's spec gives it, -> how its outputs become faces.

It stands beside `preprocess`, as its other end: run time and training read a network with the same lines.
"""

from __future__ import annotations

from engines.decoding.base import Decoding
from engines.decoding.reader import Reader
from engines.decoding.yunet import YUNET
from engines.errors import ModelInvalid
from engines.spec import ModelSpec

DECODINGS: dict[str, Decoding] = {
    "yunet": YUNET,
}


def reader_of(spec: ModelSpec, most: int, score_threshold: float | None = None) -> Reader:
    """How this face detector is read; its own threshold unless another is given.

    Raises ModelInvalid when the model finds no faces, or cannot be read.
    """
    decoding = DECODINGS.get(spec.decoding or "")
    if spec.task != "face" or decoding is None:
        raise ModelInvalid(
            f"{spec.name}: expected a face detector with decoding {' or '.join(DECODINGS)}, got "
            f"task {spec.task} with decoding {spec.decoding}; name a face model as detector.model"
        )
    if any(spec.input_shape[1:]):
        raise ModelInvalid(
            f"{spec.name}: a face detector must take pictures of any height and width (0 in input_shape), got "
            f"{spec.input_shape}; export it with free sides"
        )
    missing = [name for name in decoding.outputs if name not in spec.outputs]
    if missing:
        raise ModelInvalid(f"{spec.name}: decoding {spec.decoding} also reads the outputs {', '.join(missing)}")
    assert spec.score_threshold is not None  # of a face detector the spec demands both
    assert spec.nms_threshold is not None
    threshold = spec.score_threshold if score_threshold is None else score_threshold
    return Reader(decoding, threshold, spec.nms_threshold, most)
