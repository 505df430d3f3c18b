"""The API for programs: cameras, faces and events of one worker. `/openapi.json` describes it."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from stream.arguments import cameras as named
from stream.errors import CameraUnknown
from stream.events import CAMERA_ID_PATTERN
from stream.web.control import CameraInfo, Control
from stream.web.view import LiveView

MOST_EVENTS = 1_000  # in one answer

CameraId = Annotated[str, Field(pattern=CAMERA_ID_PATTERN)]


class NewCamera(BaseModel):
    """A camera to be added."""

    model_config = ConfigDict(extra="forbid")

    name: CameraId | None = Field(default=None, description="Not given: from a file's name, else cam1, cam2, ...")
    source: str = Field(
        min_length=1, max_length=2_000, description="File on the worker's machine, rtsp://, http(s)://, device number"
    )
    settings: dict[str, Any] = Field(default={}, description="What differs from `source` of the configuration")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What the document says of refusals with these codes."""
    return {code: {"model": Problem} for code in codes}


def router(control: Control, view: LiveView) -> APIRouter:
    """The operations below /api."""
    # every request may be refused by the guard: size, rate, host, token
    api = APIRouter(prefix="/api", tags=["cameras"], responses=problems(400, 401, 403, 413, 422, 429))

    @api.get("/cameras")
    def list_cameras() -> list[CameraInfo]:
        """Every camera of this worker, also those that have ended."""
        return control.cameras()

    @api.post("/cameras", status_code=201, responses=problems(409, 415, 503))
    def add_camera(camera: NewCamera) -> CameraInfo:
        """Begin with one camera more."""
        taken = {info.name for info in control.cameras()}
        (entry,) = named([camera.source if camera.name is None else f"{camera.name}={camera.source}"], taken)
        return control.add(entry["name"], entry["source"], camera.settings)

    @api.delete("/cameras/{camera_id}", status_code=204, responses=problems(404, 503))
    def remove_camera(camera_id: str) -> None:
        """End a camera and its tracks; what it has told stays in Redis."""
        if camera_id not in {info.name for info in control.cameras()}:
            raise CameraUnknown(f"there is no camera {camera_id[:63]!r}")
        control.remove(camera_id)
        view.forget(camera_id)

    @api.get("/tracks")
    def list_tracks() -> list[dict[str, Any]]:
        """The faces that are there now."""
        return view.tracks()

    @api.get("/events")
    def list_events(
        after: Annotated[int, Query(ge=-1, le=2**53, description="The id that was read last")] = -1,
        limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
    ) -> list[dict[str, Any]]:
        """The latest events after an id, oldest first; Redis has them all."""
        return view.events(after, limit)

    @api.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        """The operations in words. FastAPI's own page would load its scripts from elsewhere."""
        return HTMLResponse(_page(request.app.openapi()))

    return api


def _page(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(told.get('description', ''))}</td></tr>"
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>emostream API</title><h1>emostream API</h1>'
        '<p>The whole description is <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1); any viewer of such '
        f"documents shows it.</p><table>{rows}</table></html>"
    )
