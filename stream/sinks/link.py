"""Connections to Redis, and its errors turned into ours: what the sink, the leases and the client share."""

from __future__ import annotations

import ssl
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from stream.errors import ConfigError, SinkError, SinkRefused
from stream.sinks import sentinel
from stream.urls import mask, scrub

_IN_SCRIPT: dict[str, type[redis.ResponseError]] = {
    "READONLY": redis.ReadOnlyError,
    "OOM": redis.exceptions.OutOfMemoryError,
    "NOPERM": redis.exceptions.NoPermissionError,
}
_NO_MASTER = (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)


def connect(url: str, timeout_s: float, **more: Any) -> redis.Redis:
    """A client for `url`; nothing is sent yet. It never tries again by itself: its user has to look first.

    Raises ConfigError for an address that no Redis has, and for options that are not known or not the address's to set.
    """
    ours = {**_settings(timeout_s), "retry": Retry(NoBackoff(), 0), **more}
    try:
        if sentinel.is_sentinel(url):
            client = sentinel.connect(url, **ours)
        else:
            of_url: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py's gap
            client = redis.Redis.from_pool(redis.ConnectionPool(**of_url, **ours))
        _try_options(client.connection_pool)
    except (ValueError, TypeError, redis.RedisError):
        raise _bad_url(url) from None
    return client


def aconnect(url: str, timeout_s: float) -> redis.asyncio.Redis:
    """The same for asyncio."""
    ours = {**_settings(timeout_s), "retry": AsyncRetry(NoBackoff(), 0)}
    try:
        if sentinel.is_sentinel(url):
            client = sentinel.aconnect(url, **ours)
        else:
            of_url: dict[str, Any] = {**redis.asyncio.connection.parse_url(url)}
            client = redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(**of_url, **ours))
        _try_options(client.connection_pool)
    except (ValueError, TypeError, redis.RedisError):
        raise _bad_url(url) from None
    return client


def _settings(timeout_s: float) -> dict[str, Any]:
    """What every client of ours is made with, synchronous or not."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,  # answers of one shape from Redis 6.2 on
        "decode_responses": False,
    }


def _try_options(pool: Any) -> None:
    """Make a connection and throw it away, unused: redis-py looks at the options of an address no earlier."""
    pool.connection_class(**pool.connection_kwargs)


def _bad_url(url: str) -> ConfigError:
    return ConfigError(
        f"redis.url: {mask(url)} is no address of a Redis, or has options that are not known here; expected "
        "redis://HOST:PORT, rediss://, unix:// or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
    )


def unwrapped(error: redis.RedisError) -> redis.RedisError:
    """What a command inside a script of ours was refused for; Redis 6.2 answers a report about the script instead."""
    text = str(error)
    if "@user_script" not in text:
        return error
    return next((kind(text) for word, kind in _IN_SCRIPT.items() if f"-{word} " in text), error)


def sentence(error: redis.RedisError, name: str) -> SinkError:
    """A redis error as ours: one sentence without credentials and without the command that it failed on."""
    match unwrapped(error):
        case redis.AuthenticationError() | redis.exceptions.AuthorizationError():
            return SinkRefused(f"{name}: Redis refused the user name or password; correct them in redis.url")
        case redis.exceptions.NoPermissionError():
            # whoever subscribes to a pattern must be allowed that very pattern: emostream:* is not enough
            return SinkRefused(
                f"{name}: this Redis user may not do that; let it use the keys emostream:* and the channels "
                "emostream:events:{*}"
            )
        case redis.ReadOnlyError():
            return SinkRefused(f"{name}: this Redis is a read-only replica; give the address of its primary")
        case redis.exceptions.OutOfMemoryError():
            return SinkError(f"{name}: Redis is out of memory; raise its maxmemory or lower redis.maxlen")
        case redis.BusyLoadingError():
            return SinkError(f"{name}: Redis is still loading its data")
        case redis.TimeoutError():
            return SinkError(f"{name}: Redis did not answer in time; is it busy, or is a firewall in between?")
        case redis.ConnectionError():
            return _not_reached(error, name)
        case _:
            answer = str(error).rpartition("caused error: ")[2].partition("\n")[0][:200]
            if "unknown command" in answer and "SENTINEL" in answer.upper():
                return SinkRefused(f"{name}: what answers there is no Sentinel; for a Redis itself write redis://")
            return SinkError(f"{name}: Redis answered: {scrub(answer)}")


def _not_reached(error: redis.RedisError, name: str) -> SinkError:
    """No connection, or no more: why, as far as that can be told apart."""
    text, cause = str(error), error.__context__
    if isinstance(error, _NO_MASTER):
        if "AuthenticationError" in text:
            return SinkRefused(
                f"{name}: the Sentinels refused the user name or password; correct sentinel_password in redis.url"
            )
        return SinkError(f"{name}: no Sentinel that answers knows a working primary of this name; is the name right?")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SinkRefused(
            f"{name}: the certificate of this Redis is not to be trusted ({cause.verify_message.rstrip('.')}); "
            "name its authority with ?ssl_ca_certs=FILE in redis.url"
        )
    if "now a slave" in text:  # what redis-py makes of READONLY where Sentinels are in use
        return SinkError(f"{name}: this Redis is a read-only replica by now; the Sentinels are asked for the primary")
    return SinkError(f"{name}: Redis cannot be reached ({scrub(text).rstrip('.')})")
