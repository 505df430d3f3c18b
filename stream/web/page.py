"""The live page: three static files and the stream of server-sent events that fills them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from stream.config import PrivacyConfig
from stream.web.view import LiveView

STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PACE_S: Final = 0.25  # between two updates of one viewer
ALIVE_S: Final = 15.0  # without an update, a comment keeps proxies from closing the line
RETRY_MS: Final = 1000  # a browser that lost the line comes back after this


def router(view: LiveView, privacy: PrivacyConfig) -> APIRouter:
    """`/`, `/static/...` and `/live`."""
    folder = files("stream.web") / "static"
    kept = {name: (folder / name).read_bytes() for name in (*STATIC, "index.html")}
    about = {"purpose": privacy.purpose, "mode": privacy.mode}
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def page() -> Response:
        return _static(kept["index.html"], "text/html; charset=utf-8")

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404, "there is no such file")
        return _static(kept[name], STATIC[name])

    @routes.get("/live")
    async def live(request: Request) -> StreamingResponse:
        after = _revision(request.headers.get("last-event-id"), view.run)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(told(view, about, after), media_type="text/event-stream", headers=headers)

    return routes


async def told(view: LiveView, about: dict[str, str | None], after: int | None) -> AsyncIterator[str]:
    """What changed since, several times a second, until the viewer leaves or the run is over."""
    yield f"retry: {RETRY_MS}\n\n"
    silent_s = 0.0
    while not view.closed:
        update = view.updates(after)
        if update is not None:
            after = update.pop("id")
            if update["fresh"]:
                update |= about
            yield f"id: {view.run}-{after}\ndata: {json.dumps(update, separators=(',', ':'))}\n\n"
            silent_s = 0.0
        elif silent_s >= ALIVE_S:
            yield ": alive\n\n"
            silent_s = 0.0
        await asyncio.sleep(PACE_S)
        silent_s += PACE_S


def _static(content: bytes, media_type: str) -> Response:
    # no-cache: a browser may keep it, and asks each time; after an update nobody sees an old page
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _revision(last_event_id: str | None, run: str) -> int | None:
    """Where a viewer that comes back goes on; None for one that is new, or that saw another run."""
    of_run, _, number = (last_event_id or "").partition("-")
    return int(number) if of_run == run and number.isascii() and number.isdigit() and len(number) < 16 else None
