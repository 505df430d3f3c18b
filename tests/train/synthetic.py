"""A tiny FER-2013 for tests: 48x48 pictures whose class can be seen, written as the real archive is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def pictures(labels: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """(N, 48, 48): noise, and a bright bar whose height on the picture tells the label."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (len(labels), 48, 48), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[6 * label : 6 * label + 6] += 120
    return images


def write_archive(path: Path, training: int = 48, test: int = 14, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Write a small archive without blanks or leaks; its arrays are returned, to be changed and written again."""
    labels = np.arange(training + 2 * test) % 7
    arrays: dict[str, NDArray[np.generic]] = {
        "images": pictures(labels, seed),
        "labels": labels.astype(np.uint8),
        "split": np.repeat([0, 1, 2], [training, test, test]).astype(np.uint8),
        "ferplus": np.zeros((len(labels), len(COLUMNS)), np.uint8),
        "ferplus_columns": np.array(COLUMNS),
    }
    np.savez(path, **arrays)
    return arrays
