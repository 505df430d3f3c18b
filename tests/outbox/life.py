"""One start of a worker after the other, on one outbox."""

from __future__ import annotations

from pathlib import Path

from stream.config import OutboxConfig
from stream.events import Event
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from tests.sinks.made import Clock

SMALL = OutboxConfig(max_events=1_000)


class Life:
    """One start of a worker with the outbox in `path`."""

    def __init__(self, path: Path, clock: Clock, config: OutboxConfig = SMALL) -> None:
        self.outbox = DurableOutbox(config, claim(path, "sink", []), "sink", wall=clock)

    def take(self, count: int = 1_000) -> list[Event]:
        batch = self.outbox.pending("sink", count)
        self.outbox.acknowledge("sink", batch)
        return [one.event for one in batch]
