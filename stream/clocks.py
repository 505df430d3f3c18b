"""Time as an argument: what asks for it, and the clocks of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def never(_seconds: float = 0.0) -> bool:
    """A `stopped()` or a `wait(seconds)` for those who neither stop nor wait: at once, no."""
    return False


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both clocks that a worker goes by."""

    monotonic: Callable[[], float] = time.monotonic  # seconds
    wall: Callable[[], datetime] = utc_now  # UTC


CLOCKS = Clocks()  # those of this machine
