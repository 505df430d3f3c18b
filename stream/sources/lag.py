"""A live camera that cannot be decoded in time: how far behind it is, and what to leave out.

Lag is the growth of arrival time minus presentation time over its smallest value; only growth, because the two clocks
share no zero. Not all of it is a backlog of ours: a camera may pause with its clock standing still, or the network
become slower for good. Reading without decoding takes hardly any time, so what is left of a lag after DRAIN_S of it is
how late this camera is from now on. Pure: times are arguments.
"""

from __future__ import annotations

import enum

CALM_LAG_S = 0.1  # below this the camera has caught up
FAR_LAG_S = 2.0  # beyond this no milder step is tried
SETTLE_S = 1.0  # a step may work this long before the next is taken
DRAIN_S = 2.0  # throwing packets away empties any backlog at much more than the camera's own speed
STUCK_S = 10.0  # a milder step that has not ended the lag by then will not
CALM_S = 5.0  # so long there must be no lag before a step is taken back
DRIFT = 1e-3  # seconds a second by which a camera's clock may be slow: more than any quartz, less than any overload
RESTART_BACK_S = 1.0  # timestamps that go back this far count anew


class Effort(enum.IntEnum):
    """How much is decoded, from all to nothing."""

    ALL = 0
    REFERENCES = 1  # frames that no other frame needs are left out
    KEY_FRAMES = 2
    NONE = 3  # packets are thrown away until the lag is gone, then up to the next key frame


class LagWatch:
    """One per connection of a live camera."""

    def __init__(self, max_lag_s: float) -> None:
        self._max_lag_s = max_lag_s
        self._effort = Effort.ALL
        self._base_s: float | None = None  # the smallest arrival minus PTS, corrected for drift
        self._last: tuple[float, float] = (0.0, 0.0)  # arrival and PTS of the packet before
        self._changed_s = -SETTLE_S  # arrival at which the effort was last lowered
        self._drained: tuple[float, float] = (
            0.0,
            0.0,
        )  # while nothing is decoded: arrival and lag, DRAIN_S ago at most
        self._calm_since_s: float | None = None
        self._calm_s = 0.0  # arrival of the last packet without lag

    def update(self, pts_s: float, arrived_s: float, key_frame: bool) -> Effort:
        """Take one packet's times and say how to treat it."""
        lag_s = self._lag_s(pts_s, arrived_s)
        if self._effort is Effort.NONE:
            if (lag_s < CALM_LAG_S or self._is_later_for_good(lag_s, pts_s, arrived_s)) and key_frame:
                self._step(Effort.KEY_FRAMES, arrived_s)
        elif lag_s > self._max_lag_s:
            self._calm_since_s = None
            if lag_s > FAR_LAG_S or arrived_s - self._changed_s >= SETTLE_S:
                self._step(Effort.NONE if lag_s > FAR_LAG_S else Effort(self._effort + 1), arrived_s)
                self._drained = (arrived_s, lag_s)
        elif lag_s >= CALM_LAG_S:
            self._calm_since_s = None
            if self._effort is not Effort.ALL and arrived_s - max(self._changed_s, self._calm_s) >= STUCK_S:
                self._step(Effort.NONE, arrived_s)
                self._drained = (arrived_s, lag_s)
        else:
            self._calm_s = arrived_s
            if self._effort is not Effort.ALL:
                self._relax(arrived_s, key_frame)
        return self._effort

    def _lag_s(self, pts_s: float, arrived_s: float) -> float:
        offset_s = arrived_s - pts_s
        last_arrived_s, last_pts_s = self._last
        self._last = (arrived_s, pts_s)
        if self._base_s is None or pts_s < last_pts_s - RESTART_BACK_S:
            self._base_s = offset_s
        else:
            self._base_s = min(offset_s, self._base_s + DRIFT * (arrived_s - last_arrived_s))
        return offset_s - self._base_s

    def _is_later_for_good(self, lag_s: float, pts_s: float, arrived_s: float) -> bool:
        """Whether the lag has not shrunk in DRAIN_S without decoding; it then counts from here on as none."""
        since_s, lag_then_s = self._drained
        if arrived_s - since_s < DRAIN_S:
            return False
        self._drained = (arrived_s, lag_s)
        if lag_s < lag_then_s - CALM_LAG_S:
            return False
        self._base_s = arrived_s - pts_s
        return True

    def _step(self, effort: Effort, arrived_s: float) -> None:
        self._effort, self._changed_s, self._calm_since_s = effort, arrived_s, None

    def _relax(self, arrived_s: float, key_frame: bool) -> None:
        """Back up by one step once it has been calm for long enough.

        From key frames only at a key frame: any other one is predicted from frames that were never decoded.
        """
        if self._calm_since_s is None:
            self._calm_since_s = arrived_s
        elif arrived_s - self._calm_since_s >= CALM_S and (key_frame or self._effort is not Effort.KEY_FRAMES):
            self._effort, self._calm_since_s = Effort(self._effort - 1), arrived_s
