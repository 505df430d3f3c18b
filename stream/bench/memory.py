"""How much memory one more camera takes: resident memory of a worker with few and with many of them, live over RTSP."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from stream.bench.process import existing, measured
from stream.bench.rtp import read_elementary
from stream.config import Config


def measure(
    clip: Path,
    say: Callable[[str], None],
    *,
    few: int = 1,
    many: int = 8,
    repeats: int = 3,
    warm_s: float = 10.0,
    hold_s: float = 5.0,
    config: Config | None = None,
) -> dict[str, Any]:
    """Medians of so many rounds as `--json` prints them. Raises SourceError.

    The memory is looked at `warm_s + hold_s` after all cameras have come.
    """
    read_elementary(existing(clip))  # whether it can be served, before anything is started
    rss_mb: dict[int, list[float]] = {few: [], many: []}
    for number in range(1, repeats + 1):
        for cameras, found in rss_mb.items():
            arguments = ("live", clip, cameras, warm_s, hold_s)
            what = f"the memory of {cameras} cameras"
            run = measured(what, "stream.bench.worker", *arguments, config=config, lasting_s=warm_s + hold_s)
            found.append(run["rss_mb"])
            say(f"round {number} of {repeats}: {cameras} cameras, {run['rss_mb']:.0f} MB")
    return {"clip": clip.name, "repeats": repeats, **figures_of(rss_mb)}


def figures_of(rss_mb: dict[int, list[float]]) -> dict[str, Any]:
    """From the memory at two numbers of cameras, round by round, in MB. Each round has its own slope."""
    few, many = sorted(rss_mb)
    slopes = [(above - below) / (many - few) for below, above in zip(rss_mb[few], rss_mb[many], strict=True)]
    return {
        "few": few,
        "many": many,
        "few_mb": round(statistics.median(rss_mb[few]), 1),
        "many_mb": round(statistics.median(rss_mb[many]), 1),
        "per_camera_mb": round(statistics.median(slopes), 1),
    }


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    drawn = Table("memory of the worker", "MB", title=f"{figures['clip']}, live over RTSP")
    for number in ("few", "many"):
        drawn.add_row(f"cameras: {figures[number]}", f"{figures[f'{number}_mb']:.0f}")
    drawn.add_row("each camera more", f"{figures['per_camera_mb']:.1f}")
    drawn.caption = f"resident; median of rounds: {figures['repeats']}"
    return drawn
