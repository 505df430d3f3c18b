"""JAFFE as arrays: 213 pictures of 10 Japanese women, seven classes.

Lyons et al. 1998, "Coding Facial Expressions with Gabor Wavelets", https://doi.org/10.5281/zenodo.3451524. The file is
`data/jaffe.npz` of the development data folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data.files import Labelled, read_labelled, shared_file
from train.data.names import numbered
from train.data.pictures import to_48
from train.data.records import Pictures, Splits, unsplit, without_votes

SIDE = 256


def load_jaffe(path: Path | None = None) -> Splits:
    """All of JAFFE in `training`, the whole pictures (hair and shoulders too) reduced to 48x48 by area averaging."""
    rows = _read(path)
    classes, labels = numbered(rows.emotions)
    images = np.stack([to_48(image) for image in rows.images])
    return unsplit(without_votes(images, labels, len(classes), rows.subjects), classes, rows.sha256)


def jaffe_pictures(path: Path | None = None) -> Pictures:
    """The same rows, unreduced: 256x256."""
    rows = _read(path)
    classes, labels = numbered(rows.emotions)
    return Pictures(classes, list(rows.images), labels, rows.subjects)


def _read(path: Path | None) -> Labelled:
    return read_labelled(path or shared_file("data/jaffe.npz"), "JAFFE", SIDE, mark="names")
