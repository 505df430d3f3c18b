"""The 256 images that travel with a model, so that anyone can check an engine against the checkpoint's answers.

No FER-2013 image may be shipped, so these are warps of one portrait in the public domain (`engines/portrait.py`) and
synthetic pictures that a network meets when something is wrong.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.portrait import portrait
from engines.preprocess import align
from engines.spec import ModelSpec

COUNT = 256
SYNTHETIC = 32
# eyes, nose, mouth corners of the 512x600 portrait, in pixels, as YuNet sees them
PORTRAIT_LANDMARKS = ((224.3, 197.3), (306.8, 195.6), (265.4, 238.9), (229.8, 274.0), (304.4, 272.3))


def parity_inputs(spec: ModelSpec) -> NDArray[np.uint8]:
    """(COUNT, H, W) uint8: the same bytes at every call with the same libraries."""
    luma = cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)
    random = np.random.default_rng(20261121)
    warped = [_warped(luma, spec, random) for _ in range(COUNT - SYNTHETIC)]
    return np.stack(warped + _synthetic(spec.input_shape[1:], random))


def _warped(luma: NDArray[np.uint8], spec: ModelSpec, random: np.random.Generator) -> NDArray[np.uint8]:
    """The portrait, cropped a little beside the template, bent, lit otherwise, and sometimes with noise."""
    landmarks = np.array(PORTRAIT_LANDMARKS, np.float32)
    moved = landmarks + random.normal(0.0, 8.0, landmarks.shape).astype(np.float32)
    crop = align(luma, moved, spec).astype(np.float32)
    if random.random() < 0.5:
        crop = crop[:, ::-1]
    gamma, gain, noise = random.uniform(0.6, 1.6), random.uniform(0.5, 1.2), random.uniform(0.0, 12.0)
    lit = 255.0 * gain * (crop / 255.0) ** gamma + random.normal(0.0, noise, crop.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _synthetic(size: tuple[int, int], random: np.random.Generator) -> list[NDArray[np.uint8]]:
    """SYNTHETIC pictures without a face: even greys, ramps, noise coarse and fine."""
    height, width = size
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    pictures = [np.full(size, grey, np.uint8) for grey in (0, 1, 64, 127, 128, 191, 254, 255)]
    pictures += [np.tile(ramp, (height, 1)), np.tile(ramp[::-1], (height, 1)), np.tile(ramp[:, None], (1, width))]
    while len(pictures) < SYNTHETIC:
        side = int(random.choice([3, 6, 12, 48]))
        coarse = random.integers(0, 256, (side, side), dtype=np.uint8)
        pictures.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return pictures
