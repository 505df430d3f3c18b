"""What light, lens, codec and sensor do to a picture: changes of pixels that move no face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) luma or (H, W, 3) BGR


def relight(picture: Pixels, random: np.random.Generator) -> Pixels:
    """Another light on one photo, and in colour a tint: most photos are grey, and cameras' are not."""
    if random.random() < 0.6:
        picture = _tone(picture, random.uniform(0.6, 1.5), random.uniform(0.5, 1.3), random.uniform(-25, 25))
    if picture.ndim == 3 and random.random() < 0.8 and _is_grey(picture):
        skin = np.array([random.uniform(0.55, 0.95), random.uniform(0.7, 0.97), 1.0]) * random.uniform(0.95, 1.2)
        picture = _bytes(picture * skin)
    return picture


def degrade(image: Pixels, random: np.random.Generator) -> Pixels:
    """Light, colour, blur, noise and compression of one whole training picture; each by chance."""
    if random.random() < 0.7:
        image = _tone(image, random.uniform(0.5, 1.8), random.uniform(0.4, 1.3), random.uniform(-30, 30))
    if image.ndim == 3:
        image = _colours(image, random)
    if random.random() < 0.12:
        image = _coarse(image, random.uniform(0.4, 0.8))
    image = _blur(image, random)
    if random.random() < 0.3:
        image = _bytes(image + random.normal(0.0, random.uniform(1.0, 12.0), image.shape).astype(np.float32))
    if random.random() < 0.4:
        image = _compressed(image, int(random.integers(15, 85)))
    return image


def texture(side: int, colour: bool, random: np.random.Generator) -> Pixels:
    """(side, side) that no lens has seen: one tone, a ramp, or noise from coarse to fine, alone or summed."""
    shape = (side, side, 3) if colour else (side, side)
    result = np.full(shape, random.uniform(0, 255), np.float32)
    for _ in range(int(random.integers(0, 4))):
        cells = int(random.choice([2, 3, 6, 12, 40, 160]))
        coarse = random.normal(0.0, random.uniform(5, 70), (cells, cells, *shape[2:])).astype(np.float32)
        way = int(random.choice([cv2.INTER_CUBIC, cv2.INTER_NEAREST]))
        result += cv2.resize(coarse, (side, side), interpolation=way)
    return _bytes(result)


def _tone(image: Pixels, gamma: float, gain: float, offset: float) -> Pixels:
    table = 255.0 * gain * (np.arange(256) / 255.0) ** gamma + offset
    return cv2.LUT(image, _bytes(table)).astype(np.uint8, copy=False)


def _colours(image: Pixels, random: np.random.Generator) -> Pixels:
    """White balance, saturation, or none at all: cameras at night are grey."""
    if random.random() < 0.15:
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    if random.random() < 0.5:
        image = _bytes(image * random.uniform(0.75, 1.25, 3).astype(np.float32))
    if random.random() < 0.4:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None].astype(np.float32)
        image = _bytes(grey + (image - grey) * np.float32(random.uniform(0.2, 1.8)))
    return image


def _coarse(image: Pixels, scale: float) -> Pixels:
    """Seen at a lower resolution and enlarged again."""
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _blur(image: Pixels, random: np.random.Generator) -> Pixels:
    kind = random.random()
    if kind < 0.12:
        return cv2.GaussianBlur(image, (0, 0), float(random.uniform(0.4, 1.5))).astype(np.uint8, copy=False)
    if kind < 0.2:  # motion, along one line
        length = int(random.choice([3, 5, 7]))
        end = int(random.integers(0, length))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, end), (length - 1, length - 1 - end), (1.0,))
        kernel = kernel if random.random() < 0.5 else kernel.T
        kernel = kernel + kernel[::-1, ::-1]  # the same about its middle, so that the face stays where it is
        return cv2.filter2D(image, -1, kernel / kernel.sum()).astype(np.uint8, copy=False)
    return image


def _compressed(image: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    flag = cv2.IMREAD_COLOR if image.ndim == 3 else cv2.IMREAD_GRAYSCALE
    decoded = cv2.imdecode(data, flag)
    assert decoded is not None  # we wrote it
    return decoded.astype(np.uint8, copy=False)


def _is_grey(picture: Pixels) -> bool:
    sample = picture[::8, ::8].astype(np.int16)
    return bool(np.abs(sample[..., 0] - sample[..., 2]).mean() < 3)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)
