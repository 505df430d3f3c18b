"""What `emostream bench` measures: the way of a frame to an event, with the settings of `--config` or the defaults.

A measurement is a process of its own, and is told them on its standard input.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from stream.config import CameraConfig, Config

SECTIONS: Final = {"source", "engine", "detector", "tracking", "emotion", "aggregate"}  # of the configuration


def told(config: Config) -> str:
    """As JSON, without its cameras, its sinks and what it shows to whom: the bench has its own."""
    return config.model_dump_json(include=SECTIONS)


def heard() -> Config:
    """In a measurement's process: what it was told; the defaults where nobody tells."""
    return Config() if sys.stdin.isatty() else Config.model_validate_json(sys.stdin.read() or "{}")


def rate(analyse_hz: float | None) -> str:
    """In words."""
    return "every frame analysed" if analyse_hz is None else f"{analyse_hz:g} analyses a second"


def camera(config: Config, name: str, source: str, **settings: Any) -> CameraConfig:
    """Read as `source` of the configuration says, but for these `settings`."""
    return CameraConfig(name=name, source=source, settings=config.source.model_copy(update=settings))
