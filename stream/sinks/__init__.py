"""Where events go: one file per kind of sink, all behind `sinks.base.Sink`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream.config import RedisConfig
from stream.errors import ConfigError
from stream.sinks.base import Sink
from stream.urls import mask


def _redis(address: str, config: RedisConfig, worker: str) -> Sink:
    from stream.sinks.redis import RedisSink  # late: `import stream` stays free of the redis package

    return RedisSink(config.model_copy(update={"url": address}), worker)


def _file(address: str, config: RedisConfig, worker: str) -> Sink:
    from stream.sinks.jsonl import JsonlSink

    return JsonlSink(Path(address.removeprefix("file:").removeprefix("//")))


def _memory(address: str, config: RedisConfig, worker: str) -> Sink:
    from stream.sinks.memory import MemorySink

    return MemorySink(address)


SINKS: dict[str, Callable[[str, RedisConfig, str], Sink]] = {  # by the scheme of the address
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "file": _file,
    "memory": _memory,
}


def make_sink(address: str, config: RedisConfig, worker: str) -> Sink:
    """The sink for an address: a URL with a known scheme, or the path of a JSON Lines file. It is not opened yet.

    `worker` is the name under which this process shows itself. Raises ConfigError for an unknown scheme.
    """
    scheme, colon, _ = address.partition(":")
    if colon and scheme in SINKS:
        return SINKS[scheme](address, config, worker)
    if "://" in address:
        raise ConfigError(f"{mask(address)}: unknown kind of sink; known are {', '.join(SINKS)} and file paths")
    return _file(address, config, worker)
