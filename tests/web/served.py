"""The real application at a real port, over cameras that are only a list."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from stream.config import PrivacyConfig, WebConfig
from stream.errors import CameraTaken, CameraUnknown
from stream.urls import mask
from stream.web.app import WebParts, make_app
from stream.web.control import CameraInfo, OutboxInfo
from stream.web.guard import Limits
from stream.web.metrics import Metrics
from stream.web.preview import Preview
from stream.web.server import Listener, listening, serving
from stream.web.view import LiveView

FREELY = Limits(per_s=1e6, burst=1e6)


class ListedCameras:
    """A Control without a worker."""

    def __init__(self) -> None:
        self.infos: dict[str, CameraInfo] = {}
        self.troubles: list[str] = []
        self.ended: list[str] = []
        self.late: dict[str, threading.Event] = {}  # camera -> when its coming or going is answered

    def cameras(self) -> list[CameraInfo]:
        return list(self.infos.values())

    def add(self, name: str, source: str, settings: dict[str, Any]) -> CameraInfo:
        if name in self.infos:
            raise CameraTaken(f"a camera {name} is there already")
        self.infos[name] = CameraInfo(name, mask(source), "connecting", None, None, 5.0, {}, 0, 0)
        self._wait(name)
        return self.infos[name]

    def remove(self, name: str) -> None:
        if self.infos.pop(name, None) is None:
            raise CameraUnknown(f"there is no camera {name}")
        self._wait(name)

    def _wait(self, name: str) -> None:
        if name in self.late:
            self.late[name].wait()

    def ready(self) -> list[str]:
        return self.troubles

    def dead(self) -> list[str]:
        return self.ended

    def engines(self) -> dict[str, str]:
        return {}

    def outbox(self) -> OutboxInfo:
        return OutboxInfo(0, 0.0)


@contextmanager
def served(
    control: ListedCameras, *, token: str | None = None, address: str = "127.0.0.1:0", limits: Limits = FREELY
) -> Iterator[Listener]:
    """Where it is served until the end of the context."""
    config = WebConfig(address=address, token=token)
    with listening(config) as listener:
        privacy = PrivacyConfig()
        metrics = Metrics(privacy)
        metrics.bind(control)
        parts = WebParts(control, LiveView(), metrics, Preview(), config, privacy)
        with serving(make_app(parts, listener.host, limits), listener):
            yield listener


def client(listener: Listener, **headers: str) -> httpx.Client:
    """Of the address that is listened at, with these headers; it follows no redirection."""
    return httpx.Client(base_url=listener.url, headers=headers, trust_env=False, timeout=30.0)
