"""One face that may be shipped: the demo's cameras film it, and models' parity inputs are warps of it.

Commodore Grace Hopper, an official photograph of the U.S. Navy (1984) and so in the public domain; the bytes are those
of `grace_hopper.jpg` in matplotlib's sample data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import ModelInvalid

PORTRAIT = Path(__file__).with_name("portrait.jpg")


def portrait() -> NDArray[np.uint8]:
    """(600, 512, 3) BGR. Raises ModelInvalid when the file is missing or damaged."""
    import cv2  # late: most who import this package never look at a picture

    pixels = cv2.imread(str(PORTRAIT)) if PORTRAIT.is_file() else None
    if pixels is None:
        raise ModelInvalid(f"{PORTRAIT}: the portrait is missing or damaged; install emostream again")
    return np.asarray(pixels, np.uint8)
