"""Scores over time -> one steady emotion per track, and the events of a face's life. Pure; everything in seconds.

A network's answer is noise around what a face shows, so answers are averaged before they are believed, and a new
emotion must prove itself before it is told. One `Aggregator` per camera; three rules:

- **Evidence.** A sample stands for the time since the sample before it (at most `max_dt_s`), weighs as much as its
  crop's quality and fades with `half_life_s`. The fading is integrated over the time that the sample stands for, so
  every analysis rate approaches one answer of continuous time: 30 frames a second are not six times surer than 5.
- **Emotion.** `uncertain` while there is too little evidence, or no label stands out. Another emotion is told once it
  has led the present one by `margin` for `hold_s`; so what has been told is not taken back for a trifle.
- **Events.** `emotion.changed` with the frame that proved it, `emotion.sample` at the first moment at or after each
  multiple of `sample_s` since the track began, `track.ended` with the summary of its life.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.config import AggregateConfig
from stream.events import UNCERTAIN, EmotionChanged, EmotionSample, Event, TrackEnded, TrackStarted, stamp
from stream.records import Moment, Scores, TrackEnd, Tracks

ROUNDING_S = 0.005  # containers round time stamps, some to a millisecond
THIN_AGAIN = 0.5  # an emotion is kept until the evidence is below this part of what it took to tell it


@dataclass(slots=True, eq=False)
class Evidence:
    """What a face has shown lately: quality-weighted means over time that fade.

    Means are kept, not sums (West, "Updating Mean and Variance Estimates", CACM 1979), so that they stay sound while
    their weights fade to nothing.
    """

    probabilities: list[float]  # one per label, sum to 1; the last known ones once the weights have faded
    quality: float  # 0..1, mean over the time that was looked at
    seen_s: float  # media time of the last sample; the weights are as of then
    weight_s: float = 0.0  # quality-weighted seconds; at most half_life_s / ln 2
    looked_s: float = 0.0  # seconds that fade, whatever the quality

    def add(self, now_s: float, probabilities: list[float], quality: float, config: AggregateConfig) -> None:
        """A sample at `now_s`, later than the one before it. Quality 0: there was nothing to be read."""
        gap_s = now_s - self.seen_s
        fade = math.exp2(-gap_s / config.half_life_s)
        stands_s = _integral(min(gap_s, config.max_dt_s), config.half_life_s)
        self.looked_s = self.looked_s * fade + stands_s
        self.weight_s = self.weight_s * fade + quality * stands_s
        self.quality += (quality - self.quality) * stands_s / self.looked_s
        if quality > 0.0:
            part = quality * stands_s / self.weight_s
            pairs = zip(self.probabilities, probabilities, strict=True)
            self.probabilities = [mean + (new - mean) * part for mean, new in pairs]
        self.seen_s = now_s

    def weight_at(self, now_s: float, half_life_s: float) -> float:
        """Quality-weighted seconds that are left at `now_s`, at or after the last sample."""
        return self.weight_s * math.exp2(-(now_s - self.seen_s) / half_life_s)


def _integral(stands_s: float, half_life_s: float) -> float:
    """The integral of 0.5 ** (age / half_life_s) over the ages 0 .. stands_s, in seconds."""
    return -half_life_s / math.log(2.0) * math.expm1(-math.log(2.0) * stands_s / half_life_s)


@dataclass(frozen=True, slots=True)
class Change:
    """Another emotion than `before` is told. It had proved itself at `since_s`, at the latest with this sample."""

    before: str
    since_s: float


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the labels stood at one sample."""

    at_s: float
    chances: dict[str, float]  # label -> probability
    weight_s: float


