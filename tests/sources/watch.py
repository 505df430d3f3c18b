"""A clock for tests of sources that wait."""

from __future__ import annotations


class Watch:
    """A clock that only moves when somebody waits, and remembers for how long."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        if seconds > 0:
            self.waits.append(seconds)
            self.now_s += seconds
        return False
