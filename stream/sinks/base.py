"""The Sink protocol: somewhere that accepted events go, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stream.events import Event


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that has its seq: it will be delivered, or named by a gap."""

    event: Event
    accepted_at: datetime  # UTC, stamped once


class Sink(Protocol):
    """Made, opened, used and closed by the publish thread."""

    name: str  # as it may be shown: no credentials

    def open(self) -> None:
        """Reach the sink once. Raises SinkError (later may help) or SinkRefused (it will not)."""
        ...

    def send(self, batch: Sequence[Accepted]) -> None:
        """Store every event of the batch, in order. Sending an event again stores it no second time.

        Raises SinkError when any may be missing: the caller sends the whole batch again later.
        """
        ...

    def close(self) -> None:
        """Finish what was begun and free everything. May be called twice, and before `open`."""
        ...
