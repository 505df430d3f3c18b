"""What may be asked of a running worker from outside: its cameras, and how it fares."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from stream.cameras import Camera
from stream.clocks import Clocks
from stream.config import CameraConfig, Config, sentence
from stream.errors import CameraTaken, ConfigError
from stream.publisher import Publisher
from stream.runtime import Told, Worker
from stream.sinks.lease import Leases
from stream.sources import recording_path
from stream.urls import mask, scrub


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera as it may be shown."""

    name: str
    source: str  # without secrets
    state: str  # as its latest camera.status says
    reason: str | None
    since: datetime | None  # UTC; None: nothing was told of it yet
    analyse_hz: float | None  # None: every frame
    skipped: dict[str, int]  # cause -> frames left out
    reconnects: int
    dropped: int  # frames that newer ones replaced before the analysis had time; a part of `skipped`


@dataclass(frozen=True, slots=True)
class OutboxInfo:
    """Events that some sink does not have yet."""

    waiting: int
    oldest_age_s: float  # 0.0 when none waits


class Control(Protocol):
    """Any thread may use it."""

    def cameras(self) -> list[CameraInfo]: ...

    def add(self, name: str, source: str, settings: dict[str, Any]) -> CameraInfo:
        """Raises CameraTaken, ConfigError for what cannot be a camera, SinkError when no lease can be had, NotReady."""
        ...

    def remove(self, name: str) -> None:
        """Raises CameraUnknown, NotReady."""
        ...

    def ready(self) -> list[str]:
        """What is not ready, a sentence each; empty: everything is."""
        ...

    def dead(self) -> list[str]:
        """Threads without which nothing goes on, and that have ended although nobody asked."""
        ...

    def engines(self) -> dict[str, str]:
        """Task -> fingerprint of the engine in use; empty until they are loaded."""
        ...

    def outbox(self) -> OutboxInfo: ...


class WorkerControl:
    """`Control` over the worker of this process."""

    def __init__(self, config: Config, worker: Worker, publisher: Publisher, leases: Leases, clocks: Clocks) -> None:
        self._source = config.source
        self._worker = worker
        self._publisher = publisher
        self._leases = leases
        self._clocks = clocks
        self._changing = threading.Lock()  # a lease and its camera come and go together

    def cameras(self) -> list[CameraInfo]:
        skipped, replaced = self._worker.skipped(), self._worker.replaced()
        return [
            _info(camera, told, skipped.get(camera.camera_id, {}), replaced.get(camera.camera_id, 0))
            for camera, told in self._worker.cameras()
        ]

    def add(self, name: str, source: str, settings: dict[str, Any]) -> CameraInfo:
        config = self._config(name, source, settings)
        with self._changing:
            if name in self._leases.held:  # ours already, so the worker knows whether it still runs
                self._worker.add_camera(config)
            elif not self._leases.lease(name):
                raise CameraTaken(
                    f"camera {name} is run by another worker on {self._leases.name}; "
                    "stop that one, or give this camera another name"
                )
            else:
                self._add_or_release(config)
        return next(info for info in self.cameras() if info.name == name)

    def remove(self, name: str) -> None:
        with self._changing:
            if self._worker.remove_camera(name):
                self._leases.release(name)

    def ready(self) -> list[str]:
        return self._worker.troubles()

    def dead(self) -> list[str]:
        return self._worker.dead()

    def engines(self) -> dict[str, str]:
        return self._worker.engines

    def outbox(self) -> OutboxInfo:
        lines = self._publisher.lines
        oldest = min((line.oldest for line in lines if line.oldest is not None), default=None)
        age_s = 0.0 if oldest is None else max(0.0, (self._clocks.wall() - oldest).total_seconds())
        return OutboxInfo(max((line.waiting for line in lines), default=0), age_s)

    def _add_or_release(self, config: CameraConfig) -> None:
        try:
            self._worker.add_camera(config)
        except Exception:
            self._leases.release(config.name)
            raise

    def _config(self, name: str, source: str, settings: Mapping[str, Any]) -> CameraConfig:
        """As the configuration file makes one, but nothing is filled in: that would be secrets of this process."""
        if "${" in source:
            raise ConfigError("source: ${...} is not filled in here; it would tell secrets of the worker")
        values = {"name": name, "source": source, "settings": {**self._source.model_dump(), **settings}}
        try:
            config = CameraConfig.model_validate(values)
        except ValidationError as error:
            raise ConfigError(sentence(error)) from None
        path = recording_path(config)
        if path is not None and not _is_file(path):
            raise ConfigError(f"source: {mask(source)}: no such file on the worker's machine; check the path")
        return config


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # names that no file can have
        return False


def _info(camera: Camera, told: Told | None, skipped: Mapping[str, int], dropped: int) -> CameraInfo:
    status = told.status if told else None
    reason = status.reason if status else None
    return CameraInfo(
        name=camera.camera_id,
        source=mask(camera.config.source),
        state=status.status if status else "connecting",
        reason=scrub(reason) if reason else None,
        since=told.since if told else None,
        analyse_hz=camera.config.settings.analyse_hz,
        skipped=dict(skipped),
        reconnects=max(0, told.connections - 1) if told else 0,
        dropped=dropped,
    )
