"""Finding faces: the name of a decoding family, as a model's spec gives it, -> how its answers are read."""

from __future__ import annotations

from engines.base import Engine
from engines.errors import ModelInvalid
from stream.config import DetectorConfig
from stream.detectors.base import Decoding, Detector
from stream.detectors.engine_detector import EngineDetector
from stream.detectors.yunet import YUNET

DECODINGS: dict[str, Decoding] = {
    "yunet": YUNET,
}


def make_detector(config: DetectorConfig, engine: Engine) -> Detector:
    """The detector of this engine, which it then owns. Raises ModelInvalid when the model finds no faces."""
    decoding = DECODINGS.get(engine.spec.decoding or "")
    if engine.spec.task != "face" or decoding is None:
        raise ModelInvalid(
            f"{engine.spec.name}: expected a face detector with decoding {' or '.join(DECODINGS)}, got "
            f"task {engine.spec.task} with decoding {engine.spec.decoding}; name a face model as detector.model"
        )
    return EngineDetector(config, engine, decoding)
