"""What no network may be trained on: images of the test splits, and blank ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.data.records import Faces, Splits


def divided(faces: Faces, split: NDArray[np.uint8], classes: tuple[str, ...], sha256: str) -> Splits:
    """The three splits, Training clean; `split` is (N,) the number of each row's split."""
    rows = ((split == 0) & usable_for_training(faces.images, split), split == 1, split == 2)
    return Splits(classes, *(faces.take(mask) for mask in rows), sha256)


def usable_for_training(images: NDArray[np.uint8], split: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,) bool: not blank, and not pixel-identical to an image of a test split.

    568 test images of FER-2013 stand in Training too (280 of PublicTest, 288 of PrivateTest): a network that has seen
    them is measured too high. The test splits themselves are left as they are, so that accuracies compare with the
    papers.
    """
    digests = np.array([hash(image.tobytes()) for image in images])
    flat = images.reshape(len(images), -1)
    blank = flat.min(axis=1) == flat.max(axis=1)
    usable: NDArray[np.bool_] = ~blank & ~np.isin(digests, digests[split != 0])
    return usable
