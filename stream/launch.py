"""Configuration -> a running worker: models found, Redis there, sinks in place, signals heard, all closed again."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from engines.cache import Cache
from stream.assembly import Models
from stream.clocks import Clocks
from stream.config import Config, PrivacyConfig, RedisConfig
from stream.errors import ConfigError
from stream.outbox import MemoryOutbox, Outbox
from stream.privacy import may_leave
from stream.probe import Probe, together
from stream.publisher import Chore, Publisher, Report
from stream.runtime import PUBLISH, Outcome, Worker
from stream.sinks import make_sink
from stream.sinks.base import Accepted
from stream.sinks.lease import Leases
from stream.sinks.tap import TapSink
from stream.sources import is_live
from stream.supply import Supply, model_as_run
from stream.urls import mask

if TYPE_CHECKING:
    from stream.outbox.store import Store
    from stream.web.door import Web

log = logging.getLogger(__name__)

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
Say = Callable[[str], None]
Show = Callable[[Accepted], None]
RENEWALS = 3  # of a lease before it would run out
POLL_S = 0.25  # how often a wait looks whether somebody asked for the end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    outcome: Outcome
    signal: int | None  # the one that asked for the end
    kept_in: Path | None  # the file in which the Redis' events outlive this process

    @property
    def exit_code(self) -> int:
        if self.signal == signal.SIGINT:
            return EXIT_INTERRUPTED
        return EXIT_FAILED if self.outcome.failed or self.outcome.undelivered or self.outcome.abandoned else 0

    def sentences(self) -> Iterator[str]:
        """What an operator should know, a line each; nothing when all went well."""
        outcome = self.outcome
        for name, reason in outcome.failed.items():
            yield f"camera {name} failed: {reason}"
        for name, causes in outcome.skipped.items():
            yield f"camera {name} skipped {', '.join(f'{count} frames ({cause})' for cause, count in causes.items())}"
        for name, count in outcome.undelivered.items():
            yield f"{name}: {count} events were not delivered"
        if outcome.undelivered and self.kept_in is not None:
            yield f"what Redis did not get is kept in {self.kept_in}, and delivered first at the next start"
        for name, count in outcome.hung.items():
            yield f"camera {name}: threads of it that hung and were abandoned: {count}"
        for name in outcome.abandoned:
            yield f"the thread {name} did not end in time and was abandoned"

    def as_json(self) -> dict[str, Any]:
        outcome = self.outcome
        return {
            "events": dict(sorted(outcome.events.items())),
            "failed": outcome.failed,
            "skipped": outcome.skipped,
            "hung": outcome.hung,
            "abandoned": list(outcome.abandoned),
            "undelivered": outcome.undelivered,
            "exit_code": self.exit_code,
        }


# what a run came to, the URL of a private Redis, whether somebody asks for the end
After = Callable[[Ended, str | None, Callable[[], bool]], None]


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
    config: Config, *, say: Say, show: Show | None = None, after: After | None = None, probe: Probe | None = None
) -> Ended:
    """Run the configured cameras until they end or a signal comes. To be called in the main thread.

    `say` gets lines for the operator and `show` every event. `after` is called once, at the end, while a private Redis
    is still there; `probe` is for whoever measures. Raises ConfigError, SinkError or EngineError before any camera
    starts, and whatever broke analysis or publishing afterwards.
    """
    for camera in config.cameras:
        is_live(camera)  # an address of unknown kind is refused before anything is started
    with ExitStack() as stack:
        web = stack.enter_context(_web(config, say))
        models = find_models(config)
        interrupts = stack.enter_context(Interrupts())
        private = config.redis.url is None
        redis = stack.enter_context(_private_redis(config, say)) if private else config.redis
        kept = _claimed(config)
        if kept is not None:
            stack.callback(_close_unless_used, kept)
        for line in _said_of_privacy(config.privacy):
            say(line)
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        with closing(Leases(redis, name)) as leases:
            outcome = Outcome()
            if _lease_all(config, leases, interrupts, say):
                outcome = _run(config, redis, models, leases, kept, name, show, interrupts, say, probe, web)
        ended = Ended(outcome, interrupts.heard, kept.path if kept else None)
        if after is not None:
            after(ended, redis.url if private else None, interrupts.asked)
        return ended


def find_models(config: Config) -> Models:
    """Both models of a run, fetched if need be. Raises EngineError with a sentence that says what to do."""
    face, emotion = (model_as_run(name, config.engine) for name in (config.detector.model, config.emotion.model))
    return Models(face, emotion)


def wait_until(over: Callable[[], bool], seconds: float) -> bool:
    """Wait so long, or until `over` says so; whether it did."""
    patience = threading.Event()  # never set: only its timeout is used
    left_s = seconds
    while not over() and left_s > 0:
        patience.wait(min(POLL_S, left_s))
        left_s -= POLL_S
    return over()


def _run(
    config: Config,
    redis: RedisConfig,
    models: Models,
    leases: Leases,
    kept: Store | None,
    name: str,
    show: Show | None,
    interrupts: Interrupts,
    say: Say,
    probe: Probe | None,
    web: Web | None,
) -> Outcome:
    """From here on everything is there: make the sinks and the worker, and let it run."""
    addresses = [redis.url or "", *([str(config.run.out)] if config.run.out else [])]
    only_files = bool(config.cameras) and not any(is_live(camera) for camera in config.cameras)
    only_live = all(is_live(camera) for camera in config.cameras)
    sinks = [make_sink(address, redis, name, kept) for address in addresses]
    if show is not None:
        sinks.append(TapSink("terminal", show))

    def keep_leases() -> None:
        for camera_id in leases.renew():
            worker.give_up(camera_id, "another worker has taken this camera")

    def trouble(sink: str, sentence: str) -> None:
        say(sentence if sentence.startswith(f"{sink}: ") else f"{sink}: {sentence}")
        if web is not None:
            web.view.trouble(sink, sentence)

    def recovered(sink: str) -> None:
        say(f"{sink}: recovered")
        if web is not None:
            web.view.recovered(sink)

    probes = [each for each in (probe, web.probe() if web else None) if each is not None]
    looking = together(probes)
    publisher = Publisher(
        _outbox(config, kept, [sink.name for sink in sinks], only_files, say),
        sinks,
        drain_s=config.run.drain_s,
        chores=[Chore("leases", redis.lease_s / RENEWALS, keep_leases)],
        report=Report(trouble, recovered, looking.acknowledged, looking.accepted),
    )
    with closing(Supply(config, models.by_task(), Cache(), only_live, say)) as supply:
        clocks = Clocks()
        worker = Worker(config, models, supply, publisher, clocks, say, looking)
        if web is None:
            return worker.run(interrupts.asked)
        with web.serve(worker, publisher, leases, clocks):
            return worker.run(interrupts.asked)


@contextmanager
def _web(config: Config, say: Say) -> Iterator[Web | None]:
    """What serves the page, with its address taken already; None for a run without one."""
    if config.web.address is None:
        yield None
        return
    from stream.web.door import opened  # late: FastAPI and what comes with it is not for everybody

    with opened(config, say) as web:
        yield web


def _said_of_privacy(config: PrivacyConfig) -> Iterator[str]:
    if config.purpose is not None:
        yield f"purpose: {config.purpose}"
    if config.mode == "aggregate_only":
        yield (
            f"privacy.mode aggregate_only: of faces nothing leaves but counts, one for each camera and "
            f"{config.interval_s:g} s, of groups of {config.min_group} or more"
        )


def _claimed(config: Config) -> Store | None:
    """Where accepted events outlive this process; nowhere for a private Redis, which ends with it."""
    if config.redis.url is None:
        return None
    from stream.outbox.place import claim  # late: SQLite is not for everybody

    return claim(config.outbox.path, mask(config.redis.url), {camera.name for camera in config.cameras})


def _close_unless_used(kept: Store) -> None:
    """A publish thread that was abandoned may be in the middle of it; the end of the process frees it then."""
    if not any(thread.name == PUBLISH for thread in threading.enumerate()):
        kept.close()


def _outbox(config: Config, kept: Store | None, sinks: Sequence[str], lossless: bool, say: Say) -> Outbox:
    """The Redis comes first among the sinks: its events are those that are kept."""
    if kept is None:
        return MemoryOutbox(config.outbox, sinks, lossless=lossless)
    from stream.outbox.disk_line import withhold
    from stream.outbox.durable import DurableOutbox

    if config.privacy.mode != "full" and (count := withhold(kept, may_leave)):
        say(f"events of single faces that an earlier start left in {kept.path} are withheld: {count}")
    outbox = DurableOutbox(config.outbox, kept, sinks[0], sinks[1:], lossless=lossless)
    if outbox.left:
        say(f"events of an earlier start, kept in {kept.path}, are delivered first: {outbox.left}")
    if outbox.lost:
        say(f"faces that an earlier start left, whose end is told now (worker_lost): {outbox.lost}")
    return outbox


@contextmanager
def _private_redis(config: Config, say: Say) -> Iterator[RedisConfig]:
    """A Redis of our own for this run, and the settings that point to it."""
    from stream.private_redis import PrivateRedis

    with PrivateRedis(config.run.private_redis) as private:
        say(f"private Redis at {private.url}; watch it with: emostream watch --redis {private.url}")
        yield config.redis.model_copy(update={"url": private.url})


def _lease_all(config: Config, leases: Leases, interrupts: Interrupts, say: Say) -> bool:
    """Every camera leased to this worker; False when somebody asked for the end meanwhile.

    What a killed worker left is waited for: it runs out within one lease. Raises ConfigError when it does not.
    """

    def held_by_others() -> str | None:
        return next((camera.name for camera in config.cameras if not leases.lease(camera.name)), None)

    if (name := held_by_others()) is None:
        return True
    say(f"camera {name} is leased to another worker; waiting until it is free")
    if not wait_until(lambda: interrupts.asked() or held_by_others() is None, config.redis.lease_s + 1.0):
        raise ConfigError(
            f"camera {held_by_others() or name} is run by another worker on {leases.name}; "
            "stop that one, or give this camera another name"
        )
    return not interrupts.asked()
