"""A camera's own clock: presentation timestamps in, strictly increasing media time and the choice of frames out.

PTS may be absent, jump, repeat or restart, and a reconnect begins a new count; everything behind this file sees one
clock per camera that only moves forward. Pure: arrival times are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_STEP_S = 1e-4  # two frames never share a media time
DEFAULT_INTERVAL_S = 0.04  # assumed between frames until two timestamps have shown better


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a decoded frame stands on the camera's clock."""

    index: int  # 0-based count of decoded frames, over reconnects
    media_time_s: float
    chosen: bool  # whether to convert and analyse it
    discontinuity: str | None = None  # with a chosen frame: why time is not continuous since the last chosen one
    skipped_s: float = 0.0  # media time that the discontinuity jumped over


class Timeline:
    """One per camera and worker start; it outlives reconnects.

    `analyse_hz` None chooses every frame. `gap_s` is the jump from which time is called discontinuous.
    """

    def __init__(self, analyse_hz: float | None, gap_s: float) -> None:
        self._analyse_hz = analyse_hz
        self._gap_s = gap_s
        self._index = -1
        self._now_s: float | None = None  # media time of the last frame
        self._offset_s = 0.0  # media time = PTS + offset
        self._interval_s = DEFAULT_INTERVAL_S
        self._arrived_s: float | None = None
        self._slot = -1  # the last slot of the analysis grid that got its frame
        self._reconnected = False
        self._pending: tuple[str, float] | None = None

    @property
    def now_s(self) -> float:
        """Media time of the last frame; 0.0 before the first."""
        return self._now_s or 0.0

    def estimate_s(self, arrived_s: float) -> float:
        """Media time at a moment without a frame: the last frame's plus what the wall clock went on since."""
        if self._arrived_s is None:
            return self.now_s
        return self.now_s + max(0.0, arrived_s - self._arrived_s)

    def reconnected(self) -> None:
        """The next frame belongs to a new connection: its PTS mean nothing, arrival tells how much was lost."""
        self._reconnected = self._now_s is not None

    def stamp(self, pts_s: float | None, arrived_s: float) -> Stamp:
        """Take one decoded frame. `pts_s`: its PTS in seconds or None; `arrived_s`: a monotonic clock."""
        self._index += 1
        previous = self._now_s
        now = self._place(pts_s, arrived_s)
        if previous is not None and now < previous + MIN_STEP_S:  # repeated PTS, or reordered output of a broken stream
            now = previous + MIN_STEP_S
        self._now_s, self._arrived_s = now, arrived_s
        if not self._choose(now):
            return Stamp(self._index, now, chosen=False)
        pending, self._pending = self._pending, None
        why, skipped = pending or (None, 0.0)
        return Stamp(self._index, now, chosen=True, discontinuity=why, skipped_s=skipped)

    def _place(self, pts_s: float | None, arrived_s: float) -> float:
        """The frame's media time, with the offset moved wherever PTS cannot be believed."""
        last = self._now_s
        if last is None:
            self._offset_s = -pts_s if pts_s is not None else 0.0
            return 0.0
        if self._reconnected:
            self._reconnected = False
            away = max(self._interval_s, arrived_s - (self._arrived_s or arrived_s))
            return self._rebase(last + away, pts_s, "reconnected", away)
        if pts_s is None:
            return last + self._interval_s
        now = pts_s + self._offset_s
        step = now - last
        if step < -self._gap_s or (step < 0 and pts_s <= self._interval_s):  # far back, or back to the very beginning
            return self._rebase(last + self._interval_s, pts_s, "pts_restarted", 0.0)
        if step > self._gap_s:
            self._pending = ("pts_jumped", step)
        elif step > MIN_STEP_S:
            self._interval_s = step
        return now

    def _rebase(self, now: float, pts_s: float | None, why: str, skipped_s: float) -> float:
        if pts_s is not None:
            self._offset_s = now - pts_s
        self._pending = (why, skipped_s)
        return now

    def _choose(self, now: float) -> bool:
        """At most one frame per slot of 1/analyse_hz, the first that falls into it."""
        if self._analyse_hz is None:
            return True
        slot = int(now * self._analyse_hz + 1e-6)
        if slot == self._slot:
            return False
        self._slot = slot
        return True
