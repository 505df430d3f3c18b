"""What the whole path costs above decoding the video: `emostream bench`.

Each figure comes from a process of its own that imports the same modules, reads the clip once so that it lies in the
page cache, and then counts user and system time of itself, all its threads and its children (the private Redis too);
imports are not counted, loading the engines is. Decoding alone, 5 analyses a second and every frame take turns, so that
a machine whose speed drifts cannot favour one of them; medians are reported.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from stream.bench.process import existing, measured
from stream.config import Config

KINDS = ("decode", "5hz", "every")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one child measured."""

    cpu_s: float  # user + system, threads and children included
    wall_s: float
    frames: int  # decoded source frames; 0 where it did not count them
    peak_rss_mb: float


def measure(clip: Path, repeats: int, say: Callable[[str], None], *, config: Config | None = None) -> dict[str, Any]:
    """The figures as `--json` prints them; times are CPU milliseconds per source frame. Raises SourceError."""
    existing(clip)
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    for number in range(1, repeats + 1):
        for kind in KINDS:
            say(f"round {number} of {repeats}: {kind}")
            costs[kind].append(Cost(**_child(kind, clip, config)))
    say("stages")
    return {**_figures(costs), "stages_ms": _child("stages", clip, config), "clip": clip.name, "repeats": repeats}


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    drawn = Table(
        "CPU per source frame", "ms", "against decoding", title=f"{figures['clip']}, {figures['frames']} frames"
    )
    drawn.add_row("decoding alone", f"{figures['decode_ms']:.2f}", "1.00")
    drawn.add_row("all, 5 analyses a second", f"{figures['at_5hz_ms']:.2f}", f"{figures['ratio_5hz']:.2f}")
    drawn.add_row("all, every frame", f"{figures['every_frame_ms']:.2f}", f"{figures['ratio_every_frame']:.2f}")
    for stage, spent_ms in figures["stages_ms"].items():
        drawn.add_row(f"  {stage}, per analysed frame", f"{spent_ms:.2f}", "")
    drawn.caption = f"medians of {figures['repeats']} rounds; peak RSS {figures['peak_rss_mb']:.0f} MB"
    return drawn


def _figures(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    frames = costs["decode"][0].frames
    spent_ms = {kind: [1000.0 * cost.cpu_s / frames for cost in costs[kind]] for kind in KINDS}

    def ratio(kind: str) -> float:
        """The median of the rounds' own ratios: neighbours in time share the machine's mood."""
        return statistics.median(whole / alone for whole, alone in zip(spent_ms[kind], spent_ms["decode"], strict=True))

    return {
        "decode_ms": round(statistics.median(spent_ms["decode"]), 3),
        "at_5hz_ms": round(statistics.median(spent_ms["5hz"]), 3),
        "every_frame_ms": round(statistics.median(spent_ms["every"]), 3),
        "ratio_5hz": round(ratio("5hz"), 3),
        "ratio_every_frame": round(ratio("every"), 3),
        "peak_rss_mb": round(max(cost.peak_rss_mb for kind in ("5hz", "every") for cost in costs[kind]), 1),
        "frames": frames,
    }


def _child(kind: str, clip: Path, config: Config | None) -> dict[str, Any]:
    return measured(f"{kind} on {clip.name}", "stream.bench.child", kind, clip, config=config)
