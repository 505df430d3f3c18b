"""Where the application is served: a socket that is taken before anything else starts, and a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.config import WebConfig
from stream.errors import ConfigError
from stream.urls import mask
from stream.web.guard import is_every, is_loopback

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_CONNECTIONS = 200  # at once; each that is live keeps one
GRACE_S = 1.0  # for answers that are under way when the server ends


@dataclass(frozen=True)
class Listener:
    """A socket that listens, and what it was asked to listen at."""

    socket: socket.socket
    host: str

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self.socket.getsockname()[:2]
        if is_every(host):
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextmanager
def listening(config: WebConfig) -> Iterator[Listener]:
    """The socket for `web.address`. Raises ConfigError: no HOST:PORT, taken, or open to others without a token."""
    host, port = _split(config.address or "")
    if not is_loopback(host) and not config.token:
        raise ConfigError(
            f"web.token: whoever reaches {mask(config.address or '')} could steer this worker; set a token, "
            "or serve at 127.0.0.1 alone"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such address"
        raise ConfigError(f"web.address: {mask(config.address or '')} cannot be served at ({why.lower()})") from None
    with bound:
        yield Listener(bound, host)


@contextmanager
def serving(app: FastAPI, listener: Listener) -> Iterator[None]:
    """Serve in a thread of its own until the end of the context; nothing that hangs there keeps anybody waiting."""
    import uvicorn  # late: only who serves pays for it

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,  # as everything else; its log of requests would hold tokens
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(GRACE_S),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener.socket],), name="web", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(2 * GRACE_S + 1.0)


def _split(address: str) -> tuple[str, int]:
    """HOST:PORT; brackets around a number of IPv6 are no part of it. Raises ConfigError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"web.address: expected HOST:PORT, such as 127.0.0.1:8080, got {mask(address)!r}")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)
