"""The publisher over a Redis to which things happen: `publish` tells what it said, and checks that nothing is left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from stream.config import OutboxConfig, RedisConfig
from stream.errors import Closed
from stream.events import Event
from stream.outbox import MemoryOutbox
from stream.publisher import Publisher, Report
from stream.sinks.redis import RedisSink

# Events to publish; or something to do to Redis; or something to wait for, which answers False until it is there.
Step = Sequence[Event] | Callable[[], object]


class Told:
    """What the operator was told, in its order."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.recoveries = 0

    def trouble(self, name: str, sentence: str) -> None:
        self.troubles.append(sentence)

    def recovered(self, name: str) -> None:
        self.recoveries += 1

    def has(self, words: str) -> Callable[[], bool]:
        """A step that waits until a trouble with these words was told."""
        return lambda: any(words in sentence for sentence in self.troubles)

    def well(self) -> bool:
        """A step that waits until every trouble of the sink is over."""
        return self.recoveries > 0


class _Script:
    """The publisher's queue: steps one after the other, then open until everything is delivered."""

    def __init__(self, steps: Sequence[Step], delivered: Callable[[], bool]) -> None:
        self._steps = deque(steps)
        self._delivered = delivered
        self._pause = threading.Event()  # never set: only its timeout is used

    @property
    def closed(self) -> bool:
        return not self._steps and self._delivered()

    def take(self, timeout_s: float | None) -> list[Event]:
        if self.closed:
            raise Closed
        step = self._steps[0] if self._steps else self._delivered
        if not callable(step):
            self._steps.popleft()
            return list(step)
        if step() is False:
            self._pause.wait(min(0.02, timeout_s or 0.0))
        elif self._steps:
            self._steps.popleft()
        return []


def publish(url: str, *steps: Step, told: Told | None = None, timeout_s: float = 2.0, **config: object) -> Told:
    """Publish what the steps hold, doing between it what they do, until all is delivered.

    After each step the publisher works as it would; the test's own timeout ends what never comes.
    """
    told = told or Told()
    sink = RedisSink(RedisConfig.model_validate({"url": url, "timeout_s": timeout_s, **config}), "worker")
    outbox = MemoryOutbox(OutboxConfig(), [sink.name])
    publisher = Publisher(outbox, [sink], drain_s=10.0, report=Report(told.trouble, told.recovered))
    try:
        publisher.open()
        assert publisher.run(_Script(steps, lambda: outbox.depth(sink.name) == 0)) == {}
    finally:
        publisher.close()
    return told
