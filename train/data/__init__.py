"""Labelled faces of every source as one record: `load(name)` gives Splits, `folds` what to hold out of them.

Reads best in this order: records.py -> leaks.py -> fer2013.py -> ckplus.py, jaffe.py, folder.py -> folding.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.data.ckplus import load_ckplus
from train.data.fer2013 import FERPLUS, Fer2013, load_fer2013
from train.data.files import REPOSITORY, read_npz, shared_file, shared_folder
from train.data.folder import folder_pictures, load_folder
from train.data.folding import folds
from train.data.jaffe import jaffe_pictures, load_jaffe
from train.data.leaks import usable_for_training
from train.data.records import SPLITS, Faces, Pictures, Splits, soft_labels, without_votes
from train.errors import DataMissing

__all__ = [
    "FERPLUS",
    "REPOSITORY",
    "SOURCES",
    "SPLITS",
    "Faces",
    "Fer2013",
    "Pictures",
    "Splits",
    "folds",
    "load",
    "load_ckplus",
    "load_fer2013",
    "load_folder",
    "load_jaffe",
    "load_pictures",
    "read_npz",
    "shared_file",
    "shared_folder",
    "soft_labels",
    "usable_for_training",
    "without_votes",
]

SOURCES: dict[str, Callable[..., Splits]] = {
    "fer2013": load_fer2013,
    "ckplus": load_ckplus,
    "jaffe": load_jaffe,
    "folder": load_folder,
}


def load(name: str, **options: Any) -> Splits:
    """The data set of a name in SOURCES, or of `name:path` where it lies elsewhere than in the development data folder.

    `folder` always needs a path. `options` go to the loader, such as `contempt=True` for ckplus. Raises DataMissing.
    """
    source, _, path = name.partition(":")
    if source not in SOURCES:
        raise DataMissing(f"there is no data set {source!r}; known: fer2013, ckplus, jaffe, folder:<path>")
    if path:
        options["path"] = _existing(source, path)
    elif source == "folder":
        raise DataMissing("which folder is meant is not said; write folder:<path>")
    return SOURCES[source](**options)


def load_pictures(name: str) -> Pictures:
    """All pictures of a data set that is not FER-2013: JAFFE's whole photos, a folder's at their own size."""
    source, _, path = name.partition(":")
    if source == "fer2013":
        raise DataMissing(
            "FER-2013 is what networks are trained on here; name other data: ckplus, jaffe, folder:<path>"
        )
    if source == "jaffe":
        return jaffe_pictures(_existing(source, path) if path else None)
    if source == "folder" and path:
        return folder_pictures(_existing(source, path))
    splits = load(name)
    faces = splits.training
    return Pictures(splits.classes, list(faces.images), faces.labels, faces.subjects)


def _existing(source: str, path: str) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        raise DataMissing(f"{found} does not exist; give the path of {source}'s data after the colon")
    return found
