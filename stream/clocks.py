"""Time as an argument: what asks for it, and the clocks of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both clocks that a worker goes by."""

    monotonic: Callable[[], float] = time.monotonic  # seconds
    wall: Callable[[], datetime] = utc_now  # UTC
