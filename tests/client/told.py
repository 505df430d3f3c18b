"""A worker's end of Redis for tests of the client, and programs that read in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice

from stream.config import OutboxConfig, RedisConfig
from stream.events import AnyEvent, Event
from stream.outbox import MemoryOutbox
from stream.sinks.redis import RedisSink
from tests.redis_server import RedisServer
from tests.sinks.made import START

LIMIT_S = 20.0  # nothing here takes so long unless it is broken


class Worker:
    """Gives seq and stores, as the publish thread does."""

    def __init__(self, server: RedisServer, at: datetime = START, maxlen: int = 100_000) -> None:
        self._sink = RedisSink(RedisConfig(url=server.url, maxlen=maxlen), "worker", wall=lambda: at)
        self._outbox = MemoryOutbox(OutboxConfig(), [self._sink.name], wall=lambda: at)
        self._sink.open()

    def say(self, events: Sequence[Event]) -> None:
        self._outbox.append(events)
        self._deliver()

    def again(self) -> None:
        """After Redis was away: reach it, and send what it may have lost."""
        self._sink.open()
        self._outbox.rewind(self._sink.name)
        self._deliver()

    def close(self) -> None:
        self._sink.close()

    def _deliver(self) -> None:
        while batch := self._outbox.pending(self._sink.name, 256):
            self._sink.send(batch)
            self._outbox.acknowledge(self._sink.name, batch)


@contextmanager
def worker(server: RedisServer, at: datetime = START, maxlen: int = 100_000) -> Iterator[Worker]:
    working = Worker(server, at, maxlen)
    try:
        yield working
    finally:
        working.close()


def take(events: Iterator[AnyEvent], count: int) -> list[AnyEvent]:
    return list(islice(events, count))


def places(events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(event.camera_id, event.seq) for event in events]


def seqs(events: Sequence[Event], camera_id: str = "cam1") -> list[int]:
    return [event.seq for event in events if event.camera_id == camera_id]


class Program:
    """Reads in a thread until it is told to stop, or dies without a word when it is told to."""

    def __init__(self, events: Generator[AnyEvent, None, None], stop: threading.Event) -> None:
        self.events: list[AnyEvent] = []
        self.error: Exception | None = None
        self._changed = threading.Condition()
        self._stop = stop
        self._thread = threading.Thread(target=self._run, args=(events,), name="program")
        self._thread.start()

    def wait_for(self, count: int, camera_id: str | None = None, limit_s: float = LIMIT_S) -> list[AnyEvent]:
        """What it has read (of one camera) once that is so much, or when it takes too long."""

        def read() -> list[AnyEvent]:
            return [event for event in self.events if camera_id in (None, event.camera_id)]

        with self._changed:
            self._changed.wait_for(lambda: len(read()) >= count or self.error, limit_s)
            return read()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(LIMIT_S)

    def _run(self, events: Generator[AnyEvent, None, None]) -> None:
        try:
            for event in events:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()
        finally:
            events.close()


@contextmanager
def reading(
    ask: Callable[..., Generator[AnyEvent, None, None]], *arguments: object, **more: object
) -> Iterator[Program]:
    """A program that reads what `ask` (subscribe or listen) answers, until the end of the block."""
    stop = threading.Event()
    program = Program(ask(*arguments, stop=stop, **more), stop)
    try:
        yield program
    finally:
        program.stop()
