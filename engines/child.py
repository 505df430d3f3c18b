"""How our own modules are started in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent  # to start in: a `train` in the user's folder would be another one


def command(module: str, *arguments: str) -> list[str]:
    """For subprocess, with `cwd=PACKAGES`; paths in `arguments` are therefore absolute."""
    return [sys.executable, "-m", module, *arguments]
