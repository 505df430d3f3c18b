"""A sink that keeps events in memory: for tests, and for programs that run the pipeline themselves."""

from __future__ import annotations

from collections.abc import Sequence

from stream.events import Event
from stream.sinks.base import Accepted, HighWater


class MemorySink:
    """Everything that was sent, in order, in `accepted`."""

    def __init__(self, name: str = "memory:") -> None:
        self.name = name
        self.accepted: list[Accepted] = []
        self._high = HighWater()

    @property
    def events(self) -> list[Event]:
        """The events alone."""
        return [accepted.event for accepted in self.accepted]

    def open(self) -> None:
        """Nothing to reach."""

    def send(self, batch: Sequence[Accepted]) -> None:
        new = self._high.above(batch)
        self.accepted += new
        self._high.rise(new)

    def close(self) -> None:
        """What was sent stays readable."""
