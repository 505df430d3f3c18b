"""Where data lies, and archives of arrays read without trust in them."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import sha256_of
from train.data.names import emotion_of
from train.errors import DataMissing

REPOSITORY = Path(__file__).resolve().parents[2]


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


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an archive, by name. Raises DataMissing when it cannot be read whole."""
    try:
        # numpy leaves a file open that it could not read; allow_pickle stays False: a pickle can run code
        with path.open("rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataMissing(f"{path} is not a readable archive of arrays ({error}); fetch it again") from None


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """What an archive says of every picture in it, its labels as words."""

    images: NDArray[np.uint8]  # (N, side, side) luma
    emotions: NDArray[np.str_]  # (N,) words of EMOTIONS, or contempt
    subjects: NDArray[np.str_]  # (N,)
    sha256: str


def read_labelled(path: Path, title: str, side: int, mark: str) -> Labelled:
    """The rows of an archive with arrays `images labels subject classes`, the last naming the numbers in `labels`.

    `title`, `side` (pixels) and `mark` (an array that only this archive has) tell one archive from another: anything
    else raises DataMissing.
    """
    arrays = read_npz(path)
    try:
        images, labels, subjects = arrays["images"], arrays["labels"], arrays["subject"].astype(str)
        names = [emotion_of(str(name)) for name in arrays["classes"]]
        rows = len(arrays[mark])
        emotions = np.array([names[label] or f"class {label}" for label in labels])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _wrong(path, title, str(error)) from None
    unknown = sorted({emotion for emotion in emotions if emotion_of(emotion) is None})
    if unknown:
        raise _wrong(path, title, f"{unknown[0]} is no emotion")
    if images.dtype != np.uint8 or images.shape != (rows, side, side) or not len(labels) == len(subjects) == rows > 0:
        raise _wrong(path, title, f"images are {images.shape} {images.dtype}, not (N, {side}, {side}) uint8")
    return Labelled(images, emotions, subjects, sha256_of(path))


def _wrong(path: Path, title: str, why: str) -> DataMissing:
    return DataMissing(f"{path} is not the {title} archive that was expected ({why}); fetch it again")
