"""PNG files: confusion matrix, reliability diagram, and maps over faces.

Drawn with matplotlib's objects (no pyplot, so nothing global stays behind), which is imported only when something is
drawn. Every page is 8 inches wide and legible at 800 pixels; the colours are those of Okabe & Ito, which people who are
colour-blind can tell apart (https://jfly.uni-koeln.de/color/), or go from light to dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from train.metrics import BINS, Reliability, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, DPI = 8.0, 150  # 1200 pixels
BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#777777"
ACROSS = 4  # maps in one row


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One face and where its answer breaks."""

    image: NDArray[np.uint8]  # (H, W) luma
    broken: NDArray[np.float32]  # (H, W) 0..1
    title: str


def open_folder(folder: Path) -> None:
    """Make the folder, and make sure that diagrams can be drawn, before anything is measured that would be lost."""
    import matplotlib.figure  # noqa: F401 - only whether it is there

    folder.mkdir(parents=True, exist_ok=True)


def speed_png(results: dict[str, Any], path: Path) -> None:
    """Write what engines cost: milliseconds a sample over the size of the batch, both axes logarithmic."""
    figure = new_figure(height_in=5.6)
    axes = figure.add_subplot()
    for number, row in enumerate(results["rows"]):
        sizes = [int(size) for size in row["ms_per_sample"]]
        style = "o-" if row["build_s"] is not None else "s--"  # engines, and what they are compared with
        name = f"{row['engine']} {row['precision']}"
        axes.plot(sizes, list(row["ms_per_sample"].values()), style, label=name, color=f"C{number % 10}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("batch", fontsize=12)
    axes.set_ylabel("ms a sample", fontsize=12)
    axes.set_title(f"{results['model']}, {results['threads']} thread(s), {results['machine']}", fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=10)
    figure.savefig(path)


def confusion_png(report: Report, path: Path, title: str) -> None:
    """Write the confusion matrix: colour and percentage are shares of the row (the truth), below them the count."""
    figure = new_figure(height_in=7.2)
    axes = figure.add_subplot()
    totals = report.images[:, None]
    shares = report.confusion / np.maximum(totals, 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n{report.confusion[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.6 else "black", fontsize=11)
    ticks = range(len(report.labels))
    axes.set_xticks(ticks, report.labels, fontsize=11)
    axes.set_yticks(ticks, [f"{label}\n({total})" for label, total in zip(report.labels, totals[:, 0], strict=True)])
    axes.set_xlabel("answer", fontsize=12)
    axes.set_ylabel("truth (images)", fontsize=12)
    axes.set_title(title, fontsize=14)
    _percent_bar(figure, picture, axes, "share of the truth")
    save(figure, path)


def reliability_png(before: Reliability, after: Reliability, temperature: float, path: Path, title: str) -> None:
    """Write two diagrams side by side: accuracy against confidence, without and with the temperature.

    Below each stand the images of its bins.
    """
    figure = new_figure(height_in=5.6)
    (upper, lower) = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    names = ("before: temperature 1", f"after: temperature {temperature:.3f}")
    for column, (bins, name, colour) in enumerate(zip((before, after), names, (VERMILLION, BLUE), strict=True)):
        _accuracy_bars(upper[column], bins, colour)
        upper[column].set_title(f"{name}\ncalibration error {bins.error:.4f}", fontsize=12)
        _count_bars(lower[column], bins)
    upper[0].set_ylabel("accuracy", fontsize=12)
    upper[0].legend(loc="upper left", fontsize=10)
    lower[0].set_ylabel("images", fontsize=12)
    lower[0].margins(y=0.25)  # room for the counts over the bars
    figure.suptitle(title, fontsize=14)
    save(figure, path)


def face_maps_png(tiles: Sequence[Tile], path: Path, title: str) -> None:
    """Write single faces, each above the same face with its map over it."""
    lines = -(-len(tiles) // ACROSS)
    figure = new_figure(height_in=0.6 + 3.75 * lines)
    grid = figure.subplots(2 * lines, ACROSS, squeeze=False)
    for at, tile in enumerate(tiles):
        line, column = divmod(at, ACROSS)
        _face(grid[2 * line, column], tile.image)
        grid[2 * line, column].set_title(tile.title, fontsize=12)
        painted = _overlay(grid[2 * line + 1, column], tile)
    _finish(figure, grid, painted, "share of the squares over a pixel that break the answer")
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def class_maps_png(tiles: Sequence[Tile], path: Path, title: str) -> None:
    """Write the mean face of every class with its mean map over it, each on its own scale, whose end its title tells.

    On one scale for all, the class whose answers break most easily would be the only one to be seen.
    """
    lines = -(-len(tiles) // ACROSS)
    figure = new_figure(height_in=0.6 + 2.2 * lines)
    grid = figure.subplots(lines, ACROSS, squeeze=False)
    for axes, tile in zip(grid.flat, tiles, strict=False):  # the last row may have room left
        most = float(tile.broken.max())
        painted = _overlay(axes, Tile(tile.image, tile.broken / max(most, 1e-9), tile.title))
        axes.set_title(f"{tile.title}\nat most {most:.0%}", fontsize=11)
    _finish(figure, grid, painted, "breaking squares, relative to the class's most")
    figure.suptitle(title, fontsize=13)
    save(figure, path)


def new_figure(height_in: float) -> Figure:
    """An empty figure, WIDTH_IN wide, that Agg draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the PNG, without the date and version of what drew it: the same numbers give the same bytes."""
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def _accuracy_bars(axes: Axes, bins: Reliability, colour: str) -> None:
    """Bars of accuracy, a dot at each bin's mean confidence, and the line on which both are equal."""
    centres, filled = _centres(), bins.images > 0
    axes.bar(centres[filled], bins.accuracy[filled], width=0.9 / BINS, color=colour, label="accuracy of the bin")
    axes.plot(bins.confidence[filled], bins.confidence[filled], "ko", markersize=4, label="its mean confidence")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="honest", zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _count_bars(axes: Axes, bins: Reliability) -> None:
    """Bars of the number of images, with the number on top."""
    axes.bar(_centres(), bins.images, width=0.9 / BINS, color=GREY)
    for centre, images in zip(_centres(), bins.images, strict=True):
        if images:
            axes.text(centre, images, str(images), ha="center", va="bottom", fontsize=8)
    axes.set_xlabel("confidence", fontsize=12)


def _centres() -> NDArray[np.float64]:
    return (np.arange(BINS) + 0.5) / BINS


def _face(axes: Axes, image: NDArray[np.uint8]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _overlay(axes: Axes, tile: Tile) -> Any:
    """Paint the face, and over it the map from 0 to 1, the more opaque the more it breaks."""
    _face(axes, tile.image)
    alpha = 0.75 * np.clip(tile.broken, 0.0, 1.0)
    painted = axes.imshow(tile.broken, cmap="plasma", vmin=0.0, vmax=1.0, alpha=alpha, interpolation="nearest")
    if not tile.broken.any():
        axes.set_xlabel("breaks nowhere", fontsize=10)
    return painted


def _finish(figure: Figure, grid: NDArray[Any], painted: Any, legend: str) -> None:
    """No ticks anywhere, nothing at all where there is no picture, and one bar of colours for all."""
    from matplotlib.cm import ScalarMappable

    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
    _percent_bar(figure, ScalarMappable(painted.norm, painted.cmap), list(grid.flat), legend)


def _percent_bar(figure: Figure, picture: Any, axes: Any, legend: str) -> None:
    from matplotlib.ticker import PercentFormatter

    bar = figure.colorbar(picture, ax=axes, shrink=0.8, aspect=30, format=PercentFormatter(1.0, decimals=0))
    bar.set_label(legend, fontsize=11)
