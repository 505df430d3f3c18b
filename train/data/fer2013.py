"""FER-2013 as arrays, with every training image that also stands in a test split left out.

The file is `data/fer2013.npz` of the development data folder: all 35,887 images, 48x48 luma, with FER-2013's own labels
and the ten votes an image of FER+ (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041).

The csv files of the contest are read through torchvision, which knows their layouts and digests; they have no votes:
https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import EMOTIONS, sha256_of
from train.data.files import read_npz, shared_file
from train.data.leaks import divided
from train.data.pictures import SIDE_PX
from train.data.records import Faces, Splits, without_votes
from train.errors import DataMissing

Fer2013 = Splits  # its classes are EMOTIONS
FERPLUS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # names of EMOTIONS in FER+
# file -> what else it needs; in the order in which torchvision looks for them
LAYOUTS = {"fer2013.csv": (), "icml_face_data.csv": (), "train.csv": ("test.csv",)}
USAGES = {"PublicTest": 1, "PrivateTest": 2}  # number of the split


def load_fer2013(path: Path | None = None) -> Fer2013:
    """All of FER-2013; Training without blank images and without any image of the two test splits.

    `path` is the archive (the development data folder's when None), a csv file of the contest, or a folder with one.
    `train.csv` needs `test.csv` beside it, for the images to leave out; as that has no labels, `public` and `private`
    are then empty.
    """
    path = path or shared_file("data/fer2013.npz")
    if path.is_dir() or path.suffix == ".csv":
        return _from_csv(_csv_file(path))
    return _from_archive(path)


def _from_archive(path: Path) -> Fer2013:
    arrays = read_npz(path)
    try:
        labels, split = arrays["labels"].astype(np.int64), arrays["split"]
        columns, votes = [list(arrays["ferplus_columns"]).index(name) for name in FERPLUS], arrays["ferplus"]
        faces = Faces(arrays["images"], labels, votes[:, columns], clear=clear_majority(votes, columns))
    except (KeyError, ValueError, IndexError) as error:
        raise DataMissing(f"{path} is not the FER-2013 archive that was expected ({error}); fetch it again") from None
    return divided(faces, split, EMOTIONS, sha256_of(path))


def clear_majority(votes: NDArray[np.uint8], columns: list[int]) -> NDArray[np.bool_]:
    """(N,) whether one of `columns` has more than half of an image's (N, 10) votes; single votes are not counted.

    The rule of FER+: contempt, unknown and "not a face" are votes like others, and one voter alone may be mistaken.
    """
    counted = np.where(votes > 1, votes, 0).astype(np.int64)
    clear: NDArray[np.bool_] = 2 * counted[:, columns].max(axis=1) > counted.sum(axis=1)
    return clear


def _csv_file(path: Path) -> Path:
    """The csv file that is meant: `path` itself, or the first of LAYOUTS in the folder `path` or in its `fer2013`."""
    folders = (path, path / "fer2013")
    files = [folder / name for folder in folders for name in LAYOUTS] if path.is_dir() else [path]
    found = next((file for file in files if file.is_file()), None)
    if found is None or found.name not in LAYOUTS:
        raise DataMissing(f"{path} is not one of FER-2013's csv files ({', '.join(LAYOUTS)}); fetch one from Kaggle")
    return found


def _from_csv(path: Path) -> Fer2013:
    files = [path, *(path.with_name(name) for name in LAYOUTS[path.name])]
    training, test = _read_csv(files)
    images, labels = (np.concatenate(arrays) for arrays in zip(training, test, strict=True))
    unlabelled = path.name == "train.csv"
    usages = np.ones(len(test[1]), np.uint8) if unlabelled else _usages(path)
    split = np.concatenate([np.zeros(len(training[1]), np.uint8), usages])
    data = divided(without_votes(images, labels, len(EMOTIONS)), split, EMOTIONS, _digest(files))
    return Splits(EMOTIONS, data.training, data.private, data.private, data.sha256) if unlabelled else data


def _read_csv(files: list[Path]) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """(N, 48, 48) images and (N,) labels, of Training and of both test splits in one; no label is 0 there."""
    try:
        from torchvision.datasets import FER2013
    except ImportError as error:
        raise DataMissing(f"FER-2013's csv files need {error.name}; pip install torchvision, or use the npz") from None
    # torchvision wants a folder of this name, and would prefer a neighbour of the file that is asked for
    with TemporaryDirectory() as root:
        folder = Path(root) / "fer2013"
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file.resolve())
        try:
            return [_arrays(FER2013(root, split=split)) for split in ("train", "test")]
        except (RuntimeError, KeyError, ValueError):  # RuntimeError: a digest that is not the contest's
            names = " and ".join(str(file) for file in files)
            raise DataMissing(f"{names}: not FER-2013 as Kaggle has it, or cut off; fetch it again") from None


def _arrays(samples: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = np.empty((len(samples), SIDE_PX, SIDE_PX), np.uint8)
    labels = np.zeros(len(samples), np.int64)
    for row in range(len(samples)):
        picture, label = samples[row]
        images[row] = np.asarray(picture)
        labels[row] = 0 if label is None else label
    return images, labels


def _usages(path: Path) -> NDArray[np.uint8]:
    """(N,) split number of each test image, in the order of the file: torchvision keeps the two in one."""
    with path.open(newline="") as file:
        rows = csv.reader(file, skipinitialspace=True)  # icml_face_data.csv has blanks in its header
        column = next(rows).index("Usage")
        return np.array([USAGES[row[column]] for row in rows if row[column] in USAGES], np.uint8)


def _digest(files: list[Path]) -> str:
    """SHA-256 of a file, or of the files' digests when there are more."""
    digests = [sha256_of(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
