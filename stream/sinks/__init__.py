"""Where events go: one file per kind of sink, all behind `sinks.base.Sink`; `make_sink` is the door to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream.config import RedisConfig
from stream.errors import ConfigError
from stream.sinks.base import Sink
from stream.sinks.runs import RunNotes
from stream.urls import mask


def _redis(address: str, redis: RedisConfig, worker: str, notes: RunNotes | None) -> Sink:
    from stream.sinks.redis import RedisSink  # late: `import stream` stays free of the redis package

    return RedisSink(redis.model_copy(update={"url": address}), worker, notes=notes)


def _file(address: str, redis: RedisConfig, worker: str, notes: RunNotes | None) -> Sink:
    from stream.sinks.jsonl import JsonlSink

    return JsonlSink(Path(address.removeprefix("file:").removeprefix("//")))


SINKS: dict[str, Callable[[str, RedisConfig, str, RunNotes | None], Sink]] = {  # by the scheme of the address
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "redis+sentinel": _redis,
    "rediss+sentinel": _redis,
    "file": _file,
}


def make_sink(address: str, redis: RedisConfig, worker: str, notes: RunNotes | None = None) -> Sink:
    """The sink for an address: a URL with a known scheme, or the path of a JSON Lines file. It is not opened yet.

    `redis` says everything about a Redis but its address; `worker` is the name under which this process shows itself
    there; `notes` outlive the process if its events do. Raises ConfigError for an unknown scheme, and for an address
    that its kind of sink cannot have.
    """
    scheme, colon, _ = address.partition(":")
    if colon and scheme in SINKS:
        return SINKS[scheme](address, redis, worker, notes)
    if "://" in address:
        raise ConfigError(f"{mask(address)}: unknown kind of sink; known are {', '.join(SINKS)} and file paths")
    return _file(address, redis, worker, notes)
