"""CK+ as arrays: the last three frames of 327 sequences, 118 subjects, cropped to 48x48.

Lucey et al. 2010, "The Extended Cohn-Kanade Dataset (CK+)". The file is `data/ckplus48.npz` of the development data
folder. CK+ has no neutral peak frames; its seventh class is contempt.
"""

from __future__ import annotations

from pathlib import Path

from train.data.files import read_labelled, shared_file
from train.data.names import CONTEMPT, numbered
from train.data.pictures import SIDE_PX
from train.data.records import Splits, unsplit, without_votes


def load_ckplus(path: Path | None = None, contempt: bool = False) -> Splits:
    """All of CK+ in `training`: 927 images of six classes, or with `contempt` 981 of seven, contempt last."""
    rows = read_labelled(path or shared_file("data/ckplus48.npz"), "CK+", SIDE_PX, mark="sequence")
    kept = (rows.emotions != CONTEMPT) | contempt
    classes, labels = numbered(rows.emotions[kept])
    faces = without_votes(rows.images[kept], labels, len(classes), rows.subjects[kept])
    return unsplit(faces, classes, rows.sha256)
