"""A sink that hands every event to a function: how the command line shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream.sinks.base import Accepted, HighWater


class TapSink:
    """`take` is called in the publish thread, once per event, in order."""

    def __init__(self, name: str, take: Callable[[Accepted], None]) -> None:
        self.name = name
        self._take = take
        self._high = HighWater()

    def open(self) -> None:
        """Nothing to reach."""

    def send(self, batch: Sequence[Accepted]) -> None:
        for accepted in self._high.above(batch):
            self._take(accepted)
            self._high.rise([accepted])

    def close(self) -> None:
        """Nothing is held."""
