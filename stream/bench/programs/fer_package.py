"""The `fer` package (https://github.com/justinshenk/fer) as its own page shows it: `python fer_package.py CLIP`."""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
from fer.fer import FER
from turn import Look, take


def load() -> Look:
    detector = FER()

    def look(frame: np.ndarray) -> int:
        return len(detector.detect_emotions(frame))

    return look


if __name__ == "__main__":
    take(sys.argv[1], load, {name: version(name) for name in ("fer", "tensorflow")})
