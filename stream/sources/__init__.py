"""Where frames come from: a camera's address chooses the class.

A new kind of source is a file here, a line in SOURCES, and must pass `tests/contracts/source.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from stream.clocks import CLOCKS, Clocks, never
from stream.config import CameraConfig
from stream.errors import ConfigError
from stream.sources.base import Context, SmallSize, Source, StreamInfo
from stream.sources.timeline import Timeline

__all__ = ["SOURCES", "SmallSize", "Source", "StreamInfo", "Timeline", "is_live", "make_source", "recording_path"]

SOURCES = {  # kind -> module, imported when the first of them is made (PyAV loads FFmpeg), and class
    "file": ("stream.sources.kinds", "FileSource"),
    "rtsp": ("stream.sources.kinds", "RtspSource"),
    "rtsps": ("stream.sources.kinds", "RtspSource"),
    "http": ("stream.sources.kinds", "HttpSource"),
    "https": ("stream.sources.kinds", "HttpSource"),
    "device": ("stream.sources.kinds", "DeviceSource"),
    "synthetic": ("stream.sources.synthetic", "SyntheticSource"),
}
LIVE = frozenset(["rtsp", "rtsps", "http", "https", "device"])


def make_source(
    camera: CameraConfig,
    session: str,
    timeline: Timeline,
    small: SmallSize,
    *,
    wait: Callable[[float], bool] = never,
    clocks: Clocks = CLOCKS,
) -> Source:
    """An unopened source for one connection of this camera.

    `wait(seconds)` paces files with `realtime` and is asked with 0 at every packet; True from it ends the frames, so
    that a `threading.Event.wait` stops the source. Raises ConfigError for an address of unknown kind.
    """
    module, name = SOURCES[kind(camera.source)]
    made: Source = getattr(importlib.import_module(module), name)(
        Context(camera, session, timeline, small, wait, clocks)
    )
    return made


def is_live(camera: CameraConfig) -> bool:
    """Whether frames come when they come. A file is not live even if `realtime` paces it; a synthetic one then is.

    Raises ConfigError for an address of unknown kind.
    """
    of = kind(camera.source)
    return of in LIVE or (of == "synthetic" and camera.settings.realtime)


def recording_path(camera: CameraConfig) -> Path | None:
    """Where the recording lies on disk; None for a source that is no file. Raises ConfigError like `is_live`."""
    return Path(camera.source) if kind(camera.source) == "file" else None


def kind(source: str) -> str:
    """The key of SOURCES for an address. Raises ConfigError, which names the scheme only."""
    if source.isdecimal() or source.startswith("/dev/video"):
        return "device"
    if source.startswith("synthetic:"):
        return "synthetic"
    scheme, found, _ = source.partition("://")
    if not found or not scheme.replace("+", "").isalnum():
        return "file"
    if scheme.lower() not in SOURCES:
        raise ConfigError(f"{scheme}: unknown kind of source; use a file, rtsp://, http(s):// or a device number")
    return scheme.lower()
