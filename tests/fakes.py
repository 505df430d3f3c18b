"""Fakes behind what our own code asks for."""

from __future__ import annotations

from collections.abc import Callable


class FakeStop:
    """Behind what a camera asks of threading.Event: waiting takes no time, and is written down."""

    def __init__(self, after_waits: int = 100) -> None:
        self.waits: list[float] = []
        self.on_wait: Callable[[float], None] = lambda _: None
        self.after = after_waits

    def is_set(self) -> bool:
        return len(self.waits) >= self.after

    def wait(self, timeout: float | None = None) -> bool:
        if timeout:  # 0 only asks
            self.waits.append(timeout)
            self.on_wait(timeout)
        return self.is_set()
