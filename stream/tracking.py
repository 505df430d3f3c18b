"""Faces of one camera's frames -> tracks: which face is whose, from when, until when. One Tracker per camera.

Everything is in seconds of the camera's own clock and in widths of the face itself, so the answer is the same at 5, 15
or 30 analysed frames a second and at any frame size. Three rules, in the order in which a frame meets them:

- **Whose.** A face may now be within reach of where it was last seen, or near where its motion has taken it meanwhile.
  Of all such pairs of old and new faces the best sum of likenesses wins, not the best single pair (`_likenesses`).
- **From when.** A face becomes a track when it has been believable for `confirm_s` (`_Face.believed`). Before that
  it is a candidate: it has no id, and if it vanishes nobody hears of it.
- **Until when.** A face not seen for `lost_s` is over, told by the first frame without it or by a tick.

Association is ours, not that of the `trackers` package (2.6.1). All that its similarity sees is the box which a Kalman
filter predicted, so one number has to serve a face that turns round at 6 widths a second (at 5 Hz, 2.4 widths from the
prediction) and somebody who appears 1.5 widths beside a face that was just missed. Where a face was seen last, and how
long ago, tells these apart. Measured at 5 Hz on boxes that tremble by 2 %:

| | C-BIoU as it comes | C-BIoU, buffer 1.0, threshold 0.05 | here |
|---|---|---|---|
| held: steady, from rest, turning round (widths/s) | 5.0, 4.0, 2.4 | 12+, 10.5, 6.0 | 6.5, 6.5, 6.5 |
| after a face left, who appears 1.5 widths away gets its id | never | always | never |
| who appears so beside a face missed in 30 % of the frames gets it | never | 38 % | never |
| time for 5 faces, of one and the same busy core | 0.9 ms | 0.9 ms | 0.2 ms |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.config import TrackingConfig
from stream.records import EndReason, Faces, TrackEnd, Tracks

Floats = NDArray[np.float64]

SLACK_WIDTHS = 0.2  # how far a detector's box may be off; at 5 Hz and 6 widths a second the reach stays below 1.5
SURPRISE_S = 0.2  # a face of known motion may start, stop or turn round this long unseen, no longer
DRIFT = 0.5  # of the way that a missed face has gone by its motion, how much may be wrong
VELOCITY_HALF_LIFE_S = 0.1  # a measured velocity counts half after this; at 30 Hz one alone is mostly trembling
MAX_GROWTH = 2.0  # a face does not double or halve its size between two sights
CANDIDATE_WEIGHT = 0.9  # where a track and a candidate are equally like a face, it is the track's
MAX_CREDIT_S = 0.25  # the longest time that one sight may vouch for: a little more than an interval at 5 Hz
ROUNDING_S = 0.005  # containers round time stamps, some to a millisecond


@dataclass(slots=True, eq=False)
class _Face:
    """A face that is followed: a candidate until it has an id."""

    box: Floats  # (4,) centre x y, width, height at the last sight, pixels
    seen_s: float  # time of the last sight
    velocity: Floats | None = None  # (2,) of the centre, pixels a second; None until the second sight
    track_id: int | None = None
    belief_s: float = 0.0  # time that its sights vouch for
    sights: int = 1
    looks: int = 1  # frames since the first sight, with it

    def see(self, now_s: float, box: Floats) -> None:
        gap_s = now_s - self.seen_s
        measured = (box[:2] - self.box[:2]) / gap_s
        if self.velocity is None:
            self.velocity = measured
        else:
            keep = 0.5 ** (gap_s / VELOCITY_HALF_LIFE_S)
            self.velocity = keep * self.velocity + (1.0 - keep) * measured
        self.belief_s += min(gap_s, MAX_CREDIT_S)
        self.sights += 1
        self.box, self.seen_s = box, now_s

    def believed(self, confirm_s: float) -> bool:
        """Whether this is no flicker: its sights vouch for `confirm_s`, and it was in at least half of the frames."""
        return self.belief_s >= confirm_s - ROUNDING_S and 2 * self.sights >= self.looks


class Tracker:
    """Follows the faces of one camera. What it answers depends on nothing but its own input."""

    def __init__(self, config: TrackingConfig) -> None:
        from scipy.optimize import linear_sum_assignment  # here, because its import takes 0.4 s

        self._assign = linear_sum_assignment
        self._config = config
        self._faces: list[_Face] = []  # in order of first sight
        self._last_id = 0
        self._frame_s: float | None = None  # time of the last frame; None before the first one and after `end`

    def update(self, media_time_s: float, faces: Faces) -> Tracks:
        """The tracks seen in this frame, by ascending id, each with its detection as it came.

        Raises ValueError where time does not grow from frame to frame.
        """
        if self._frame_s is not None and media_time_s <= self._frame_s:
            raise ValueError(f"time must grow from frame to frame, got {media_time_s} s after {self._frame_s} s")
        boxes = _centered(faces.boxes)
        owners = self._owners(media_time_s, boxes)
        self._frame_s = media_time_s
        for face in self._faces:
            face.looks += 1
        for row, face in owners.items():
            face.see(media_time_s, boxes[row])
        started = self._confirm(media_time_s)
        ended = self.tick(media_time_s)
        self._faces += [_Face(box, media_time_s) for row, box in enumerate(boxes) if row not in owners]
        rows = {face.track_id: row for row, face in owners.items() if face.track_id is not None}
        ids = tuple(sorted(rows))
        return Tracks(ids, _rows(faces, [rows[track_id] for track_id in ids]), started, ended)

    def expected(self) -> NDArray[np.float32]:
        """(N, 4) x1 y1 x2 y2, pixels: where the followed faces were seen last, candidates too, in no order."""
        boxes = np.array([face.box for face in self._faces], np.float32).reshape(-1, 4)
        half = boxes[:, 2:] / 2
        return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])

    def tick(self, media_time_s: float) -> tuple[TrackEnd, ...]:
        """The tracks that are over because nobody has seen them for `lost_s`; the time may be between frames."""
        unseen_since = media_time_s - self._config.lost_s + ROUNDING_S
        lost = [face for face in self._faces if face.seen_s <= unseen_since]
        self._faces = [face for face in self._faces if face.seen_s > unseen_since]
        return _ends(lost, "left")

    def end(self, reason: EndReason) -> tuple[TrackEnd, ...]:
        """Every track is over, and the next frame begins anew, at any time. Ids go on counting."""
        faces, self._faces, self._frame_s = self._faces, [], None
        return _ends(faces, reason)

    def _owners(self, now_s: float, boxes: Floats) -> dict[int, _Face]:
        """Row of `boxes` -> the followed face that it shows; a row that shows none of them is absent."""
        if not self._faces or not len(boxes):
            return {}
        step_s = now_s - self._frame_s if self._frame_s is not None else 0.0
        table = _likenesses(self._faces, now_s, step_s, boxes, self._config.max_speed_widths_s)
        pairs = zip(*self._assign(table, maximize=True), strict=True)
        return {int(row): self._faces[number] for number, row in pairs if table[number, row] > 0.0}

    def _confirm(self, now_s: float) -> tuple[int, ...]:
        """Gives ids to the candidates seen now that are believed by now, the one first seen first."""
        first_id = self._last_id + 1
        for face in self._faces:
            if face.track_id is None and face.seen_s == now_s and face.believed(self._config.confirm_s):
                self._last_id += 1
                face.track_id = self._last_id
        return tuple(range(first_id, self._last_id + 1))


def _likenesses(
    followed: Sequence[_Face], now_s: float, step_s: float, boxes: Floats, max_speed_widths_s: float
) -> Floats:
    """How much each followed face is like each of the (M, 4) boxes: (N, M) in 0..1, 0 where it cannot be that one.

    Distances are in widths of the smaller of the two. A likeness falls with the distance from where the face was
    expected, and ever more slowly, so that one face without a match beats two that each take their neighbour's place.
    `step_s` is the time since the frame before: who analyses rarely must allow more to happen between two frames.
    """
    old = np.array([face.box for face in followed])[:, None]  # (N, 1, 4)
    velocities = np.array([(0.0, 0.0) if face.velocity is None else face.velocity for face in followed])[:, None]
    fresh = np.array([face.velocity is None for face in followed])[:, None]  # (N, 1)
    unseen_s = now_s - np.array([face.seen_s for face in followed])[:, None]
    weights = np.array([CANDIDATE_WEIGHT if face.track_id is None else 1.0 for face in followed])[:, None]

    widths = np.minimum(old[..., 2], boxes[:, 2])  # (N, M), as all below
    way = velocities * unseen_s[..., None]
    moved = _lengths(boxes[:, :2] - old[..., :2]) / widths
    surprise = _lengths(boxes[:, :2] - old[..., :2] - way) / widths
    growth = np.abs(np.log(boxes[:, 2] * boxes[:, 3]) - np.log(old[..., 2] * old[..., 3])) / 2

    surprise_s = np.where(fresh, unseen_s, np.minimum(unseen_s, max(SURPRISE_S, step_s)))
    within_reach = moved <= SLACK_WIDTHS + max_speed_widths_s * surprise_s
    on_its_way = surprise <= SLACK_WIDTHS + DRIFT * _lengths(way) / widths
    on_its_way &= moved <= SLACK_WIDTHS + max_speed_widths_s * unseen_s
    possible = (within_reach | on_its_way) & (growth <= np.log(MAX_GROWTH))
    return np.where(possible, weights / (1.0 + surprise**2 + growth**2), 0.0)


def _lengths(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return lengths


def _centered(boxes: NDArray[np.float32]) -> Floats:
    """(N, 4) x1 y1 x2 y2 -> (N, 4) centre x y, width, height; a box cut to nothing at the frame's edge is a pixel."""
    corners = boxes.astype(np.float64)
    sizes = np.maximum(corners[:, 2:] - corners[:, :2], 1.0)
    return np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, sizes])


def _rows(faces: Faces, rows: list[int]) -> Faces:
    return Faces(faces.boxes[rows], faces.landmarks[rows], faces.scores[rows])


def _ends(faces: Iterable[_Face], reason: EndReason) -> tuple[TrackEnd, ...]:
    return tuple(TrackEnd(track_id, reason) for track_id in sorted(f.track_id for f in faces if f.track_id is not None))
