"""What an outbox promises: accepted events stay until every sink has them, each sink in its own time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stream.events import Event
from stream.sinks.base import Accepted


class Outbox(Protocol):
    """Made before, used and closed by the publish thread. `sink` is always a Sink's name."""

    group_s: float  # appending costs so much that it is worth while to wait so long for more; 0.0: it costs nothing

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        """Give each event its seq and the time of its acceptance. Once this returns, they are accepted.

        Raises OutboxError when they cannot be kept.
        """
        ...

    def pending(self, sink: str, limit: int) -> list[Accepted]:
        """What the sink should get next, at most `limit` events in order; the same again until acknowledged."""
        ...

    def acknowledge(self, sink: str, batch: Sequence[Accepted]) -> None:
        """The sink has stored `batch`, which must be the beginning of what `pending` answered last."""
        ...

    def rewind(self, sink: str) -> None:
        """Let `pending` begin with everything that is still retained: the sink may have lost its tail."""
        ...

    def depth(self, sink: str) -> int:
        """Events that the sink has not acknowledged yet."""
        ...

    @property
    def full(self) -> bool:
        """Whether whoever appends should wait: this outbox gives nothing up, and some sink has too much to catch up."""
        ...

    def close(self) -> None:
        """May be called twice."""
        ...


class Line(Protocol):
    """One sink's view of an outbox, oldest first: retained, then handed out (or rewound), then waiting.

    What was handed out may already be stored, though nobody has said so; it is never given up, or a gap could name
    what the sink holds.
    """

    @property
    def depth(self) -> int: ...
    def extend(self, accepted: Sequence[Accepted]) -> None: ...
    def make_room(self, give_up: bool) -> None: ...  # within max_events and max_age_s, as far as that can be
    def head(self, limit: int) -> list[Accepted]: ...
    def acknowledge(self, batch: Sequence[Accepted]) -> None: ...
    def rewind(self) -> None: ...
