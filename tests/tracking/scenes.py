"""Made scenes for the tracker: where people are, what a detector would say of them, and what the tracker made of it.

A person is a function from time (s) to the centre of the face in widths of a face, or None while away. The number of
the person is written into the landmarks, which a tracker only carries, so a test knows whose face each row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines.spec import LANDMARKS
from stream.config import TrackingConfig
from stream.records import Faces, TrackEnd, Tracks
from stream.tracking import Tracker

WIDTH, HEIGHT = 60.0, 75.0  # pixels of a face
HZ = (5.0, 15.0, 30.0)
CONFIG = TrackingConfig()

Person = Callable[[float], tuple[float, float] | None]
Missed = Callable[[int, int], bool]  # number of the frame, number of the person -> the detector misses this face


def steady(speed: float) -> Person:
    """Moves at once and evenly; speeds are in widths a second."""
    return lambda time_s: (5 + speed * time_s, 5)


def from_rest(speed: float, rest_s: float = 2.0) -> Person:
    """Stands still, then moves at full speed from one frame to the next."""
    return lambda time_s: (5 + speed * max(0.0, time_s - rest_s), 5)


def to_and_fro(speed: float, leg_s: float = 1.0) -> Person:
    """Turns round at full speed after every `leg_s`."""
    return lambda time_s: (20 + speed * abs((time_s + leg_s) % (2 * leg_s) - leg_s), 5)


def standing(x: float, y: float = 5.0, since_s: float = 0.0, until_s: float = float("inf")) -> Person:
    return lambda time_s: (x, y) if since_s <= time_s < until_s else None


def nothing(frame: int, person: int) -> bool:
    return False


def every_fourth(frame: int, person: int) -> bool:
    return frame % 4 == 3


def at_random(share: float, seed: int, most: int = 3) -> Missed:
    """Misses this share of the faces, never more than `most` frames in a row; the first sight is never missed."""
    lots = np.random.default_rng(seed).random((1000, 8)) < share
    lots[0] = False
    for frame in range(most, len(lots)):
        lots[frame] &= ~lots[frame - most : frame].all(axis=0)
    return lambda frame, person: bool(lots[frame, person])


def faces_at(people: dict[int, tuple[float, float]], tremble: np.random.Generator | None = None) -> Faces:
    """What a detector says; with `tremble` its boxes are off by 2 % of a width, in place and in size."""
    boxes = np.empty((len(people), 4))
    for row, (x, y) in enumerate(people.values()):
        off = np.zeros(4) if tremble is None else tremble.normal(0, 0.02 * WIDTH, 4)
        centre = np.array([x, y]) * WIDTH + off[:2]
        half = (np.array([WIDTH, HEIGHT]) + off[2:]) / 2
        boxes[row] = (*(centre - half), *(centre + half))
    landmarks = np.repeat(np.array(list(people), np.float32), LANDMARKS * 2).reshape(-1, LANDMARKS, 2)
    scores = np.linspace(0.95, 0.3, len(people), dtype=np.float32)
    return Faces(boxes.astype(np.float32), landmarks, scores)


def filmed(
    people: Sequence[Person], hz: float, duration_s: float = 4.0, missed: Missed = nothing, seed: int = 0
) -> Iterator[tuple[float, Faces]]:
    """(time, faces) of every analysed frame."""
    tremble = np.random.default_rng(seed)
    for frame in range(round(duration_s * hz) + 1):
        places = {number: person(frame / hz) for number, person in enumerate(people)}
        seen = {number: place for number, place in places.items() if place is not None and not missed(frame, number)}
        yield frame / hz, faces_at(seen, tremble)


@dataclass
class Story:
    """What a tracker told about a scene."""

    started: dict[int, float] = field(default_factory=dict)  # id -> time
    ended: dict[int, float] = field(default_factory=dict)
    ids: dict[int, list[int]] = field(default_factory=dict)  # person -> its ids in order of appearance

    def take(self, time_s: float, tracks: Tracks) -> None:
        self.started |= dict.fromkeys(tracks.started, time_s)
        self.take_ends(time_s, tracks.ended)
        for person, track_id in zip(people_in(tracks.faces), tracks.ids, strict=True):
            known = self.ids.setdefault(person, [])
            if track_id not in known:
                known.append(track_id)

    def take_ends(self, time_s: float, ends: Sequence[TrackEnd]) -> None:
        self.ended |= dict.fromkeys((end.track_id for end in ends), time_s)


def people_in(faces: Faces) -> list[int]:
    return [int(number) for number in faces.landmarks[:, 0, 0]]


def follow(scene: Iterator[tuple[float, Faces]], tracker: Tracker | None = None) -> Story:
    tracker = tracker or Tracker(CONFIG)
    story = Story()
    for time_s, faces in scene:
        story.take(time_s, tracker.update(time_s, faces))
    return story
