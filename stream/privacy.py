"""`privacy.mode: aggregate_only`: of faces nothing leaves but counts of groups. Pure.

`Groups` stands where the pipeline has its Aggregator, so that what is known of single faces ends here, before an event
has a `seq`, a place in the outbox or an observer; `may_leave` is the list of what may go on from there. Not told are
boxes, landmarks, track ids, probabilities, pictures, and when a face came or went.

What is told is guarded as official statistics guard tables of counts, by a smallest group (Hundepool and others,
"Handbook on Statistical Disclosure Control", chapter 5, https://sdctools.github.io/HandbookSDC/05-frequency-tables.html;
the idea also in Sweeney, "k-anonymity: a model for protecting privacy", 2002):

- A group is `min_group` faces in **one picture**. Track ids would not do: a person who goes away and returns has two,
  and so one person could be a group. People who pass one by one are therefore never told, however many they are.
- A smaller group has neither counts nor their sum, and nobody at all is told like a smaller group: "three" and "none"
  both say something of a person.
- Small counts within a group are told: a 1 does not say which of the faces it is. Who knows the moods of the others by
  sight can tell, but leaving the 1 out would not help, since it can be had by subtracting the rest from `faces`.

What remains, and a larger `interval_s` and `min_group` lessen: when all of a group count under one emotion, it is that
of each of them; and when one person joins a group that stays as it was, two intervals differ by that person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from stream.aggregate import ROUNDING_S, Aggregator
from stream.config import PrivacyConfig
from stream.events import (
    UNCERTAIN,
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    Event,
    Gap,
    TrackEnded,
    TrackStarted,
    stamp,
)
from stream.records import CameraEnded, Moment, Scores, TrackEnd, Tracks

LEAVING: Final = (EmotionAggregate, CameraStatus, Gap)  # a list of what may: what somebody adds later is not in it


def may_leave(event: Event | None) -> bool:
    """Whether an event may leave the process in `aggregate_only`; None is one that nobody can read."""
    return isinstance(event, LEAVING)


@dataclass(slots=True)
class _Interval:
    """What was seen in one cell of the grid, or in the part of it that the camera was there."""

    from_s: float
    until_s: float
    together: int = 0  # the most faces in one picture
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)  # track id -> emotion -> how long it was told

    def dominant(self, track_id: int) -> str:
        """As `track.ended` has it: `uncertain` only if nothing else was told. Of equals the one told first."""
        known = {emotion: told_s for emotion, told_s in self.seconds[track_id].items() if emotion != UNCERTAIN}
        return max(known, key=known.__getitem__) if known else UNCERTAIN


@dataclass(slots=True)
class _Face:
    """A face that is there."""

    emotion: str = UNCERTAIN
    seen_s: float | None = None  # last time in a picture


class Groups:
    """In the place of a camera's Aggregator: tells its counts per interval, and nothing of what that one tells.

    Intervals begin at multiples of `interval_s` on the camera's own clock. One ends early when its camera ends (also
    `offline`, when nobody knows for how long); one in which nobody looked is not told.
    """

    def __init__(self, config: PrivacyConfig, labels: tuple[str, ...], faces: Aggregator) -> None:
        self._config = config
        self._labels = labels
        self._aggregator = faces
        self._faces: dict[int, _Face] = {}
        self._interval: _Interval | None = None
        self._told_s = 0.0  # up to here everything is told

    def update(self, moment: Moment, tracks: Tracks, scores: Scores, frame_size_px: tuple[int, int]) -> list[Event]:
        """What a frame tells: the counts of the interval before it, if it is the first beyond."""
        told, interval = self._enter(moment)
        interval.together = max(interval.together, len(tracks))
        for track_id in tracks.ids:
            self._see(interval, track_id, moment.media_time_s)
        self._listen(interval, self._aggregator.update(moment, tracks, scores, frame_size_px))
        return told

    def tick(self, moment: Moment, ended: tuple[TrackEnd, ...]) -> list[Event]:
        """The same without a frame; at the end of a camera also the counts of what has begun."""
        told, interval = self._enter(moment)
        self._listen(interval, self._aggregator.tick(moment, ended))
        if isinstance(moment, CameraEnded):
            told += self._leave(moment, interval, moment.media_time_s)
        return told

    def _enter(self, moment: Moment) -> tuple[list[Event], _Interval]:
        """The interval of this moment, and what is told of the one before it."""
        now_s, every_s = moment.media_time_s, self._config.interval_s
        before = self._interval
        if before is not None and now_s < before.until_s - ROUNDING_S:
            return [], before
        told = [] if before is None else self._leave(moment, before, before.until_s)
        number = int((now_s + ROUNDING_S) / every_s)
        self._interval = _Interval(max(number * every_s, self._told_s), (number + 1) * every_s)
        return told, self._interval

    def _leave(self, moment: Moment, interval: _Interval, end_s: float) -> list[Event]:
        """The counts of an interval that ends at `end_s`; nothing if it has no length."""
        self._interval, self._told_s = None, end_s
        if end_s - interval.from_s < ROUNDING_S:
            return []
        captured_at = moment.captured_at
        if captured_at is not None:
            captured_at -= timedelta(seconds=moment.media_time_s - end_s)
        enough = interval.together >= self._config.min_group
        counts = dict.fromkeys((*self._labels, UNCERTAIN), 0)
        for track_id in interval.seconds:
            counts[interval.dominant(track_id)] += 1
        return [
            EmotionAggregate(
                **{**stamp(moment), "media_time_s": end_s, "captured_at": captured_at},
                interval_s=end_s - interval.from_s,
                suppressed=not enough,
                faces=len(interval.seconds) if enough else None,
                counts=counts if enough else None,
            )
        ]

    def _see(self, interval: _Interval, track_id: int, now_s: float) -> None:
        """The time since the face was last seen, as far as it lies in this interval, had the emotion told until now."""
        face = self._faces.setdefault(track_id, _Face())
        since_s = now_s if face.seen_s is None else max(face.seen_s, interval.from_s)
        seconds = interval.seconds.setdefault(track_id, {})
        seconds[face.emotion] = seconds.get(face.emotion, 0.0) + max(0.0, now_s - since_s)
        face.seen_s = now_s

    def _listen(self, interval: _Interval, events: Iterable[Event]) -> None:
        """Take note of what the Aggregator tells, and let nothing of it through."""
        for event in events:
            match event:
                case TrackStarted():
                    self._faces.setdefault(event.track_id, _Face())
                case EmotionChanged():
                    self._faces[event.track_id].emotion = event.emotion
                    interval.seconds[event.track_id].setdefault(event.emotion, 0.0)
                case TrackEnded():
                    self._faces.pop(event.track_id, None)
