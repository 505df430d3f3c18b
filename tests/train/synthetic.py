"""A tiny FER-2013 for tests, and other sources: pictures whose class can be seen, written as the real files are."""

from __future__ import annotations

from collections.abc import Sequence
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


def write_csv(
    path: Path, arrays: dict[str, NDArray[np.generic]], columns: Sequence[str], splits: Sequence[int]
) -> None:
    """Write the rows of some splits of a `write_archive` as a csv file of the contest, which has such columns."""
    lines = [",".join(columns)]
    for image, label, split in zip(arrays["images"], arrays["labels"], arrays["split"], strict=True):
        cells = {
            "emotion": str(label),
            "pixels": " ".join(map(str, image.ravel())),
            "Usage": ("Training", "PublicTest", "PrivateTest")[int(split)],
        }
        if split in splits:
            lines.append(",".join(cells[column.strip()] for column in columns))
    path.write_text("\n".join(lines) + "\n")


def write_labelled(path: Path, classes: Sequence[str], side: int, mark: str, subjects: int = 5) -> NDArray[np.uint8]:
    """Write an archive such as CK+'s (48, "sequence") or JAFFE's (256, "names"): each subject shows each class once.

    Returned are its (N, side, side) images: noise, and the number of the class in the first pixel.
    """
    labels = np.tile(np.arange(len(classes), dtype=np.uint8), subjects)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side), dtype=np.uint8)
    images[:, 0, 0] = labels
    subject = np.repeat([f"S{number:03}" for number in range(subjects)], len(classes))
    arrays = {"images": images, "labels": labels, "subject": subject, "classes": np.array(classes), mark: subject}
    np.savez(path, **arrays)
    return images


def write_picture(path: Path, value: int, height: int = 48, width: int = 48) -> None:
    """Write a grey picture of one value, but for a corner of black (a blank one is never trained on)."""
    import cv2

    picture = np.full((height, width), value, np.uint8)
    picture[: height // 4, : width // 4] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
