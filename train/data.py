"""FER-2013 as arrays, with every training image that also stands in a test split left out.

The file is `data/fer2013.npz` of the development data folder: all 35,887 images, 48x48 luma, with FER-2013's own labels
and the ten votes an image of FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041).
"""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import EMOTIONS, sha256_of
from train.errors import DataMissing

SPLITS = ("training", "public", "private")  # numbers 0, 1, 2 of the file's `split`
FERPLUS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # names of EMOTIONS in FER+
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Images of one split and what people called them."""

    images: NDArray[np.uint8]  # (N, 48, 48) luma
    labels: NDArray[np.int64]  # (N,) index into EMOTIONS
    votes: NDArray[np.uint8]  # (N, 7) FER+ votes in the order of EMOTIONS; a row can be all 0

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Fer2013:
    """The three splits, clean, and the digest of the file they came from."""

    training: Faces
    public: Faces  # to choose on
    private: Faces  # to report once
    sha256: str

    def split(self, name: str) -> Faces:
        """One of SPLITS by name."""
        faces: Faces = getattr(self, name)
        return faces


def shared_file(relative: str) -> Path:
    """A file of the development data folder: `$EMOSTREAM_SHARED`, or `../shared` beside the repository.

    Raises DataMissing with the path that was looked at.
    """
    folder = shared_folder()
    path = folder / relative
    if not path.is_file():
        raise DataMissing(f"{relative} is not in {folder}; point EMOSTREAM_SHARED at the development data folder")
    return path


def shared_folder() -> Path:
    """The development data folder, whether it is there or not."""
    return Path(os.environ.get("EMOSTREAM_SHARED") or REPOSITORY.parent / "shared")


def load_fer2013(path: Path | None = None) -> Fer2013:
    """All of FER-2013; Training without blank images and without any image of the two test splits."""
    path = path or shared_file("data/fer2013.npz")
    arrays = read_npz(path)
    try:
        images, labels, split = arrays["images"], arrays["labels"].astype(np.int64), arrays["split"]
        columns = [list(arrays["ferplus_columns"]).index(name) for name in FERPLUS]
        votes = arrays["ferplus"][:, columns]
    except (KeyError, ValueError) as error:
        raise DataMissing(f"{path} is not the FER-2013 archive that was expected ({error}); fetch it again") from None
    training = (split == 0) & usable_for_training(images, split)
    clean, public, private = (
        Faces(images[rows], labels[rows], votes[rows]) for rows in (training, split == 1, split == 2)
    )
    return Fer2013(clean, public, private, sha256_of(path))


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an archive, by name. Raises DataMissing when it cannot be read whole."""
    try:
        # numpy leaves a file open that it could not read; allow_pickle stays False: a pickle can run code
        with path.open("rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataMissing(f"{path} is not a readable archive of arrays ({error}); fetch it again") from None


def usable_for_training(images: NDArray[np.uint8], split: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,) bool: not blank, and not pixel-identical to an image of a test split.

    568 test images stand in Training too (280 of PublicTest, 288 of PrivateTest): a network that has seen them is
    measured too high. The test splits themselves are left as they are, so that accuracies compare with the papers.
    """
    digests = np.array([hash(image.tobytes()) for image in images])
    blank = images.reshape(len(images), -1).std(axis=1) == 0
    usable: NDArray[np.bool_] = ~blank & ~np.isin(digests, digests[split != 0])
    return usable


def soft_labels(faces: Faces, votes_weight: float, smoothing: float) -> NDArray[np.float32]:
    """(N, 7) target probabilities: FER-2013's label, mixed with FER+ votes where there are any, then smoothed.

    `votes_weight` is the votes' share, 0..1. Votes for contempt, unknown and "not a face" have no column here; a row
    without any other vote keeps its hard label.
    """
    hard = np.eye(len(EMOTIONS), dtype=np.float32)[faces.labels]
    total = faces.votes.sum(axis=1, keepdims=True).astype(np.float32)
    shares = np.divide(faces.votes, total, out=hard.copy(), where=total > 0)
    mixed = (1.0 - votes_weight) * hard + votes_weight * shares
    return ((1.0 - smoothing) * mixed + smoothing / len(EMOTIONS)).astype(np.float32)
