"""Any tree of pictures whose folders name the classes: `angry/1.png`, `train/Happiness/x.jpg`, `aia/aia_joy/y.png`.

The last is FERG's (Aneja et al. 2016, "Modeling Stylized Character Expressions via Deep Learning"): folders
`<subject>_<emotion>` under one of the subject.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.data.leaks import divided
from train.data.names import emotion_of, numbered
from train.data.pictures import SIDE_PX, read_luma, to_48
from train.data.records import Pictures, Splits, without_votes
from train.errors import DataMissing

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"}
# a folder of this name, anywhere above the class, says in which split its pictures are; elsewhere it is training
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("public", "publictest", "val", "valid", "validation"), 1),
    **dict.fromkeys(("private", "privatetest", "test"), 2),
}
FERG_FOLDER = re.compile(r"([A-Za-z]+)_([A-Za-z]+)")  # subject, emotion
SUBJECT_FILES = (
    re.compile(r"(S\d{3})_\d{3}_\d{8}"),  # CK+: S010_004_00000017.png
    re.compile(r"([A-Z]{2})\.(?:AN|DI|FE|HA|NE|SA|SU)\d\.\d+"),  # JAFFE: KA.AN1.39.tiff
)


def load_folder(path: Path) -> Splits:
    """Every picture under `path`, in the order of the file names; the middle square as 48x48.

    Folders `train`, `val` and `test` (see SPLIT_FOLDERS) become `training`, `public` and `private`; without them all is
    `training`, which has no blank picture and none that is in another split. `subjects` are known where the names of
    all files or folders tell them. Raises DataMissing when there is nothing, a folder with pictures names no class, or
    a picture cannot be read.
    """
    files, classes, labels = _labelled(path)  # before the pictures are read: a wrong name is soon said
    split = np.array([_split(file.relative_to(path)) for file in files], np.uint8)
    images, digest = _read(files, path)
    return divided(without_votes(images, labels, len(classes), _subjects(files)), split, classes, digest)


def folder_pictures(path: Path) -> Pictures:
    """The same pictures at their own size, whatever split they are in."""
    files, classes, labels = _labelled(path)
    return Pictures(classes, [read_luma(file, _content(file)) for file in files], labels, _subjects(files))


def _labelled(path: Path) -> tuple[list[Path], tuple[str, ...], NDArray[np.int64]]:
    """The files under a folder, the classes, and which of them each file is of."""
    files = list(_pictures(path))
    if not files:
        raise DataMissing(f"there is no picture under {path}; name a folder that holds class/name.png")
    return files, *numbered([_emotion(file) for file in files])


def _pictures(path: Path) -> Iterator[Path]:
    """The pictures below a folder, sorted; what macOS leaves in archives (`._1.png`, `__MACOSX`) is none."""
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in file.relative_to(path).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            yield file


def _emotion(file: Path) -> str:
    name = file.parent.name
    ferg = FERG_FOLDER.fullmatch(name)
    emotion = emotion_of(name) or (emotion_of(ferg[2]) if ferg else None)
    if emotion is None:
        raise DataMissing(f"{file.parent} holds pictures but names no known emotion; rename it or take it away")
    return emotion


def _split(relative: Path) -> int:
    """The split of a picture, from the folders between the root and its class."""
    numbers = (SPLIT_FOLDERS.get(part.casefold()) for part in relative.parts[:-2])
    return next((number for number in numbers if number is not None), 0)


def _subjects(files: list[Path]) -> NDArray[np.str_] | None:
    subjects = [_subject(file) for file in files]
    return None if None in subjects else np.array(subjects)


def _subject(file: Path) -> str | None:
    """Whose face it is, from FERG's folder names or the file names of CK+ and JAFFE; None elsewhere."""
    ferg = FERG_FOLDER.fullmatch(file.parent.name)
    found = ferg or next((match for names in SUBJECT_FILES if (match := names.fullmatch(file.stem))), None)
    return found[1] if found else None


def _read(files: list[Path], root: Path) -> tuple[NDArray[np.uint8], str]:
    """(N, 48, 48) images, and a SHA-256 over the names below `root` and the bytes of all files."""
    images = np.empty((len(files), SIDE_PX, SIDE_PX), np.uint8)
    digest = hashlib.sha256()
    for row, file in enumerate(files):
        content = _content(file)
        digest.update(f"{file.relative_to(root).as_posix()}\n{hashlib.sha256(content).hexdigest()}\n".encode())
        images[row] = to_48(read_luma(file, content))
    return images, digest.hexdigest()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataMissing(f"{file} cannot be read ({error.strerror}); fetch it again or take it away") from None