@dataclass(slots=True, eq=False)
class Steady:
    """The emotion that is told of a face: it changes only when another has led it for long enough.

    `uncertain` takes part like a label, with the probability at which another leads it from `min_confidence` on, and it
    leads another from `keep_confidence` downwards.
    """

    labels: tuple[str, ...]
    emotion: str = UNCERTAIN
    _leader: str = UNCERTAIN  # `emotion` itself when nothing else leads it by enough
    _leader_since_s: float = 0.0
    _last: _Standing | None = None

    def consider(self, evidence: Evidence, config: AggregateConfig) -> Change | None:
        """Take the evidence as of its last sample; the change that it brings, if it brings one.

        Doubt must last a half-life longer than another emotion: so long the evidence is split whenever a face goes from
        one emotion to another, and nobody wants to be told `uncertain` in between.
        """
        chances = dict(zip(self.labels, evidence.probabilities, strict=True))
        now = _Standing(evidence.seen_s, chances, evidence.weight_s)
        leader = self._find_leader(now, config)
        if leader != self._leader:
            self._leader, self._leader_since_s = leader, self._began_s(leader, now, config)
        self._last = now
        hold_s = config.hold_s + (config.half_life_s if leader == UNCERTAIN else 0.0)
        proved_s = self._leader_since_s + hold_s
        if leader == self.emotion or now.at_s < proved_s - ROUNDING_S:
            return None
        before, self.emotion = self.emotion, leader
        return Change(before, min(proved_s, now.at_s))

    def _find_leader(self, now: _Standing, config: AggregateConfig) -> str:
        if now.weight_s < self._enough_s(config):
            return UNCERTAIN
        best = max((*self.labels, UNCERTAIN), key=lambda label: self._lead(label, now, config))  # the first of equals
        return best if self._lead(best, now, config) >= config.margin else self.emotion

    def _lead(self, label: str, at: _Standing, config: AggregateConfig) -> float:
        """By how much, in probability, `label` is ahead of what is told."""
        margin = -config.margin if self.emotion == UNCERTAIN else config.margin
        doubt = (config.min_confidence if self.emotion == UNCERTAIN else config.keep_confidence) + margin
        return at.chances.get(label, doubt) - at.chances.get(self.emotion, doubt)

    def _began_s(self, leader: str, now: _Standing, config: AggregateConfig) -> float:
        """When the lead began: between two samples, where the straight line between them meets what a lead asks for.

        Without this every lead would begin at a sample, and later the rarer they are.
        """
        last = self._last
        if last is None or leader == self.emotion or now.weight_s < self._enough_s(config):
            return now.at_s
        share = max(
            _crossing(self._lead(leader, last, config), self._lead(leader, now, config), config.margin),
            _crossing(last.weight_s, now.weight_s, self._enough_s(config)),
        )
        return last.at_s + share * (now.at_s - last.at_s)

    def _enough_s(self, config: AggregateConfig) -> float:
        return config.min_evidence_s * (1.0 if self.emotion == UNCERTAIN else THIN_AGAIN)


