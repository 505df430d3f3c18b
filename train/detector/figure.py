"""A head of hair, a neck and shoulders, drawn where a cut-out face will be pasted: what head shots do not show.

Flat and rough on purpose. A face's box ends at the face, whatever stands around it, and nothing else says so to a
network that has only seen faces which fill their photo.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) luma or (H, W, 3) BGR
REACH = np.float32([-1.4, -0.6, 1.4, 2.1])  # how far a figure may go beyond a face's box, in its width and height


def reach(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) the box that a figure around the face in `box` may touch."""
    width, height = (box[2:] - box[:2]).tolist()
    return box + REACH * np.float32([width, height, width, height])


def draw_figure(canvas: Pixels, box: NDArray[np.float32], random: np.random.Generator) -> None:
    """Shoulders, neck and hair for the face that will be in `box` (4,), x1 y1 x2 y2; each by chance."""
    width, height = (box[2:] - box[:2]).tolist()
    middle = (box[:2] + box[2:]) / 2
    if random.random() < 0.75:
        place = middle + np.array([random.normal(0, 0.15) * width, random.uniform(1.2, 1.5) * height])
        _ellipse(canvas, place, (random.uniform(0.9, 1.35) * width, random.uniform(0.55, 0.8) * height), random)
        place = middle + np.array([0, 0.55 * height])
        _ellipse(canvas, place, (random.uniform(0.25, 0.4) * width, random.uniform(0.35, 0.6) * height), random)
    if random.random() < 0.8:
        tone = _tone(canvas, random)
        place = middle - np.array([0, random.uniform(0.0, 0.12) * height])
        axes = np.array([random.uniform(0.55, 0.85) * width, random.uniform(0.52, 0.68) * height])
        _ellipse(canvas, place, axes, random, tone)
        if random.random() < 0.4:  # long hair
            _ellipse(
                canvas,
                middle + np.array([0, 0.3 * height]),
                axes * np.array([1.0, random.uniform(1.1, 1.6)]),
                random,
                tone,
            )
        _strands(canvas, place, axes, tone, random)


def _ellipse(
    canvas: Pixels,
    middle: NDArray[np.floating],
    axes: tuple[float, float] | NDArray[np.floating],
    random: np.random.Generator,
    tone: tuple[int, ...] | None = None,
) -> None:
    place, size = (int(middle[0]), int(middle[1])), (max(int(axes[0]), 1), max(int(axes[1]), 1))
    colour = tone or _tone(canvas, random)
    cv2.ellipse(canvas, place, size, float(random.normal(0, 6)), 0, 360, colour, -1, cv2.LINE_AA)


def _strands(
    canvas: Pixels,
    middle: NDArray[np.floating],
    axes: NDArray[np.floating],
    tone: tuple[int, ...],
    random: np.random.Generator,
) -> None:
    """Lines of a similar tone, from the crown outwards."""
    for _ in range(int(random.integers(0, 14))):
        angle = random.uniform(np.pi, 2 * np.pi)
        outer = middle + axes * np.array([np.cos(angle), np.sin(angle)])
        inner = middle + axes * 0.6 * np.array([np.cos(angle + random.normal(0, 0.3)), np.sin(angle)])
        shade = tuple(int(np.clip(value + random.normal(0, 25), 0, 255)) for value in tone)
        thick = max(1, int(axes[0] / 20))
        cv2.line(canvas, _point(inner), _point(outer), shade, thick, cv2.LINE_AA)


def _point(place: NDArray[np.floating]) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def _tone(canvas: Pixels, random: np.random.Generator) -> tuple[int, ...]:
    """Dark more often than light, as hair and clothes are."""
    light = 255 * random.random() ** 1.7
    channels = canvas.shape[2] if canvas.ndim == 3 else 1
    return tuple(np.clip(light + random.normal(0, 20, channels), 0, 255).astype(int).tolist())
