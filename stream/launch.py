"""Configuration -> a running worker: models found, Redis there, sinks in place, signals heard, all closed again."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from engines import store
from stream.config import Config, RedisConfig
from stream.errors import ConfigError
from stream.outbox import MemoryOutbox
from stream.publisher import Chore, Publisher, Report
from stream.runtime import Models, Outcome, Worker, system_clocks
from stream.sinks.base import Accepted, Sink
from stream.sinks.jsonl import JsonlSink
from stream.sinks.lease import Leases
from stream.sinks.redis import RedisSink
from stream.sinks.tap import TapSink
from stream.sources import is_live
from stream.urls import mask

log = logging.getLogger(__name__)

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
RENEWALS = 3  # of a lease before it would run out
POLL_S = 0.25  # how often a wait looks whether somebody asked for the end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    outcome: Outcome
    signal: int | None  # the one that asked for the end

    @property
    def exit_code(self) -> int:
        if self.signal == signal.SIGINT:
            return EXIT_INTERRUPTED
        return EXIT_FAILED if self.outcome.failed or self.outcome.undelivered or self.outcome.abandoned else 0

    def as_json(self) -> dict[str, Any]:
        outcome = self.outcome
        return {
            "events": dict(sorted(outcome.events.items())),
            "failed": outcome.failed,
            "skipped": outcome.skipped,
            "abandoned": list(outcome.abandoned),
            "undelivered": outcome.undelivered,
            "exit_code": self.exit_code,
        }


class Interrupts:
    """Hears SIGINT and SIGTERM while it is entered: the first asks for the end, the second leaves at once.

    The handler only writes a number down: it runs in the middle of whatever the main thread does, locks included.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        return self.heard is not None

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.heard is not None:
            os._exit(128 + number)  # whoever asks twice does not want to wait for anything
        self.heard = number


def launch(
    config: Config,
    say: Callable[[str], None],
    show: Callable[[Accepted], None] | None = None,
    at_terminal: bool = False,
) -> Ended:
    """Run the configured cameras until they end or a signal comes. To be called in the main thread.

    `say` gets lines for the operator, `show` every event. Raises ConfigError, SinkError or EngineError before any
    camera starts, and whatever broke analysis or publishing afterwards.
    """
    for camera in config.cameras:
        is_live(camera)  # an address of unknown kind is refused before anything is started
    models = find_models(config)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        private = config.redis.url is None
        redis = stack.enter_context(_private_redis(config.redis, say)) if private else config.redis
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        leases = stack.enter_context(_leased(config, redis, name, interrupts, say))
        sinks: list[Sink] = [RedisSink(redis, name)]
        if config.run.out is not None:
            sinks.append(JsonlSink(config.run.out))
        if show is not None:
            sinks.append(TapSink("terminal", show))
        outcome = _run(config, models, sinks, leases, interrupts, say)
        if private:
            _hold(config.run.hold_s, at_terminal, redis, interrupts, say)
        return Ended(outcome, interrupts.heard)


def find_models(config: Config) -> Models:
    """Both models of a run, fetched if need be. Raises EngineError with a sentence that says what to do."""
    return Models(face=store.find_model(config.detector.model), emotion=store.find_model(config.emotion.model))


def _run(
    config: Config,
    models: Models,
    sinks: list[Sink],
    leases: Leases,
    interrupts: Interrupts,
    say: Callable[[str], None],
) -> Outcome:
    def keep_leases() -> None:
        for camera_id in leases.renew():
            worker.give_up(camera_id, "another worker has taken this camera")

    only_files = not any(is_live(camera) for camera in config.cameras)
    publisher = Publisher(
        MemoryOutbox(config.outbox, [sink.name for sink in sinks], lossless=only_files),
        sinks,
        drain_s=config.run.drain_s,
        chores=[Chore("leases", config.redis.lease_s / RENEWALS, keep_leases)],
        report=Report(
            trouble=lambda sink, sentence: say(f"{sink} is in trouble: {sentence}"),
            recovered=lambda sink: say(f"{sink} has recovered"),
        ),
    )
    worker = Worker(config, models, publisher, system_clocks())
    return worker.run(interrupts.asked)


@contextmanager
def _private_redis(config: RedisConfig, say: Callable[[str], None]) -> Iterator[RedisConfig]:
    """A Redis of our own for this run, and the configuration that points to it."""
    from stream.private_redis import PrivateRedis

    with PrivateRedis() as private:
        say(f"private Redis at {private.url}; watch it with: emostream watch --redis {private.url}")
        yield config.model_copy(update={"url": private.url})


@contextmanager
def _leased(
    config: Config, redis: RedisConfig, name: str, interrupts: Interrupts, say: Callable[[str], None]
) -> Iterator[Leases]:
    """Every camera leased to this worker. What a killed worker left is waited for: it runs out within one lease."""
    leases = Leases(redis, name)
    patience = threading.Event()  # never set: only its timeout is used
    try:
        left_s = redis.lease_s + 1.0
        while missing := [camera.name for camera in config.cameras if not leases.lease(camera.name)]:
            if left_s <= 0 or interrupts.asked():
                raise ConfigError(
                    f"camera {missing[0]} is run by another worker on {mask(redis.url or '')}; "
                    "stop that one, or give this camera another name"
                )
            if left_s > redis.lease_s:
                say(f"camera {missing[0]} is leased to another worker; waiting until it is free")
            patience.wait(POLL_S)
            left_s -= POLL_S
        yield leases
    finally:
        leases.close()


def _hold(
    hold_s: float | None, at_terminal: bool, redis: RedisConfig, interrupts: Interrupts, say: Callable[[str], None]
) -> None:
    """Keep the private Redis for whoever still wants to read from it."""
    left_s = hold_s if hold_s is not None else (float("inf") if at_terminal else 0.0)
    if left_s <= 0 or interrupts.asked():
        return
    until = "Ctrl-C" if hold_s is None else f"{hold_s:g} s are over"
    say(f"every camera has ended; Redis stays until {until}: emostream watch --from start --redis {redis.url}")
    patience = threading.Event()  # never set: only its timeout is used
    while left_s > 0 and not interrupts.asked():
        patience.wait(min(POLL_S, left_s))
        left_s -= POLL_S
