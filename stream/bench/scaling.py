"""What a camera costs among others, and what faces cost: CPU per source frame at 1 to 16 cameras, at 1 to 20 faces.

The cameras are files, one clip under many names. Files never drop a frame, so the work is the same for each camera at
every number, also on a machine that could not hold so many in real time; live, a figure for 16 would get smaller with
every frame that was skipped. What is spent once (loading engines, starting Redis) is told apart: shared by many
cameras, it would make each of them look cheaper than the one before.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from stream.bench import chart, crowd, subject
from stream.bench.process import existing, measured
from stream.config import Config
from stream.errors import SourceError

PLOT = Path("emostream-scaling.png")


def measure(
    clip: Path,
    say: Callable[[str], None],
    *,
    cameras: Sequence[int] = (1, 2, 4, 8, 16),
    faces: Sequence[int] = (1, 5, 20),
    faces_s: float = 8.0,
    repeats: int = 3,
    plot: Path | None = PLOT,
    config: Config | None = None,
) -> dict[str, Any]:
    """Medians of so many rounds as `--json` prints them, drawn into `plot`. Raises SourceError.

    `cameras` and `faces` are two or more numbers each, growing; `faces_s` is how long the clips of faces are.
    """
    existing(clip)
    by_cameras: dict[int, list[dict[str, Any]]] = {number: [] for number in cameras}
    by_faces: dict[int, list[dict[str, Any]]] = {number: [] for number in faces}
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        crowds = {number: crowd.make_clip(Path(folder) / f"faces-{number}.mp4", number, faces_s) for number in faces}
        for number in range(1, repeats + 1):
            for count, runs in by_cameras.items():
                say(f"round {number} of {repeats}: {count} cameras")
                runs.append(_run(clip, count, config))
            for count, runs in by_faces.items():
                say(f"round {number} of {repeats}: {count} faces")
                runs.append(_run(crowds[count], 1, config))
    figures = {
        "clip": clip.name,
        "repeats": repeats,
        "analyse_hz": (config or Config()).source.analyse_hz,
        "cameras": [_of_cameras(number, by_cameras) for number in cameras],
        "faces": [_of_faces(number, runs) for number, runs in by_faces.items()],
    }
    if plot is not None:
        _draw(plot, figures)
        say(f"drawn: {plot}")
    return {**figures, "plot": str(plot) if plot is not None else None}


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    rate = subject.rate(figures["analyse_hz"])
    drawn = Table("CPU per source frame", "ms", "", title=f"{figures['clip']}, everything, {rate}")
    first = figures["cameras"][0]["cameras"]
    for row in figures["cameras"]:
        drawn.add_row(f"cameras: {row['cameras']}", f"{row['ms']:.2f}", f"{row['ratio']:.2f} times that of {first}")
    for row in figures["faces"]:
        found = f"{row['found']:.1f} found; detecting {row['detect_ms']:.1f} ms an analysed frame, "
        drawn.add_row(f"faces: {row['faces']}", f"{row['ms']:.2f}", f"{found}classifying {row['classify_ms']:.1f}")
    fixed_s = figures["cameras"][0]["fixed_s"]
    drawn.caption = f"median of rounds: {figures['repeats']}; besides, {fixed_s:.1f} s once for engines and Redis"
    return drawn


def _run(clip: Path, cameras: int, config: Config | None) -> dict[str, Any]:
    what = f"{cameras} times {clip.name}"
    run = measured(what, "stream.bench.worker", "files", clip, cameras, config=config)
    if run["failed"]:
        raise SourceError(f"{clip.name}: {next(iter(run['failed'].values()))}")
    return run


def _ms(run: dict[str, Any]) -> float:
    """CPU per source frame."""
    return float(1000.0 * run["cpu_s"] / run["source_frames"])


def _of_cameras(number: int, by_cameras: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """The ratio is the median of the rounds' own: neighbours in time share the machine's mood."""
    runs, alone = by_cameras[number], next(iter(by_cameras.values()))
    return {
        "cameras": number,
        "ms": round(statistics.median(map(_ms, runs)), 3),
        "ratio": round(statistics.median(_ms(run) / _ms(one) for run, one in zip(runs, alone, strict=True)), 3),
        "fixed_s": round(statistics.median(run["fixed_s"] for run in runs), 2),
    }


def _of_faces(number: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Times of the stages are per analysed frame."""
    return {
        "faces": number,
        "found": runs[0]["faces"],
        "ms": round(statistics.median(map(_ms, runs)), 3),
        "detect_ms": round(statistics.median(1000.0 * run["detect_s"] / run["frames"] for run in runs), 2),
        "classify_ms": round(statistics.median(1000.0 * run["classify_s"] / run["frames"] for run in runs), 2),
    }


def _draw(plot: Path, figures: dict[str, Any]) -> None:
    panels = []
    for name, of, scale in (("cameras", figures["clip"], math.log2), ("faces", "one 1080p camera", float)):
        numbers, spent_ms = [row[name] for row in figures[name]], tuple(row["ms"] for row in figures[name])
        panels.append(chart.Panel(f"{name} ({of})", tuple(map(str, numbers)), tuple(map(scale, numbers)), spent_ms))
    chart.draw(plot, f"CPU per source frame, everything, {subject.rate(figures['analyse_hz'])}", "ms", panels)
