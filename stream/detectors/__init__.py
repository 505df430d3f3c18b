"""Finding faces: an engine -> a detector, read as its model's spec says."""

from __future__ import annotations

from engines.base import Engine
from engines.decoding import reader_of
from stream.config import DetectorConfig
from stream.detectors.base import Detector
from stream.detectors.engine_detector import EngineDetector


def make_detector(config: DetectorConfig, engine: Engine) -> Detector:
    """The detector of this engine. Raises ModelInvalid when the model finds no faces."""
    return EngineDetector(engine, reader_of(engine.spec, config.max_faces, config.score_threshold))
