"""Redis behind Sentinels: `redis+sentinel://[user:password@]HOST[:26379],HOST.../SERVICE[/DB][?option=value]`.

User and password are those of the Redis. Where the Sentinels ask for some too, they are the options `sentinel_username`
and `sentinel_password`; every other option is redis-py's and, where it is about TLS, holds for both. With
`rediss+sentinel://` both are spoken to in TLS.

Each new connection asks the Sentinels anew who the primary is, so after a fail-over opening again is enough. A Redis
that turns out to be a replica by now counts as a lost connection (redis-py sees to that), not as a refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.connection import parse_url

SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
PORT: Final = 26379
TIMEOUT_S: Final = 1.0  # for each Sentinel: those that are gone are asked first, on each connection

_URL: Final = re.compile(
    r"(?P<redis>rediss?)\+sentinel://(?P<login>[^/?#]*@)?(?P<hosts>[^/?#@]+)"
    r"/(?P<service>[^/?#]+)(?P<db>/\d*)?(?P<options>\?[^#]*)?"
)
_HOST: Final = re.compile(r"\[(?P<v6>[^\]]+)\](:(?P<v6_port>\d+))?|(?P<name>[^:\[\]]+)(:(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says about Sentinels and the Redis behind them."""

    sentinels: tuple[tuple[str, int], ...]  # (host, port)
    service: str  # the primary's name among the Sentinels
    redis: dict[str, Any] = field(repr=False)  # settings of a connection to the Redis
    sentinel: dict[str, Any] = field(repr=False)  # and to a Sentinel


def is_sentinel(url: str) -> bool:
    """Whether the address names Sentinels."""
    return url.partition("://")[0] in SCHEMES


def parse(url: str) -> Address:
    """Raises ValueError for anything that is no such URL."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("expected redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
    plain = f"{found['redis']}://{found['login'] or ''}redis{found['db'] or ''}{found['options'] or ''}"
    of_redis: dict[str, Any] = parse_url(plain)  # type: ignore[no-untyped-call]  # redis-py's gap
    for known_to_sentinels in ("host", "port", "connection_class"):
        of_redis.pop(known_to_sentinels, None)
    of_redis["ssl"] = found["redis"] == "rediss"
    of_sentinel = {name: value for name, value in of_redis.items() if name.startswith("ssl")}
    for name in ("username", "password"):
        if (value := of_redis.pop(f"sentinel_{name}", None)) is not None:
            of_sentinel[name] = value
    return Address(tuple(map(_host, found["hosts"].split(","))), found["service"], of_redis, of_sentinel)


class _Pool(redis.sentinel.SentinelConnectionPool):
    """Connections to the primary, and to the Sentinels that name it: they are closed together."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        self.sentinel_manager.close()


class _AsyncPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """The same for asyncio."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        await self.sentinel_manager.aclose()


def connect(url: str, **settings: Any) -> redis.Redis:
    """A client of the primary; nothing is asked yet. Raises ValueError or TypeError for a bad URL."""
    address = parse(url)
    asked = {"sentinels": address.sentinels, "sentinel_kwargs": _of_sentinels(address, settings)}
    sentinels = redis.sentinel.Sentinel(**asked)  # type: ignore[no-untyped-call]  # redis-py's gap
    pool = _Pool(address.service, sentinels, **address.redis, **settings)  # type: ignore[no-untyped-call]  # redis-py's gap
    return redis.Redis.from_pool(pool)


def aconnect(url: str, **settings: Any) -> redis.asyncio.Redis:
    """The same for asyncio."""
    address = parse(url)
    asked = {"sentinels": list(address.sentinels), "sentinel_kwargs": _of_sentinels(address, settings)}
    sentinels = redis.asyncio.sentinel.Sentinel(**asked)  # type: ignore[no-untyped-call]  # redis-py's gap
    pool = _AsyncPool(address.service, sentinels, **address.redis, **settings)  # type: ignore[no-untyped-call]  # redis-py's gap
    return redis.asyncio.Redis.from_pool(pool)


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return found["v6"] or found["name"], int(found["v6_port"] or found["port"] or PORT)


def _of_sentinels(address: Address, settings: dict[str, Any]) -> dict[str, Any]:
    timeout_s = min(TIMEOUT_S, settings["socket_timeout"])
    times = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    return {**address.sentinel, **times, "retry": settings["retry"]}
