"""Who may ask, how often and how much: before any of the routes hears of a request.

| refused | why |
|---|---|
| 400 another Host | somebody else's name that leads to this machine lets their page read ours (DNS rebinding) |
| 401 without the token | beyond loopback everybody can reach the port |
| 403, 415 changes from another page | a browser sends them for any page, with the user's cookie |
| 413 | larger than any request that is meant |
| 429 | more often than anybody needs |
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE: Final = "emostream"
MOST_CLIENTS: Final = 1_024  # whose rate is remembered
OPEN: Final = ("/healthz", "/readyz")  # asked by machines that hold no token; they tell nothing of cameras
SAFE: Final = ("GET", "HEAD", "OPTIONS")
HEADERS: Final = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of what one client may ask."""

    per_s: float = 20.0  # requests, over a longer time
    burst: float = 100.0  # and at once
    body_bytes: int = 64 * 1024


class Refusal(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class Rate:
    """A bucket per client that fills by `per_s` up to `burst`; the clients that came longest ago are forgotten."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> what is left, as of when

    def wait_s(self, client: str) -> float:
        """Take one request; 0.0, or how long to wait for the next when none is left."""
        now_s = self._clock()
        left, at_s = self._buckets.pop(client, (self._limits.burst, now_s))
        left = min(self._limits.burst, left + (now_s - at_s) * self._limits.per_s)
        allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if allowed else left, now_s)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._limits.per_s


class Guard:
    """ASGI middleware. `host` is the address that is listened at, `token` what is demanded of everybody, if any."""

    def __init__(self, app: App, host: str, token: str | None, limits: Limits) -> None:
        self._app, self._host, self._limits = app, host, limits
        self._token = None if token is None else token.encode()
        # not the token itself: a cookie cannot hold every character, and browsers keep cookies
        self._cookie = "" if token is None else hmac.digest(token.encode(), COOKIE.encode(), "sha256").hex()
        self._rate = Rate(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            self._check(scope, headers)
            body = await self._body(receive, headers)
        except Refusal as refusal:
            await _answer(send_safely, refusal)
            return
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_again, send_safely)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raises Refusal."""
        client = scope.get("client")
        wait_s = self._rate.wait_s(client[0] if client else "")
        if wait_s > 0:
            seconds = str(math.ceil(wait_s)).encode()
            raise Refusal(429, "too many requests; ask more rarely", (b"retry-after", seconds))
        if not self._is_ours(headers.get("host", "")):
            raise Refusal(400, "the Host header names another machine; use the address that was printed at the start")
        if self._token is not None and scope["path"] not in OPEN:
            self._check_token(scope, headers)
        if scope["method"] not in SAFE:
            _check_origin(scope["method"], headers)

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is loopback or where we listen; where that is everywhere, any name may lead here."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        return is_loopback(name) or name == self._host or (is_every(self._host) and name != "")

    def _check_token(self, scope: Scope, headers: dict[str, str]) -> None:
        assert self._token is not None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            return
        if hmac.compare_digest(_cookie(headers.get("cookie", "")).encode("latin-1"), self._cookie.encode()):
            return
        asked = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=32).get("token", [""])[0]
        if scope["path"] == "/" and hmac.compare_digest(asked.encode(), self._token):
            cookie = f"{COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict".encode()
            raise Refusal(303, "the token is kept in a cookie", (b"location", b"/"), (b"set-cookie", cookie))
        challenge = (b"www-authenticate", b'Bearer realm="emostream"')
        raise Refusal(401, "a token is needed: as `Authorization: Bearer TOKEN`, or once as /?token=TOKEN", challenge)

    async def _body(self, receive: Receive, headers: dict[str, str]) -> bytes:
        """The whole of it: nothing that comes here is long. Raises Refusal."""
        most = self._limits.body_bytes
        told = headers.get("content-length", "0")
        body = b""
        more = True
        while more:
            if (told.isdecimal() and int(told) > most) or len(body) > most:
                raise Refusal(413, f"the request is too large; {most} bytes are the most", (b"connection", b"close"))
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > most:
            raise Refusal(413, f"the request is too large; {most} bytes are the most", (b"connection", b"close"))
        return body


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address, given as a name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_every(host: str) -> bool:
    """Whether this stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""


def _check_origin(method: str, headers: dict[str, str]) -> None:
    """Changes come from our own page, or from a program, which sends neither header. Raises Refusal."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc != headers.get("host")):
        raise Refusal(403, "changes are taken from this worker's own page only, or from a program")
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "the body must be JSON, as Content-Type: application/json")


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


async def _answer(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *refusal.headers]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
