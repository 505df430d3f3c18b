"""The photos that a detector learns from: pictures of people found on the web, without labels.

The file is `data/web_faces_unlabelled.npz` of the development data folder. Most of them are head shots and grey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data import read_npz, shared_file
from train.errors import DataMissing

HELD_OUT = 10  # one photo in so many is never trained on
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SMALLEST_PX, LARGEST_PX = 96, 416  # shorter side that a background needs; longer side that it is reduced to
THINNEST = 4  # longer side over shorter
GREY = 128.0
QUALITY = 92  # of the JPEG files that are made here
# OpenCV's flags by how much the sides are reduced while decoding
BGR = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
LUMA = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """JPEG files in memory, decoded when they are asked for."""

    jpeg: NDArray[np.uint8]  # all files joined
    offset: NDArray[np.int64]  # (N + 1,) where each begins
    held_out: NDArray[np.bool_]  # (N,) which are for measuring only

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """(H, W, 3) BGR. Raises DataMissing when this one is no picture."""
        return self.bgr(number)

    def bgr(self, number: int, reduced: int = 1) -> NDArray[np.uint8]:
        """(H, W, 3), both sides divided by `reduced` (1, 2, 4 or 8) and rounded up."""
        return self._read(number, BGR[reduced])

    def luma(self, number: int, reduced: int = 1) -> NDArray[np.uint8]:
        """(H, W), decoded without colour."""
        return self._read(number, LUMA[reduced])

    def _read(self, number: int, flag: int) -> NDArray[np.uint8]:
        image = cv2.imdecode(self.file(number), flag)
        if image is None:
            raise DataMissing(f"photo {number} of the archive is not a JPEG picture; fetch the file again")
        return image.astype(np.uint8, copy=False)

    def file(self, number: int) -> NDArray[np.uint8]:
        """The bytes of one JPEG file."""
        return self.jpeg[self.offset[number] : self.offset[number + 1]]


def album(files: Sequence[NDArray[np.uint8]], held_out: Sequence[bool]) -> Photos:
    """These JPEG files, in this order."""
    ends = np.cumsum([0, *[len(data) for data in files]], dtype=np.int64)
    return Photos(np.concatenate([np.zeros(0, np.uint8), *files]), ends, np.array(held_out, bool))


def all_of(albums: Sequence[Photos]) -> Photos:
    """Several albums, one after the other."""
    files = [photos.file(number) for photos in albums for number in range(len(photos))]
    return album(files, np.concatenate([photos.held_out for photos in albums]).tolist())


def backgrounds(folders: Sequence[Path]) -> Photos:
    """Every picture that stands in the folders or below, made smaller where it is large.

    What is too small, too thin or no picture is passed over. Raises DataMissing when a folder holds none at all.
    """
    files: list[NDArray[np.uint8]] = []
    for folder in folders:
        found = [data for path in sorted(folder.rglob("*")) if (data := _background(path)) is not None]
        if not found:
            raise DataMissing(f"{folder} holds no picture of at least {SMALLEST_PX} pixels; name another --backgrounds")
        files += found
    return album(files, [is_held_out(data) for data in files])


def is_held_out(jpeg: NDArray[np.uint8]) -> bool:
    """Whether this photo is for measuring only. It hangs on its bytes, so that copies of one photo stay together."""
    return int.from_bytes(hashlib.sha256(jpeg.tobytes()).digest()[:4], "big") % HELD_OUT == 0


def encoded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of a JPEG file."""
    data: NDArray[np.uint8] = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].ravel()
    return data


def _background(path: Path) -> NDArray[np.uint8] | None:
    """The bytes of a JPEG file of this picture, on grey where it is transparent; None for what cannot be used."""
    if path.suffix.lower() not in PICTURES:
        return None
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8 or min(image.shape[:2]) < SMALLEST_PX:
        return None
    if max(image.shape[:2]) > THINNEST * min(image.shape[:2]):
        return None
    if image.ndim == 3 and image.shape[2] == 4:
        seen = image[..., 3:].astype(np.float32) / 255
        image = (image[..., :3] * seen + GREY * (1 - seen)).astype(np.uint8)
    shrink = LARGEST_PX / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return encoded(image)


def load_photos(path: Path | None = None) -> Photos:
    """Every photo. Raises DataMissing when the file is not there or not what was expected."""
    path = path or shared_file("data/web_faces_unlabelled.npz")
    arrays = read_npz(path)
    try:
        jpeg, offset = arrays["jpeg"], arrays["offset"].astype(np.int64)
    except KeyError as error:
        raise DataMissing(f"{path} is not the archive of photos that was expected ({error}); fetch it again") from None
    held_out = [is_held_out(jpeg[start:end]) for start, end in pairwise(offset)]
    return Photos(jpeg, offset, np.array(held_out))
