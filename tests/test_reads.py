"""When a face is classified: at most so often, at once when it comes; and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

from engines.backends.fake import FakeEngine
from stream.classify import Classifier, Reads
from stream.config import EmotionConfig
from stream.records import Tracks
from tests.engines.networks import emotion_spec
from tests.makers import faces, frame

FACE = (20.0, 10.0, 60.0, 58.0)


def tracks(*ids: int) -> Tracks:
    return Tracks(ids, faces(*[FACE] * len(ids)))


def read_frames(fps: float, read_hz: float | None, seconds: float = 2.0) -> list[int]:
    """Which frames of a face that stays are read."""
    reads = Reads(EmotionConfig(read_hz=read_hz))
    return [number for number in range(round(seconds * fps)) if reads.due(number / fps, tracks(1)) == [True]]


def test_ten_of_twenty_five_are_every_third() -> None:
    assert read_frames(25, 10) == list(range(0, 50, 3))  # every second one would be 12.5 a second


@pytest.mark.parametrize(("fps", "step"), [(5, 1), (10, 1), (15, 2), (20, 2), (30, 3), (30.003, 3), (50, 5), (60, 6)])
def test_other_rates(fps: float, step: int) -> None:
    assert read_frames(fps, 10) == list(range(0, round(2 * fps), step))


def test_time_stamps_that_are_rounded_to_a_millisecond_change_nothing() -> None:
    reads = Reads(EmotionConfig(read_hz=10))
    due = [reads.due(round(number / 30, 3), tracks(1))[0] for number in range(60)]
    assert due == [number % 3 == 0 for number in range(60)]


def test_none_is_every_frame() -> None:
    assert read_frames(25, None) == list(range(50))


def test_each_face_has_its_own_time_and_who_comes_is_read_at_once() -> None:
    reads = Reads(EmotionConfig(read_hz=5))
    assert reads.due(0.0, tracks(1)) == [True]
    assert reads.due(0.1, tracks(1, 2)) == [False, True]
    assert reads.due(0.2, tracks(1, 2, 7)) == [True, False, True]
    assert reads.due(0.3, tracks(1, 2, 7)) == [False, True, False]


def test_a_face_that_comes_back_is_read_at_once() -> None:
    reads = Reads(EmotionConfig(read_hz=1))
    assert reads.due(0.0, tracks(1, 2)) == [True, True]
    assert reads.due(0.04, tracks(2)) == [False]
    assert reads.due(0.08, tracks(1, 2)) == [True, False]
    assert reads.due(0.12, tracks()) == []
    assert reads.due(0.16, tracks(1)) == [True]


def test_only_what_is_due_is_classified_and_the_rest_says_so() -> None:
    engine = FakeEngine(emotion_spec())
    classifier = Classifier(EmotionConfig(), engine)
    both = [tracks(1, 2), tracks(3)]
    first, second = classifier.classify([frame(value=200), frame("b", value=200)], both, [[False, True], [False]])
    assert engine.batches == [1]
    assert (first.read.tolist(), second.read.tolist()) == ([False, True], [False])
    assert first.quality[0] == second.quality[0] == 0
    (read,) = classifier.classify([frame(value=200)], [tracks(2)], [[True]])
    np.testing.assert_array_equal(first.probabilities[1], read.probabilities[0])
    np.testing.assert_allclose(first.probabilities[0], 1 / 3)


def test_a_face_too_small_to_read_was_looked_at_in_vain() -> None:
    engine = FakeEngine(emotion_spec())
    (scores,) = Classifier(EmotionConfig(min_face_px=50), engine).classify([frame()], [tracks(1)], [[True]])
    assert (scores.read.tolist(), scores.quality.tolist(), engine.batches) == ([True], [0.0], [])
