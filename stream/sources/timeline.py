"""A camera's own clock: presentation timestamps in, strictly increasing media time and the choice of frames out.

PTS may be absent, jump, repeat or restart, and a reconnect begins a new count; everything behind this file sees one
clock per camera that only moves forward. Pure: arrival times are arguments.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

MIN_STEP_S = 1e-4  # two frames never share a media time
DEFAULT_INTERVAL_S = 0.04  # assumed between frames until two timestamps, or `expect`, have shown better
RESTART_BACK_S = 0.5  # a step back is a restart from here on; less is a decoder's reordering
EARLY_S = 0.005  # timestamps are rounded (Matroska to 1 ms, GIF to 10 ms): this early still counts as on time


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a decoded frame stands on the camera's clock."""

    index: int  # 0-based count of decoded frames, over reconnects
    media_time_s: float
    chosen: bool  # whether to convert and analyse it
    discontinuity: str | None = None  # with a chosen frame: why time is not continuous since the last chosen one
    skipped_s: float = 0.0  # media time that the discontinuity jumped over; 0 for a restart and up to `gap_s`


class Timeline:
    """One per camera and worker start; it outlives reconnects.

    `analyse_hz` None chooses every frame. `gap_s` is the jump from which time is called discontinuous. `live` says that
    arrival times may stand in for absent PTS; without it they never count, so that replays are equal.
    """

    def __init__(self, analyse_hz: float | None, gap_s: float, live: bool = False) -> None:
        self._analyse_hz = analyse_hz
        self._gap_s = gap_s
        self._live = live
        self._index = -1
        self._now_s: float | None = None  # media time of the last frame
        self._offset_s: float | None = None  # media time = PTS + offset; None until this connection's first PTS
        self._interval_s = DEFAULT_INTERVAL_S
        self._arrived_s: float | None = None
        self._slot: int | None = None  # the last slot of the analysis grid that got its frame
        self._told_s = -math.inf  # what was told without a frame; written by any thread, as one value
        self._reconnected = False
        self._pending: tuple[str, float] | None = None

    @property
    def now_s(self) -> float:
        """Media time of the last frame; 0.0 before the first."""
        return self._now_s or 0.0

    def estimate_s(self, arrived_s: float) -> float:
        """Media time at a moment without a frame: the last frame's plus what the arrival clock went on since.

        It never falls behind what was `told`.
        """
        return max(self.now_s + self._since(arrived_s), self._told_s)

    def told(self, at_s: float) -> None:
        """Something of this camera was told at `at_s` without a frame: every later frame comes after it."""
        self._told_s = max(self._told_s, at_s)

    def expect(self, interval_s: float) -> None:
        """What the container claims to lie between two frames; it counts until timestamps show better."""
        if interval_s > 0:
            self._interval_s = interval_s

    def reconnected(self) -> None:
        """The next frame belongs to a new connection: its PTS mean nothing, arrival tells how much was lost."""
        self._reconnected = self._now_s is not None

    def successor(self) -> Timeline:
        """One that goes on where this one stands, for another thread: this one may still be written into.

        Whatever this one has placed so far lies before everything that the other will place.
        """
        other = copy.copy(self)
        other.reconnected()
        return other

    def stamp(self, pts_s: float | None, arrived_s: float, thinned: bool = False) -> Stamp:
        """Take one decoded frame. `pts_s`: its PTS in seconds or None; `arrived_s`: a monotonic clock.

        `thinned` says that frames before it were left out on purpose: a jump over them is none of the stream's.
        """
        self._index += 1
        if pts_s is not None and not math.isfinite(pts_s):
            pts_s = None
        previous = self._now_s
        now = self._place(pts_s, arrived_s, thinned)
        if now < self._told_s:  # after a stall the backlog comes with old PTS
            self._tell("stalled", 0.0)
            now = self._anchor(self._told_s + self._interval_s, pts_s)
        if previous is not None:  # repeated PTS, or reordered output of a broken stream
            now = max(now, previous + MIN_STEP_S, math.nextafter(previous, math.inf))
        self._now_s, self._arrived_s = now, arrived_s
        if not self._choose(now):
            return Stamp(self._index, now, chosen=False)
        pending, self._pending = self._pending, None
        why, skipped = pending or (None, 0.0)
        return Stamp(self._index, now, chosen=True, discontinuity=why, skipped_s=skipped)

    def give_back(self, stamp: Stamp) -> None:
        """The last frame was chosen and cannot be used: the next takes its place, and tells what it would have told."""
        self._slot = None
        if stamp.discontinuity is not None:
            self._tell(stamp.discontinuity, stamp.skipped_s)

    def _place(self, pts_s: float | None, arrived_s: float, thinned: bool) -> float:
        """The frame's media time, with the offset moved wherever PTS cannot be believed."""
        last = self._now_s
        if last is None:
            return self._anchor(0.0, pts_s)
        if self._reconnected:
            self._reconnected = False
            away = max(self._interval_s, self._since(arrived_s))
            self._tell("reconnected", away if away > self._gap_s else 0.0)  # a short loss is no gap
            return self._anchor(last + away, pts_s)
        if pts_s is None:
            away = self._since(arrived_s) if self._live else self._interval_s
            return self._forward(last, last + away, thinned)
        if self._offset_s is None:
            return self._anchor(last + self._interval_s, pts_s)
        now = pts_s + self._offset_s
        step = now - last
        if step < -RESTART_BACK_S:
            self._tell("pts_restarted", 0.0)
            return self._anchor(last + self._interval_s, pts_s)
        if MIN_STEP_S < step <= self._gap_s and not thinned:
            self._interval_s = step
        return self._forward(last, now, thinned)

    def _anchor(self, now: float, pts_s: float | None) -> float:
        """From here on PTS count from `now`; without one, from wherever the next one will be found."""
        self._offset_s = None if pts_s is None else now - pts_s
        return now

    def _forward(self, last: float, now: float, thinned: bool) -> float:
        if now - last > self._gap_s and not thinned:
            self._tell("pts_jumped", now - last)
        return now

    def _since(self, arrived_s: float) -> float:
        return 0.0 if self._arrived_s is None else max(0.0, arrived_s - self._arrived_s)

    def _tell(self, why: str, skipped_s: float) -> None:
        """Keep it for the next chosen frame; of several, the one that lost most gives the name."""
        known, lost = self._pending or (why, 0.0)
        self._pending = (known if lost > skipped_s else why, lost + skipped_s)

    def _choose(self, now: float) -> bool:
        """At most one frame per slot of 1/analyse_hz, the first that falls into it."""
        if self._analyse_hz is None:
            return True
        slot = math.floor((now + min(EARLY_S, 0.25 / self._analyse_hz)) * self._analyse_hz)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
