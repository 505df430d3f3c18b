"""Looking only where it is worth it, in int8 where that is faster, tells what looking everywhere in fp32 tells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stream.bench.fidelity import REFERENCE
from stream.config import AggregateConfig, Config, DetectorConfig, EmotionConfig, EngineConfig
from stream.events import EmotionSample, Event, TrackEnded
from stream.launch import find_models
from tests.journey import journey

HZ = 5.0
LONG_S = 1.0  # tracks that lived less are of faces on the verge of being seen
SHARE, OVERLAP = 0.03, 0.8
Box = tuple[float, float, float, float]


def test_the_benchs_reference_computes_in_fp32() -> None:
    models = find_models(Config().model_copy(update=REFERENCE))
    assert {model.spec.precision for model in models.by_task().values()} == {"fp32"}


def events(clip: Path, *, everywhere: bool) -> list[Event]:
    """With samples in every analysed frame."""
    detector = DetectorConfig(scan_hz=None) if everywhere else DetectorConfig()
    emotion = EmotionConfig(read_hz=None) if everywhere else EmotionConfig()
    engine = EngineConfig(precision="model") if everywhere else EngineConfig()
    aggregate = AggregateConfig(sample_s=1 / HZ)
    return journey(clip, HZ, config=Config(engine=engine, detector=detector, emotion=emotion, aggregate=aggregate))


def long_lives(told: list[Event]) -> int:
    return sum(isinstance(event, TrackEnded) and event.duration_s >= LONG_S for event in told)


def times(told: list[Event]) -> Counter[str]:
    """Emotion -> its share of the time of all faces."""
    seconds: Counter[str] = Counter()
    for event in told:
        if isinstance(event, TrackEnded):
            seconds.update({emotion: share * event.duration_s for emotion, share in event.shares.items()})
    total = sum(seconds.values())
    return Counter({emotion: each / total for emotion, each in seconds.items()})


def boxes(told: list[Event]) -> dict[float, list[Box]]:
    """Media time -> where the faces are."""
    places: dict[float, list[Box]] = {}
    for event in told:
        if isinstance(event, EmotionSample):
            places.setdefault(event.media_time_s, []).append(event.box)
    return places


def overlap(box: Box, other: Box) -> float:
    """IoU."""
    a, b = np.array(box), np.array(other)
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["single_face.mp4", "crowd_cuts.mp4", "intel/classroom.gif"])
def test_the_same_faces_for_the_same_times_at_the_same_places(shared: Path, name: str) -> None:
    clip = shared / "videos" / name
    reference, told = events(clip, everywhere=True), events(clip, everywhere=False)
    assert long_lives(told) == long_lives(reference) >= 1
    expected, came = times(reference), times(told)
    assert {emotion for emotion in expected if abs(expected[emotion] - came[emotion]) > SHARE} == set()
    at = boxes(reference)
    overlaps = [
        max(overlap(box, other) for other in at[t]) for t, here in boxes(told).items() if t in at for box in here
    ]
    assert len(overlaps) >= 0.9 * sum(map(len, at.values()))
    assert np.mean(overlaps) >= OVERLAP
