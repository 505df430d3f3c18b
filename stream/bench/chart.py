"""A small chart as PNG, drawn with OpenCV: a plotting library would be one more package for every installation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError

PANEL_PX: Final = (760, 620)  # width, height
TITLE_PX: Final = 70  # above the panels
MARGIN_PX: Final = (90, 50, 30, 90)  # left, top, right, below of the axes in a panel
TEXT_PX, SMALL_PX = 22, 18
DOT_PX: Final = 6
PAD_PX: Final = 60  # between the axis and the first point, and behind the last
WEIGHT: Final = 500  # of the letters: a little more than regular
HALO: Final = tuple((x, y) for x in (-3, 0, 3) for y in (-3, 0, 3) if x or y)
LINES: Final = 5  # across the axis, about
WHITE, INK, GREY, LINE = (255, 255, 255), (40, 40, 40), (225, 225, 225), (180, 119, 31)  # BGR

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Panel:
    """One line: values over places on the horizontal axis, whatever its scale; two or more."""

    title: str  # of the horizontal axis
    labels: tuple[str, ...]
    places: tuple[float, ...]  # growing
    values: tuple[float, ...]


def draw(path: Path, title: str, unit: str, panels: Sequence[Panel]) -> None:
    """Panels side by side with one vertical scale from 0. Raises ConfigError when the file cannot be written."""
    import cv2

    top = max(max(panel.values) for panel in panels)
    step = nice_step(top / LINES)
    highest = step * math.ceil(top / step + 0.25)  # room for the numbers above the points
    width, height = PANEL_PX
    canvas = np.full((TITLE_PX + height, width * len(panels), 3), WHITE, np.uint8)
    _text(canvas, title, (canvas.shape[1] // 2, TITLE_PX // 2 + 8), TEXT_PX + 4)
    for number, panel in enumerate(panels):
        _panel(canvas[TITLE_PX:, number * width : (number + 1) * width], panel, unit, step, highest)
    try:
        path.write_bytes(cv2.imencode(".png", canvas)[1].tobytes())
    except OSError as error:
        raise ConfigError(f"{path}: the chart cannot be written ({error.strerror})") from None


def nice_step(about: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= about * (1 - 1e-9))


def _panel(picture: Image, panel: Panel, unit: str, step: float, highest: float) -> None:
    import cv2

    (width, height), (left, above, right, below) = PANEL_PX, MARGIN_PX
    bottom = height - below

    def y_px(value: float) -> int:
        return round(bottom - (bottom - above) * value / highest)

    for number in range(round(highest / step) + 1):
        y = y_px(number * step)
        cv2.line(picture, (left, y), (width - right, y), INK if number == 0 else GREY, 1, cv2.LINE_AA)
        _text(picture, f"{number * step:g}", (left - 12, y + SMALL_PX // 3), SMALL_PX, at="right")
    _text(picture, unit, (left - 12, above - 20), SMALL_PX, at="right")
    _text(picture, panel.title, (left + (width - left - right) // 2, height - 25), TEXT_PX)
    first, last = panel.places[0], panel.places[-1]
    scale = (width - left - right - 2 * PAD_PX) / (last - first)
    x_px = [round(left + PAD_PX + scale * (place - first)) for place in panel.places]
    points = [(x, y_px(value)) for x, value in zip(x_px, panel.values, strict=True)]
    cv2.polylines(picture, [np.array(points, np.int32)], False, LINE, 2, cv2.LINE_AA)
    for point, label, value in zip(points, panel.labels, panel.values, strict=True):
        cv2.circle(picture, point, DOT_PX, LINE, -1, cv2.LINE_AA)
        _text(picture, label, (point[0], bottom + 30), SMALL_PX)
        _text(picture, f"{value:.2f}", (point[0], point[1] - 16), SMALL_PX)


def _text(picture: Image, text: str, point: tuple[int, int], size_px: int, at: str = "middle") -> None:
    """`point` is on the base line: where the text has its middle, or its right end."""
    import cv2

    font: Any = cv2.FontFace("sans")
    x1, _, width, _ = cv2.getTextSize((picture.shape[1], picture.shape[0]), text, (0, 0), font, size_px, WEIGHT)
    x = point[0] - x1 - (width if at == "right" else width // 2)
    for side, up in HALO:  # so that a line behind it leaves it readable
        cv2.putText(picture, text, (x + side, point[1] + up), WHITE, font, size_px, WEIGHT)
    cv2.putText(picture, text, (x, point[1]), INK, font, size_px, WEIGHT)
