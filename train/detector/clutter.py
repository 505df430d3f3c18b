"""Things that are no face and that photos of faces do not show: lettering, shapes, cloth. Drawn on a background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) luma or (H, W, 3) BGR
LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:%&@!?"))
FONTS = 8  # Hershey fonts that OpenCV draws


def clutter(canvas: Pixels, random: np.random.Generator) -> None:
    """Draw some of each kind into the canvas; each by chance."""
    if random.random() < 0.35:
        for _ in range(int(random.integers(1, 4))):
            _cloth(canvas, random)
    if random.random() < 0.3:
        for _ in range(int(random.integers(1, 12))):
            _shape(canvas, random)
    if random.random() < 0.4:
        for _ in range(int(random.integers(1, 6))):
            _lettering(canvas, random)


def _lettering(canvas: Pixels, random: np.random.Generator) -> None:
    """A word with an outline, as captions, logos and titles have it."""
    text = "".join(random.choice(LETTERS, int(random.integers(2, 12))))
    font, scale = int(random.integers(0, FONTS)), float(np.exp(random.uniform(np.log(0.3), np.log(4.0))))
    thick = max(1, round(scale * random.uniform(0.8, 5.0)))
    place = _place(canvas, random, -40)
    for extra in (round(scale * random.uniform(1, 4)), 0):
        if extra or thick:
            cv2.putText(canvas, text, place, font, scale, _colour(canvas, random), thick + 2 * extra, cv2.LINE_AA)


def _shape(canvas: Pixels, random: np.random.Generator) -> None:
    """An ellipse, a box or a line, full or as an outline."""
    size = np.exp(random.uniform(np.log(3), np.log(120), 2)).astype(int).tolist()
    place, colour = _place(canvas, random, 0), _colour(canvas, random)
    thick = -1 if random.random() < 0.6 else int(random.integers(1, 6))
    kind = random.integers(0, 3)
    if kind == 0:
        cv2.ellipse(canvas, place, tuple(size), float(random.uniform(0, 180)), 0, 360, colour, thick, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(canvas, place, (place[0] + size[0], place[1] + size[1]), colour, thick)
    else:
        cv2.line(canvas, place, _place(canvas, random, 0), colour, max(thick, 1), cv2.LINE_AA)


def _cloth(canvas: Pixels, random: np.random.Generator) -> None:
    """A patch of one small random motif, over and over."""
    side = int(random.integers(3, 28))
    motif = random.integers(0, 256, (side, side, *canvas.shape[2:]), dtype=np.uint8)
    motif = cv2.GaussianBlur(motif, (0, 0), float(random.uniform(0.4, side / 5))).reshape(motif.shape)
    motif = cv2.normalize(motif, None, 0, int(random.integers(60, 256)), cv2.NORM_MINMAX).reshape(motif.shape)
    left, top = _place(canvas, random, 0)
    width, height = random.integers(30, 200, 2).tolist()
    patch = canvas[top : top + height, left : left + width]
    times = (height // side + 1, width // side + 1) + (1,) * (canvas.ndim - 2)
    patch[...] = np.tile(motif, times)[: patch.shape[0], : patch.shape[1]]


def _place(canvas: Pixels, random: np.random.Generator, beside: int) -> tuple[int, int]:
    """A pixel (x, y) of the canvas, or up to `-beside` pixels left or above of it."""
    return int(random.integers(beside, canvas.shape[1])), int(random.integers(beside, canvas.shape[0]))


def _colour(canvas: Pixels, random: np.random.Generator) -> tuple[int, ...]:
    return tuple(random.integers(0, 256, canvas.shape[2] if canvas.ndim == 3 else 1).tolist())
