"""How many cameras one worker holds in real time, and how old an event is when Redis has it.

Cameras are the clip over RTSP, from a server in another process (`camera_server.py`); worker, private Redis and server
share this machine, and the CPU of each is told apart. The largest number is searched with short runs and confirmed by a
long one; one camera fewer is tried when that fails. `rules.py` says what counts as held.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from stream.bench import subject
from stream.bench.process import available_cores, existing, measured
from stream.bench.rtp import read_elementary
from stream.bench.rules import MOST_SKIPPED, REACH_MS, bound, largest, why_not_held
from stream.config import Config
from stream.errors import SourceError

FIRST: Final = 4  # cameras
MOST: Final = 512  # more would need more open files than processes usually may have
KEPT: Final = ("cameras", "seconds", "latency_ms", "growth_ms", "frames", "cores", "objections")  # of every run
PARTS: Final = {
    "decode": "decoding, and the small pictures",
    "detect": "detecting faces",
    "classify": "cropping and classifying",
    "analysis": "tracks, aggregation and the rest of the analysis thread",
    "publish": "publishing",
    "other": "other threads",
    "redis": "Redis",
    "cameras": "(the RTSP server)",
    "machine": "(everything on this machine)",
}


def measure(
    clip: Path,
    say: Callable[[str], None],
    *,
    step_s: float = 20.0,
    hold_s: float = 120.0,
    warm_s: float = 5.0,
    first: int = FIRST,
    most: int = MOST,
    config: Config | None = None,
) -> dict[str, Any]:
    """The figures as `--json` prints them. Raises SourceError.

    `step_s` is how long each step of the search is watched, `hold_s` the confirmation, both after `warm_s` with all
    cameras there; `first` cameras are tried first, `most` at most.
    """
    read_elementary(existing(clip))  # whether it can be served, before anything is started

    def run(cameras: int, lasting_s: float) -> dict[str, Any]:
        what, arguments = f"{cameras} cameras", ("live", clip, cameras, warm_s, lasting_s)
        return measured(what, "stream.bench.worker", *arguments, config=config, lasting_s=warm_s + lasting_s)

    analyse_hz = (config or Config()).source.analyse_hz
    return {"clip": clip.name, "analyse_hz": analyse_hz, **search(run, say, step_s, hold_s, first, most)}


def search(
    run: Callable[[int, float], dict[str, Any]],
    say: Callable[[str], None],
    step_s: float,
    hold_s: float,
    first: int,
    most: int,
) -> dict[str, Any]:
    """The figures but for the clip; `run(cameras, seconds)` is one measurement. Raises SourceError."""
    runs: list[dict[str, Any]] = []

    def holds(cameras: int, lasting_s: float = step_s) -> bool:
        figures = run(cameras, lasting_s)
        if figures["came"] == cameras and figures["samples"] == 0:
            raise SourceError("no emotion was told of; latency is measured on a video with faces")
        runs.append({**figures, "objections": why_not_held(figures)})
        say(_sentence(runs[-1]))
        return not runs[-1]["objections"]

    searched = found = largest(holds, first, most)
    while found > 0 and not holds(found, hold_s):
        found -= 1
    too_many = [tried for tried in runs if tried["objections"] and tried["cameras"] > found]
    limit = min(too_many, key=lambda tried: tried["cameras"]) if too_many else None
    return {
        "cameras": found,
        "searched": searched,
        "available_cores": available_cores(),
        "held": runs[-1] if found > 0 else None,
        "limit": limit,
        "bound": _bound(too_many),
        "runs": [{key: tried[key] for key in KEPT} for tried in runs],
    }


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    held, limit = figures["held"], figures["limit"]
    columns = [run for run in (held, limit) if run is not None]
    names = [f"{run['cameras']} cameras, {'held' if run is held else 'too many'}" for run in columns]
    title = f"{figures['clip']}: {figures['cameras']} cameras in real time, {subject.rate(figures['analyse_hz'])}"
    drawn = Table("", *names, title=title)
    for percent in ("p50", "p95", "p99"):
        cells = [f"{run['latency_ms'][percent]:.0f} ms" if run["latency_ms"] else "no event" for run in columns]
        drawn.add_row(f"packet to event in Redis, {percent}", *cells)
    drawn.add_row(f"p95 under {REACH_MS:.0f} ms", *("yes" if within_reach(run) else "no" for run in columns))
    drawn.add_row("frames skipped", *(_skipped(run) for run in columns))
    for part, name in PARTS.items():
        drawn.add_row(f"cores: {name}", *(f"{run['cores'][part]:.2f}" for run in columns))
    watched = f"held for {held['seconds']:.0f} s" if held else "not one camera was held"
    caption = f"{watched}; {figures['available_cores']} cores"
    if figures["searched"] > figures["cameras"]:
        caption += f"; {figures['searched']} cameras were held for a shorter time, and not for this one"
    if figures["bound"]:
        caption += f"; what bounds it: {figures['bound']}"
    drawn.caption = caption
    return drawn


def within_reach(run: dict[str, Any]) -> bool:
    """Whether p95 of the latency is what it should be."""
    return run["latency_ms"] is not None and run["latency_ms"]["p95"] < REACH_MS


def _bound(too_many: list[dict[str, Any]]) -> str | None:
    """Named where it shows best: in the run, of those that were not held, in which the machine was busiest."""
    if not too_many:
        return None
    busiest = max(too_many, key=lambda tried: tried["cores"]["machine"])
    return f"{bound(busiest['cores'], available_cores())} (with {busiest['cameras']} cameras)"


def _sentence(run: dict[str, Any]) -> str:
    objections = ", ".join(run["objections"])
    latency = f"p95 {run['latency_ms']['p95']:.0f} ms" if run["latency_ms"] else "no event"
    return f"{run['cameras']} cameras for {run['seconds']:.0f} s: {objections or 'held'}; {latency}"


def _skipped(run: dict[str, Any]) -> str:
    """By cause, and how many would have been too many."""
    wanted, causes = run["frames"]["wanted"], run["frames"]["skipped"]
    named = ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items()))
    return f"{named or 'none'} (fewer than {MOST_SKIPPED * wanted:.0f} wanted)"