def _crossing(before: float, after: float, threshold: float) -> float:
    """Where in 0..1 the straight line from `before` to `after` rises to `threshold`; 0 if it was above before."""
    return 0.0 if before >= threshold or after <= before else min((threshold - before) / (after - before), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """One face in one frame."""

    media_time_s: float
    box: NDArray[np.float32]  # (4,) x1 y1 x2 y2, pixels of the frame
    frame_size_px: tuple[int, int]  # width, height
    probabilities: list[float]  # one per label
    quality: float  # 0..1; 0: there was nothing to be read
    read: bool = True  # False: nobody looked, and the two above say nothing

    def is_used(self, config: AggregateConfig) -> bool:
        return self.quality > 0.0 and self.quality >= config.min_quality


class _Track:
    """One face from its first frame here to its end."""

    def __init__(self, track_id: int, labels: tuple[str, ...], first: _Sight, config: AggregateConfig) -> None:
        """The first sight stands for no time, since nobody looked before it; it only begins the clock."""
        self.track_id = track_id
        self.steady = Steady(labels)
        self.evidence = Evidence([1.0 / len(labels)] * len(labels), first.quality, first.media_time_s)
        self._started_s = first.media_time_s
        self._samples = 0  # points of the sample grid that have gone by
        self._last = first
        self._read_s = first.media_time_s  # of the last sight that was classified
        self._seconds = dict.fromkeys((*labels, UNCERTAIN), 0.0)  # emotion -> time told, from first to last sight
        self._frames_seen = 1
        self._frames_used = int(first.is_used(config))

    def see(self, sight: _Sight, config: AggregateConfig) -> Change | None:
        """The change that this sight brings, if it brings one. Time from the moment of proof on has the new emotion."""
        self._seconds[self.steady.emotion] += sight.media_time_s - self._last.media_time_s
        self._frames_seen += 1
        self._last = sight
        if not sight.read:
            return None
        used = sight.is_used(config)
        before_s, self._read_s = self._read_s, sight.media_time_s
        self._frames_used += used
        self.evidence.add(sight.media_time_s, sight.probabilities, sight.quality if used else 0.0, config)
        change = self.steady.consider(self.evidence, config)
        if change is not None:
            late_s = sight.media_time_s - max(change.since_s, before_s)
            self._seconds[change.before] -= late_s
            self._seconds[self.steady.emotion] += late_s
        return change

    def take_sample(self, now_s: float, sample_s: float) -> bool:
        """Whether a point of the sample grid has gone by since the last call; of several, only the last one counts."""
        passed = int((now_s - self._started_s + ROUNDING_S) / sample_s)
        due = passed > self._samples
        self._samples = max(passed, self._samples)  # a tick may be ahead of the frame after it
        return due

    def box(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 of the last sight as fractions of its frame."""
        width, height = self._last.frame_size_px
        x1, y1, x2, y2 = self._last.box.tolist()
        return x1 / width, y1 / height, x2 / width, y2 / height

    def state(self, now_s: float, config: AggregateConfig) -> dict[str, Any]:
        """What `emotion.changed` and `emotion.sample` say of the face at `now_s`.

        Confidence is the probability of the emotion (of the best label where it is `uncertain`), in proportion less
        while there is not `min_evidence_s` of evidence.
        """
        chances = dict(zip(self.steady.labels, self.evidence.probabilities, strict=True))
        chance = chances.get(self.steady.emotion, max(chances.values()))
        thin = min(1.0, self.evidence.weight_at(now_s, config.half_life_s) / config.min_evidence_s)
        return {
            "track_id": self.track_id,
            "emotion": self.steady.emotion,
            "probabilities": chances,
            "confidence": chance * thin,
            "quality": self.evidence.quality,
            "box": self.box(),
        }

    def summary(self) -> dict[str, Any]:
        """What `track.ended` says. The time between the last sight and the end does not count."""
        total_s = sum(self._seconds.values())
        shares = {emotion: seconds / total_s if total_s else 0.0 for emotion, seconds in self._seconds.items()}
        if not total_s:
            shares[UNCERTAIN] = 1.0  # seen in one frame only
        best = max(self.steady.labels, key=shares.__getitem__)
        return {
            "track_id": self.track_id,
            "duration_s": self._last.media_time_s - self._started_s,
            "shares": shares,
            "dominant": best if shares[best] else UNCERTAIN,
            "frames_seen": self._frames_seen,
            "frames_used": self._frames_used,
        }


class Aggregator:
    """Owns the tracks of one camera. What it answers depends on nothing but its own input."""

    def __init__(self, config: AggregateConfig, labels: tuple[str, ...]) -> None:
        self._config = config
        self._labels = labels
        self._tracks: dict[int, _Track] = {}

    def update(self, moment: Moment, tracks: Tracks, scores: Scores, frame_size_px: tuple[int, int]) -> list[Event]:
        """What a frame of `frame_size_px` (width, height) tells: tracks that began, emotions by track id, ends.

        `scores` has a row for each of `tracks`; a row of quality 0 was looked at in vain. Time grows from frame to
        frame as long as a track lives. A track begins with its first frame here, so that none can begin twice.
        """
        started: list[Event] = []
        previous: dict[int, str] = {}  # track id -> the emotion before, of those that changed
        told = (scores.probabilities.tolist(), scores.quality.tolist(), scores.read.tolist())
        for track_id, box, *score in zip(tracks.ids, tracks.faces.boxes, *told, strict=True):
            sight = _Sight(moment.media_time_s, box, frame_size_px, *score)
            track = self._tracks.get(track_id)
            if track is None:
                track = self._tracks[track_id] = _Track(track_id, self._labels, sight, self._config)
                started.append(TrackStarted(**stamp(moment), track_id=track_id, box=track.box()))
            elif (change := track.see(sight, self._config)) is not None:
                previous[track_id] = change.before
        ends = [*self._ends(moment, tracks.ended)]  # first, because a face that is gone has no samples
        return [*started, *self._emotions(moment, previous), *ends]

    def tick(self, moment: Moment, ended: tuple[TrackEnd, ...]) -> list[Event]:
        """What is due without a frame: samples of the faces that live on, by track id, then the ends.

        Ids that never came with a frame are ignored: nobody was told of their beginning.
        """
        ends = [*self._ends(moment, ended)]
        return [*self._emotions(moment, {}), *ends]

    def _emotions(self, moment: Moment, previous: Mapping[int, str]) -> Iterator[Event]:
        for track_id, track in sorted(self._tracks.items()):
            changed = track_id in previous
            due = self._config.sample_s is not None and track.take_sample(moment.media_time_s, self._config.sample_s)
            if changed or due:
                said = {**stamp(moment), **track.state(moment.media_time_s, self._config)}
                if changed:
                    yield EmotionChanged(**said, previous=previous[track_id])
                if due:
                    yield EmotionSample(**said)

    def _ends(self, moment: Moment, ended: tuple[TrackEnd, ...]) -> Iterator[Event]:
        for end in ended:
            track = self._tracks.pop(end.track_id, None)
            if track is not None:
                yield TrackEnded(**stamp(moment), reason=end.reason, **track.summary())
