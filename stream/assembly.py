"""Configuration, models and engines -> the stages of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from engines.base import Engine
from engines.store import Model
from stream.aggregate import Aggregator
from stream.classify import Classifier, Reads
from stream.config import Config
from stream.detectors import make_detector
from stream.detectors.gaze import Gaze
from stream.pipeline import Parts, Teller
from stream.privacy import Groups
from stream.tracking import Tracker


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run, found before anything starts."""

    face: Model
    emotion: Model

    def by_task(self) -> dict[str, Model]:
        return {"face": self.face, "emotion": self.emotion}


def assemble(config: Config, face: Engine, emotion: Engine) -> Parts:
    """The stages of a pipeline, around two engines that the caller goes on owning."""
    classifier = Classifier(config.emotion, emotion)
    detector = make_detector(config.detector, face)
    looking = config.detector if detector.follows else config.detector.model_copy(update={"scan_hz": None})
    return Parts(
        detector=detector,
        classifier=classifier,
        new_gaze=lambda: Gaze(looking, face.spec.stride),
        new_tracker=lambda: Tracker(config.tracking),
        new_reads=lambda: Reads(config.emotion),
        new_aggregator=lambda: _teller(config, classifier.labels),
        best_batch=face.best_batch,
        models={"face": face.spec.name, "emotion": emotion.spec.name},
        engines={"face": face.fingerprint, "emotion": emotion.fingerprint},
    )


def _teller(config: Config, labels: tuple[str, ...]) -> Teller:
    """What tells of a camera's faces: each, or with `aggregate_only` groups of them."""
    if config.privacy.mode == "full":
        return Aggregator(config.aggregate, labels)
    unsampled = config.aggregate.model_copy(update={"sample_s": None})  # nobody gets them
    return Groups(config.privacy, labels, Aggregator(unsampled, labels))
