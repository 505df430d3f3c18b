"""Each measurement in a process of its own, so that none pays for what another left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from stream.bench import subject
from stream.config import Config
from stream.errors import SourceError
from stream.urls import mask

SLACK_S: Final = 600.0  # for loading, building an engine and ending, on a slow machine


def measured(
    what: str, module: str, *arguments: object, config: Config | None = None, lasting_s: float = 0.0
) -> dict[str, Any]:
    """Run `python -m module arguments` and read the JSON object in its last line. Raises SourceError.

    `what` it measures, for that error's sentence; `lasting_s` of its time are intended.
    """
    told = subject.told(config or Config())
    command = [sys.executable, "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, text=True, timeout=lasting_s + SLACK_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"measuring {what} did not end within {lasting_s + SLACK_S:.0f} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise SourceError(f"measuring {what} failed: {mask(said[-1])}")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def existing(clip: Path) -> Path:
    """The clip itself. Raises SourceError when there is no such file."""
    if not clip.is_file():
        raise SourceError(f"{mask(str(clip))}: no such file; name a video to measure on")
    return clip


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
