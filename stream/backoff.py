"""How long to wait before the next try, and how often a thing may go wrong at all.

Waiting is exponential with full jitter, capped.

Source: M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): full jitter spreads many clients
that lost the same server, so that they do not come back all at once. Ours keeps a floor, so that nobody spins.
"""

from __future__ import annotations

import random
from collections import deque


class Backoff:
    """One per thing that is tried again. `uniform(low, high)` is an argument so that a test can be exact."""

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._rng = rng
        self._failures = 0

    def next_s(self, cap_s: float | None = None) -> float:
        """Seconds to wait after one more failure; `cap_s` overrides the cap for this kind of failure."""
        ceiling = min(cap_s or self._cap_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.uniform(self._first_s / 2, max(ceiling, self._first_s))

    def reset(self) -> None:
        """It worked: the next failure is the first again."""
        self._failures = 0


class Budget:
    """Allows so many misfortunes in so many seconds; the one after that is a fault, and is not forgiven."""

    def __init__(self, most: int, within_s: float) -> None:
        self._within_s = within_s
        self._spent: deque[float] = deque(maxlen=most)  # when the last ones were, oldest first

    def spend(self, now_s: float) -> bool:
        """One more has happened; False: too many."""
        if len(self._spent) == self._spent.maxlen and now_s - self._spent[0] < self._within_s:
            return False
        self._spent.append(now_s)
        return True
