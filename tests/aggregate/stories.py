"""What a network would say of made faces over time, and what an Aggregator makes of it.

A story is one face's true signal at 60 Hz: `Signal.probabilities` and `.quality`. `tell` shows it to an Aggregator at
some rate, with some frames left out, under any configuration; so the settings can be tried against each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from engines.spec import EMOTIONS, LANDMARKS
from stream.aggregate import Aggregator
from stream.config import AggregateConfig
from stream.events import EmotionChanged, EmotionSample, Event, TrackEnded
from stream.records import EndReason, Faces, Moment, Scores, TrackEnd, Tracks

SIGNAL_HZ = 60
SIZE_PX = (200, 100)  # width, height of the frame
BOX = (20.0, 10.0, 60.0, 60.0)
RAMP_S = 0.3  # how long a face takes from one expression to the next
NOISE_S = 0.2  # after this long the noise has forgotten itself by 1/e; measured on five videos: 0.1 to 0.3 s
CAPTURED = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def at(media_time_s: float) -> Moment:
    return Moment("lobby", "s-1", media_time_s, CAPTURED, "rtcp")


def faces(count: int, box: tuple[float, float, float, float] = BOX) -> Faces:
    return Faces(
        np.array([box] * count, np.float32).reshape(-1, 4),
        np.zeros((count, LANDMARKS, 2), np.float32),
        np.ones(count, np.float32),
    )


def sure_of(emotion: str, probability: float = 1.0, labels: Sequence[str] = EMOTIONS) -> list[float]:
    """Probabilities with the rest spread evenly."""
    rest = (1.0 - probability) / (len(labels) - 1)
    return [probability if label == emotion else rest for label in labels]


def show(
    aggregator: Aggregator,
    media_time_s: float,
    seen: dict[int, tuple[list[float], float]],
    ended: tuple[TrackEnd, ...] = (),
    read: bool = True,
) -> list[Event]:
    """One frame: track id -> its probabilities and quality; `read`: whether they were looked at."""
    ids = tuple(sorted(seen))
    labels = len(seen[ids[0]][0]) if ids else len(EMOTIONS)
    scores = Scores(
        np.array([seen[track_id][0] for track_id in ids], np.float32).reshape(-1, labels),
        np.array([seen[track_id][1] for track_id in ids], np.float32),
        np.full(len(ids), read),
    )
    return aggregator.update(at(media_time_s), Tracks(ids, faces(len(ids)), ended=ended), scores, SIZE_PX)


@dataclass(frozen=True, eq=False)
class Signal:
    """One face over time, `SIGNAL_HZ` rows a second."""

    probabilities: NDArray[np.float32]  # (T, labels)
    quality: NDArray[np.float32]  # (T,)

    def times(self, hz: float, left_out: float = 0.0, seed: int = 0) -> list[int]:
        """The rows that a camera analysed at `hz` shows when this part of its frames is lost at random."""
        rows = np.arange(0, len(self.quality), round(SIGNAL_HZ / hz))
        kept = np.random.default_rng(seed).random(len(rows)) >= left_out
        kept[[0, -1]] = True  # so that the face is as long in view as without losses
        return [int(row) for row in rows[kept]]


def signal(parts: Sequence[tuple[str, float]], *, noise: float = 0.0, clear: float = 4.0, seed: int = 0) -> Signal:
    """`parts` are (emotion, seconds); `uncertain` shows nothing. `noise` is the standard deviation of each logit.

    The logits are the true emotion, `clear` above the others, plus an Ornstein-Uhlenbeck process, whose neighbours are
    alike as a video's neighbouring frames are; the quality wanders between about 0.5 and 0.95.
    """
    target = np.concatenate(
        [np.tile([clear * (label == emotion) for label in EMOTIONS], (round(s * SIGNAL_HZ), 1)) for emotion, s in parts]
    )
    ramp = round(RAMP_S * SIGNAL_HZ)
    padded = np.concatenate([np.repeat(target[:1], ramp - 1, axis=0), target])
    moved = np.stack([np.convolve(column, np.full(ramp, 1 / ramp), "valid") for column in padded.T], axis=1)
    random = np.random.default_rng(seed)
    powers = np.exp(moved + noise * wander(random, len(moved), len(EMOTIONS), NOISE_S))
    quality = 1 / (1 + np.exp(-1.2 - 0.6 * np.sign(noise) * wander(random, len(moved), 1, 0.5)[:, 0]))
    return Signal((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), quality.astype(np.float32))


def wander(random: np.random.Generator, rows: int, columns: int, memory_s: float) -> NDArray[np.float64]:
    """(rows, columns): Ornstein-Uhlenbeck processes of variance 1, sampled exactly at `SIGNAL_HZ`."""
    keep = np.exp(-1 / SIGNAL_HZ / memory_s)
    steps = random.standard_normal((rows, columns)) * np.sqrt(1 - keep * keep)
    steps[0] /= np.sqrt(1 - keep * keep)
    for row in range(1, rows):
        steps[row] += keep * steps[row - 1]
    return steps


@dataclass(frozen=True, eq=False)
class Told:
    """What came out of a story."""

    events: list[Event]
    longest_gap_s: float  # between two analysed frames

    @property
    def changes(self) -> list[EmotionChanged]:
        return [event for event in self.events if isinstance(event, EmotionChanged)]

    @property
    def emotions(self) -> list[str]:
        return [event.emotion for event in self.changes]

    @property
    def samples(self) -> list[EmotionSample]:
        return [event for event in self.events if isinstance(event, EmotionSample)]

    @property
    def summary(self) -> TrackEnded:
        last = self.events[-1]
        assert isinstance(last, TrackEnded)
        return last


def tell(story: Signal, rows: Iterable[int], config: AggregateConfig, *, reason: EndReason = "left") -> Told:
    """The events of one face that is seen at these rows of its story and then leaves."""
    aggregator = Aggregator(config, EMOTIONS)
    events: list[Event] = []
    times: list[float] = []
    for row in rows:
        times.append(row / SIGNAL_HZ)
        seen = {1: (story.probabilities[row].tolist(), float(story.quality[row]))}
        events += show(aggregator, times[-1], seen)
    events += aggregator.tick(at(times[-1] + 1.0), (TrackEnd(1, reason),))
    return Told(events, max(np.diff(times), default=0.0))
