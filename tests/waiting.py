"""Waiting for something to become true, instead of for time to pass."""

from __future__ import annotations

import threading
from collections.abc import Callable


def wait_until(true: Callable[[], object]) -> None:
    """Returns once it is; the test's own timeout ends what never becomes true."""
    pause = threading.Event()
    while not true():
        pause.wait(0.01)
