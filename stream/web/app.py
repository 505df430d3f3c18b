"""All that is served over HTTP, in one application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from stream.config import PrivacyConfig, WebConfig
from stream.errors import CameraTaken, CameraUnknown, ConfigError, NotReady, SinkError, StreamError
from stream.urls import scrub
from stream.web import api, health, metrics, page, preview
from stream.web.control import Control
from stream.web.guard import Guard, Limits
from stream.web.metrics import Metrics
from stream.web.preview import Preview
from stream.web.view import LiveView

CODES: tuple[tuple[type[StreamError], int], ...] = (  # the first that fits
    (CameraTaken, 409),
    (CameraUnknown, 404),
    (ConfigError, 422),
    (NotReady, 503),
    (SinkError, 503),
)


@dataclass(frozen=True)
class WebParts:
    """What is shown and steered."""

    control: Control
    view: LiveView
    metrics: Metrics
    preview: Preview
    config: WebConfig
    privacy: PrivacyConfig


def make_app(parts: WebParts, host: str = "127.0.0.1", limits: Limits | None = None) -> FastAPI:
    """The application for the address that is listened at. It owns nothing and has nothing to close."""
    # its own page of documents would load scripts from elsewhere; see api.docs
    app = FastAPI(title="emostream", version=version("emostream"), docs_url=None, redoc_url=None)
    app.include_router(api.router(parts.control, parts.view))
    app.include_router(page.router(parts.view, parts.privacy))
    app.include_router(metrics.router(parts.metrics))
    app.include_router(preview.router(parts.preview))
    app.include_router(health.router(parts.control))
    for kind, code in CODES:
        app.add_exception_handler(kind, _refused(code))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, host=host, token=parts.config.token, limits=limits or Limits())
    return app


def _refused(code: int) -> Callable[[Request, Exception], JSONResponse]:
    def answer(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": scrub(str(error))}, code)

    return answer


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """One sentence, and nothing of what was sent: it may hold a password."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"detail": f"{key}: {first['msg']}" if key else first["msg"]}, 422)
