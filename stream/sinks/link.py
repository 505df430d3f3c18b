"""Connections to Redis, and its errors turned into ours: what the sink, the leases and the client share."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.errors import ConfigError, SinkError, SinkRefused
from stream.urls import mask, scrub


def settings(timeout_s: float) -> dict[str, Any]:
    """What every client of ours is made with, synchronous or not."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,  # answers of one shape from Redis 6.2 on
    }


def connect(url: str, timeout_s: float, **more: Any) -> redis.Redis:
    """A client for `url`; nothing is sent yet. It never tries again by itself: its user has to look first.

    Raises ConfigError for an address that no Redis has.
    """
    try:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **settings(timeout_s), **more)
    except (ValueError, TypeError):
        raise bad_url(url) from None


def bad_url(url: str) -> ConfigError:
    return ConfigError(
        f"redis.url: {mask(url)} is no address of a Redis; expected redis://HOST:PORT, rediss:// or unix://"
    )


def sentence(error: redis.RedisError, name: str) -> SinkError:
    """A redis error as ours: one sentence without credentials and without the command that it failed on."""
    match error:
        case redis.AuthenticationError() | redis.exceptions.AuthorizationError():
            return SinkRefused(f"{name}: Redis refused the user name or password; correct them in redis.url")
        case redis.exceptions.NoPermissionError():
            return SinkRefused(f"{name}: this Redis user may not do that; let it use the keys and channels emostream:*")
        case redis.ReadOnlyError():
            return SinkRefused(f"{name}: this Redis is a read-only replica; give the address of its primary")
        case redis.exceptions.OutOfMemoryError():
            return SinkError(f"{name}: Redis is out of memory; raise its maxmemory or lower redis.maxlen")
        case redis.BusyLoadingError():
            return SinkError(f"{name}: Redis is still loading its data")
        case redis.TimeoutError():
            return SinkError(f"{name}: Redis did not answer in time; is it busy, or is a firewall in between?")
        case redis.ConnectionError():
            return SinkError(f"{name}: Redis cannot be reached ({scrub(str(error)).rstrip('.')})")
        case _:
            answer = str(error).rpartition("caused error: ")[2].partition("\n")[0][:200]
            return SinkError(f"{name}: Redis answered: {scrub(answer)}")
