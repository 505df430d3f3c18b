"""The consumer's door: events out of Redis, typed, in order, as plain iterators.

`subscribe` reads the streams and misses nothing that they still hold; `listen` hears what is said now and nothing
else. `asubscribe` and `alisten` are the same for asyncio. What to ask and what to hand out is decided in
subscription.py and continuity.py; here are the connections, and what happens when they break.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Final

import redis
import redis.asyncio

from stream.backoff import Backoff
from stream.clocks import never
from stream.errors import SinkRefused
from stream.events import AnyEvent, parse
from stream.group_reader import GroupReader, Membership
from stream.sinks.link import aconnect, connect, sentence, unwrapped
from stream.sinks.redis import CHANNELS, PROBE, stream_key
from stream.subscription import (
    BLOCK_S,
    Call,
    Deliver,
    Idle,
    PlainReader,
    Reader,
    Refusal,
    Wish,
)
from stream.urls import mask

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0  # connect, and each command
LEASE_S: Final = 10.0  # a consumer that was not heard of for so long has lost its cameras to the others
FIRST_DELAY_S: Final = 0.1
CAP_S: Final = 2.5


def subscribe(
    url: str,
    cameras: Iterable[str] | None = None,
    *,
    group: str | None = None,
    consumer: str | None = None,
    from_: str = "new",
    idle_s: float | None = None,
    stop: threading.Event | None = None,
    timeout_s: float = TIMEOUT_S,
    lease_s: float = LEASE_S,
) -> Generator[AnyEvent, None, None]:
    """Events of these cameras (None: of all, also of those that come later), each camera's in order.

    With a `group`, Redis keeps its place: an event counts as done when the program asks for the next one, and whatever
    was not done is handed out again, to any consumer of the group. Consumers share the cameras evenly; one that handles
    a single event for longer than `lease_s` may lose its camera, and the event is handed out again. `consumer` is only
    a name for XINFO (default: this host's). `from_` is where a group begins that is new to a camera, or a reader
    without group: `start`, `new`, or the id of an entry. A stream that was trimmed beyond our place tells a
    `Gap(reason="trimmed")`.

    Ends after `idle_s` seconds without an event, or when `stop` is set; else never: a lost connection is made again.
    Raises ConfigError for bad arguments, SinkError if Redis cannot be reached at the start and SinkRefused whenever it
    says no. Close the generator (or leave a `with contextlib.closing(...)`) to free what it holds at once.
    """
    stopped = stop or threading.Event()
    wish = Wish(_names(cameras), from_, idle_s, stopped.is_set)
    reader = _reader(wish, group, consumer, lease_s)
    client = connect(url, timeout_s + BLOCK_S)
    client.response_callbacks.clear()  # answers as Redis sends them, the same for both kinds of client
    return _read(reader, client, _Trouble(url), stopped.wait)


def asubscribe(
    url: str,
    cameras: Iterable[str] | None = None,
    *,
    group: str | None = None,
    consumer: str | None = None,
    from_: str = "new",
    idle_s: float | None = None,
    stop: asyncio.Event | None = None,
    timeout_s: float = TIMEOUT_S,
    lease_s: float = LEASE_S,
) -> AsyncGenerator[AnyEvent, None]:
    """`subscribe` for asyncio: the same arguments, the same promises."""
    wish = Wish(_names(cameras), from_, idle_s, stop.is_set if stop else never)
    reader = _reader(wish, group, consumer, lease_s)
    client = aconnect(url, timeout_s + BLOCK_S)
    client.response_callbacks.clear()
    return _aread(reader, client, _Trouble(url))


def listen(
    url: str,
    cameras: Iterable[str] | None = None,
    *,
    idle_s: float | None = None,
    stop: threading.Event | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Generator[AnyEvent, None, None]:
    """Events of these cameras (None: of all) as they are published; what happens while nobody listens is not heard.

    A Redis that lost its last events (back from a dump, or a replica that became primary) hears them again from the
    worker, and so do we.

    Listening begins with the first `next`. Ends and raises as `subscribe` does. A Redis that is silent for `timeout_s`
    is asked whether it lives; without an answer within as long again, the connection counts as lost.
    """
    stopped = stop or threading.Event()
    wish = Wish(_names(cameras), idle_s=idle_s, stopped=stopped.is_set)
    return _hear(wish, connect(url, timeout_s), timeout_s, _Trouble(url), stopped.wait)


def alisten(
    url: str,
    cameras: Iterable[str] | None = None,
    *,
    idle_s: float | None = None,
    stop: asyncio.Event | None = None,
    timeout_s: float = TIMEOUT_S,
) -> AsyncGenerator[AnyEvent, None]:
    """`listen` for asyncio: the same arguments, the same promises."""
    wish = Wish(_names(cameras), idle_s=idle_s, stopped=stop.is_set if stop else never)
    return _ahear(wish, aconnect(url, timeout_s), timeout_s, _Trouble(url))


class _Trouble:
    """What a broken connection means: an exception for the program, or a wait before the next try."""

    def __init__(self, url: str) -> None:
        self._name = mask(url)
        self._backoff = Backoff(FIRST_DELAY_S, CAP_S, random.Random())
        self._reached = False  # once it worked, a lost connection is no reason to give up

    def over(self) -> None:
        """Redis answers."""
        self._reached = True
        self._backoff.reset()

    def wait_s(self, error: redis.RedisError) -> float:
        """Seconds until the next try. Raises SinkError or SinkRefused where trying again makes no sense."""
        ours = sentence(error, self._name)
        passing = isinstance(unwrapped(error), redis.ReadOnlyError) or not isinstance(
            ours, SinkRefused
        )  # a fail-over passes
        if not self._reached or not passing:
            raise ours from None
        delay_s = self._backoff.next_s()
        log.warning("%s; trying again in %.1f s", ours, delay_s)
        return delay_s


class _Pulse:
    """Whether a connection on which nothing comes is only quiet, or dead: TCP alone may not notice for hours.

    Counted is the time of reads that brought nothing, so a program that is slow with an event makes nobody suspicious.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._silent_s = 0.0
        self._asked = False

    def heard(self) -> None:
        """Something came, be it only an answer to a ping."""
        self._silent_s, self._asked = 0.0, False

    def silent(self, waited_s: float) -> bool:
        """A read of so long brought nothing: whether to ping now. Raises redis.TimeoutError if a ping went unheard."""
        self._silent_s += waited_s
        if self._silent_s < self._timeout_s:
            return False
        if self._asked:
            raise redis.TimeoutError
        self._silent_s, self._asked = 0.0, True
        return True


def _read(
    reader: Reader, client: redis.Redis, trouble: _Trouble, wait: Callable[[float], object]
) -> Generator[AnyEvent, None, None]:
    try:
        while not reader.over:
            steps, answer = reader.steps(), None
            try:
                while True:
                    step = steps.send(answer)
                    answer = None
                    if isinstance(step, Deliver):
                        yield step.event
                    elif isinstance(step, Call):
                        answer = _ask(client, step)
                        trouble.over()
                    else:
                        wait(step.seconds)
            except StopIteration:
                return
            except redis.RedisError as error:
                delay_s = trouble.wait_s(error)
            reader.lost()
            client.connection_pool.disconnect()
            wait(delay_s)
    finally:
        _leave(reader, client)


async def _aread(reader: Reader, client: redis.asyncio.Redis, trouble: _Trouble) -> AsyncGenerator[AnyEvent, None]:
    try:
        while not reader.over:
            steps, answer = reader.steps(), None
            try:
                while True:
                    step = steps.send(answer)
                    answer = None
                    if isinstance(step, Deliver):
                        yield step.event
                    elif isinstance(step, Call):
                        answer = await _aask(client, step)
                        trouble.over()
                    else:
                        await asyncio.sleep(step.seconds)
            except StopIteration:
                return
            except redis.RedisError as error:
                delay_s = trouble.wait_s(error)
            reader.lost()
            await client.connection_pool.disconnect()
            await asyncio.sleep(delay_s)
    finally:
        await _aleave(reader, client)


def _ask(client: redis.Redis, call: Call) -> Any:
    try:
        return client.execute_command(*call.command)  # type: ignore[no-untyped-call]  # redis-py's gap
    except redis.ResponseError as error:
        if not call.may_refuse:
            raise
        return Refusal(error)


async def _aask(client: redis.asyncio.Redis, call: Call) -> Any:
    try:
        return await client.execute_command(*call.command)  # type: ignore[no-untyped-call]  # redis-py's gap
    except redis.ResponseError as error:
        if not call.may_refuse:
            raise
        return Refusal(error)


def _leave(reader: Reader, client: redis.Redis) -> None:
    """Give leases back on a fresh connection: the old one may have been left in the middle of an answer."""
    with contextlib.closing(client), contextlib.suppress(redis.RedisError):
        client.connection_pool.disconnect()
        for call in reader.farewell():
            _ask(client, call)


async def _aleave(reader: Reader, client: redis.asyncio.Redis) -> None:
    try:
        await client.connection_pool.disconnect()
        for call in reader.farewell():
            await _aask(client, call)
    except redis.RedisError:
        log.debug("leases are left to run out")
    finally:
        await client.aclose()


def _hear(
    wish: Wish, client: redis.Redis, timeout_s: float, trouble: _Trouble, wait: Callable[[float], object]
) -> Generator[AnyEvent, None, None]:
    idle = Idle(wish, time.monotonic)
    with contextlib.closing(client):
        while not idle.over:
            try:
                with client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.psubscribe(CHANNELS) if wish.cameras is None else pubsub.subscribe(*_channels(wish.cameras))
                    pulse = _Pulse(timeout_s)
                    while not idle.over:
                        wait_s = min(BLOCK_S, idle.left_s)
                        message = pubsub.get_message(timeout=wait_s)
                        if message is None:
                            if pulse.silent(wait_s):
                                pubsub.ping()
                            continue
                        pulse.heard()
                        trouble.over()
                        if (event := _event(message)) is not None:
                            yield event
                            idle.restart()
                return
            except redis.RedisError as error:
                delay_s = trouble.wait_s(error)
            wait(delay_s)


async def _ahear(
    wish: Wish, client: redis.asyncio.Redis, timeout_s: float, trouble: _Trouble
) -> AsyncGenerator[AnyEvent, None]:
    idle = Idle(wish, time.monotonic)
    try:
        while not idle.over:
            try:
                async with client.pubsub() as pubsub:
                    cameras = wish.cameras
                    await (pubsub.psubscribe(CHANNELS) if cameras is None else pubsub.subscribe(*_channels(cameras)))
                    pulse = _Pulse(timeout_s)
                    while not idle.over:
                        wait_s = min(BLOCK_S, idle.left_s)
                        message = await pubsub.get_message(timeout=wait_s)
                        if message is None:
                            if pulse.silent(wait_s):
                                await pubsub.ping()
                            continue
                        pulse.heard()
                        trouble.over()
                        if (event := _event(message)) is not None:
                            yield event
                            idle.restart()
                return
            except redis.RedisError as error:
                delay_s = trouble.wait_s(error)
            await asyncio.sleep(delay_s)
    finally:
        await client.aclose()


def _event(message: dict[str, Any]) -> AnyEvent | None:
    """The event in what pub/sub brought, if it brought one that we know."""
    if message["type"] not in ("message", "pmessage"):  # Redis about our subscription, or its answer to a ping
        return None
    try:
        return parse(message["data"])
    except ValueError as error:
        log.warning("%s: a message is skipped: %s", message["channel"].decode(errors="replace"), error)
        return None


def _channels(cameras: Iterable[str]) -> list[str]:
    """At least one, as Redis wants it: for no camera at all, one on which nobody speaks."""
    return [stream_key(camera_id) for camera_id in cameras] or [PROBE]


def _names(cameras: Iterable[str] | None) -> tuple[str, ...] | None:
    """Without repetitions, in the given order; a single name stands for itself, not for its letters."""
    if cameras is None:
        return None
    return tuple(dict.fromkeys([cameras] if isinstance(cameras, str) else cameras))


def _reader(wish: Wish, group: str | None, consumer: str | None, lease_s: float) -> Reader:
    if group is None:
        return PlainReader(wish, time.monotonic)
    name = consumer or socket.gethostname()
    token = f"{name}-{os.getpid()}-{secrets.token_hex(4)}"
    return GroupReader(wish, time.monotonic, Membership(group, name, token, lease_s))
