"""Whether the worker lives, and whether it can do its work: for whoever restarts it, or sends it work."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from stream.web.control import Control


class Health(BaseModel):
    """`troubles` says what is wrong, a sentence each."""

    ok: bool
    troubles: list[str]


def router(control: Control) -> APIRouter:
    """`/healthz` and `/readyz`: 200, or 503 with what is wrong."""
    health = APIRouter(tags=["health"], responses={503: {"model": Health}})

    @health.get("/healthz")
    def healthz(response: Response) -> Health:
        """The process lives, and its analysis and publishing go on."""
        return _told([f"the thread {name} has ended" for name in control.dead()], response)

    @health.get("/readyz")
    def readyz(response: Response) -> Health:
        """The engines are loaded, Redis is reached, and nobody has asked for the end."""
        return _told(control.ready(), response)

    return health


def _told(troubles: list[str], response: Response) -> Health:
    response.status_code = 503 if troubles else 200
    return Health(ok=not troubles, troubles=troubles)
