"""Many photos in one picture, each at a size, angle and place of its own: small, many and cut-off faces.

The photos are head shots, so what surrounds a face has to come from somewhere else: half of them are pasted as they are
(the mosaic of Bochkovskiy et al., "YOLOv4", arXiv 2004.10934), half as a cut-out head with a soft edge (the copy-paste
of Dwibedi et al., "Cut, Paste and Learn", arXiv 1708.01642), on backgrounds without a face, plain, noisy or scrambled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from train.detector.boxes import share_inside
from train.detector.clutter import clutter
from train.detector.figure import draw_figure, reach
from train.detector.photometric import degrade, relight, texture
from train.detector.teacher import Labels

Pixels = NDArray[np.uint8]  # (H, W) luma or (H, W, 3) BGR
MIDDLING_PX = 24.0  # height that the largest face of a picture has at least
REDUCTIONS = (1, 2, 4, 8)  # of its sides, that a JPEG decoder gives for less than the whole picture
SHARPEST = 0.85  # a reduced picture shrinks by this much more, so that the warp still sharpens nothing
LEAST_CONTRAST = 6.0  # grey levels, standard deviation
KEPT_INSIDE = np.array([0.75, 1.0]) * (0.5 - 0.125)  # of a face's height: half its sides, less what an edge may cut off
MIRRORED = (1, 0, 2, 4, 3)  # the landmarks' order after a flip


@dataclass(frozen=True, slots=True)
class MosaicSettings:
    """What a training picture looks like."""

    size_px: int = 320  # side
    smallest_px: float = 9.0  # height of a face
    largest_px: float = 320.0
    most: int = 24  # photos in one picture
    rotate_deg: float = 20.0
    empty: float = 0.08  # share of pictures without any photo
    close_up: float = 0.0  # share of pictures that one face fills by half or more
    hidden: float = 0.2  # share of a face that one other photo may hide
    cluttered: float = 0.0  # share of backgrounds with lettering, shapes and cloth on them
    cut_out: float = 0.5  # share of photos pasted as a head alone
    figures: float = 0.0  # share of those that get hair, neck and shoulders
    kept_visible: float = 0.75  # a face of which less is in the picture is neither taught nor held against the student


@dataclass(slots=True, eq=False)
class Sample:
    """One training picture: its faces to be found, and places where either answer is fine."""

    image: Pixels
    boxes: NDArray[np.float32]  # (N, 4)
    landmarks: NDArray[np.float32]  # (N, 5, 2)
    ignored: NDArray[np.float32]  # (M, 4)


@dataclass(slots=True, eq=False)
class _Faces:
    """Faces on the canvas so far."""

    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    landmarks: list[NDArray[np.float32]] = field(default_factory=list)
    ignored: list[NDArray[np.float32]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A photo as it will lie on the canvas."""

    image: Pixels
    mask: Pixels  # (h, w) 0..255, how much of it is seen
    left: int
    top: int


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Where pictures come from: `read(number, reduced)` gives luma or BGR, as the network wants it, made smaller."""

    read: Callable[[int, int], Pixels]
    labels: Labels
    sure: NDArray[np.bool_]  # (N,) of the labels, which are beyond doubt
    faces: NDArray[np.intp]  # numbers of pictures with such a face
    empty: NDArray[np.intp]  # numbers of pictures in which it finds nothing at all


def compose(material: Material, settings: MosaicSettings, random: np.random.Generator) -> Sample:
    """A new training picture; the same one for the same state of `random`."""
    canvas, found = _background(material, settings, random), _Faces()
    if random.random() < settings.cluttered:
        clutter(canvas, random)
    if random.random() >= settings.empty:
        for height_px in _heights(settings, random):
            _paste(canvas, found, material, settings, height_px, random)
    ignored = np.clip(_stack(found.ignored, 4), 0, settings.size_px)
    return Sample(canvas, _stack(found.boxes, 4), _stack(found.landmarks, 5, 2), ignored)


def _heights(settings: MosaicSettings, random: np.random.Generator) -> Iterator[float]:
    """How high the faces of one picture are to be: one that fills it, or many of sizes that go together."""
    if random.random() < settings.close_up:
        yield random.uniform(settings.largest_px / 2, settings.largest_px)
        return
    largest = _log_uniform(random, MIDDLING_PX, settings.largest_px)
    smallest = max(settings.smallest_px, largest / 6)
    room = 1.5 * (settings.size_px / largest) ** 2
    for _ in range(int(np.clip(random.uniform(0.3, 1.0) * room, 1, settings.most))):
        yield _log_uniform(random, smallest, largest)


def degraded(sample: Sample, random: np.random.Generator) -> Sample:
    """As a camera would show it. Faces that are lost in the dark, the glare or the blur become doubtful."""
    image = degrade(sample.image, random)
    seen = np.array([_contrast(image, box) >= LEAST_CONTRAST for box in sample.boxes], bool)
    ignored = np.concatenate([sample.ignored, sample.boxes[~seen]])
    return Sample(image, sample.boxes[seen], sample.landmarks[seen], ignored)


def _contrast(image: Pixels, box: NDArray[np.float32]) -> float:
    """Standard deviation of the grey levels in the box, without that of the noise."""
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    part = image[top:bottom, left:right]
    return float(cv2.blur(part, (3, 3)).std()) if part.size else 0.0


def _background(material: Material, settings: MosaicSettings, random: np.random.Generator) -> Pixels:
    """A square without a face: part of an empty picture, pieces of a photo in disorder, or a texture."""
    side, kind = settings.size_px, random.random()
    if kind < 0.65 and len(material.empty):
        picture = material.read(int(random.choice(material.empty)), 1)
        least = side / min(picture.shape[:2])
        return _crop(picture, least * _log_uniform(random, 1.0, 2.0), side, random)
    picture = material.read(int(random.choice(material.faces)), 1)
    if kind < 0.8:
        return _scrambled(cv2.resize(picture, (side, side)), random)
    return texture(side, picture.ndim == 3, random)


def _crop(picture: Pixels, scale: float, side: int, random: np.random.Generator) -> Pixels:
    height, width = (max(side, math.ceil(length * scale)) for length in picture.shape[:2])
    top, left = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
    # only the part that is wanted is resized
    low_y, low_x = int(top / scale), int(left / scale)
    part = picture[low_y : math.ceil((top + side) / scale), low_x : math.ceil((left + side) / scale)]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(cv2.resize(part, (side, side), interpolation=way), np.uint8)


def _scrambled(picture: Pixels, random: np.random.Generator) -> Pixels:
    """Blocks of a face photo, shuffled and turned: skin, hair, cloth and single eyes that are no face."""
    side, blocks = picture.shape[0], int(random.integers(5, 12))
    edges = np.linspace(0, side, blocks + 1).astype(int)
    spots = [(top, left) for top in range(blocks) for left in range(blocks)]
    result = picture.copy()
    for (top, left), number in zip(spots, random.permutation(len(spots)), strict=True):
        from_top, from_left = spots[number]
        piece = picture[edges[from_top] : edges[from_top + 1], edges[from_left] : edges[from_left + 1]]
        piece = np.rot90(piece, int(random.integers(1, 4)))
        size = (int(edges[left + 1] - edges[left]), int(edges[top + 1] - edges[top]))
        result[edges[top] : edges[top + 1], edges[left] : edges[left + 1]] = cv2.resize(
            np.ascontiguousarray(piece), size
        )
    return result


def _paste(
    canvas: Pixels,
    found: _Faces,
    material: Material,
    settings: MosaicSettings,
    height_px: float,
    random: np.random.Generator,
) -> None:
    """One photo onto the canvas, so that its main face is `height_px` high, unless it would hide another face."""
    number = int(random.choice(material.faces))
    rows = material.labels.of(number)
    boxes, landmarks, sure = material.labels.boxes[rows], material.labels.landmarks[rows], material.sure[rows]
    main = int(random.choice(np.flatnonzero(sure)))
    scale = height_px / max(float(boxes[main, 3] - boxes[main, 1]), 1.0)
    reduced = max(step for step in REDUCTIONS if step == 1 or step * scale <= SHARPEST)
    picture = material.read(number, reduced)
    boxes, landmarks = (
        boxes / np.float32(reduced),
        (landmarks + np.float32(0.5)) / np.float32(reduced) - np.float32(0.5),
    )
    angle = math.radians(random.normal(0.0, settings.rotate_deg / 2))
    target = _target(height_px, settings.size_px, random)
    matrix = _placing(boxes[main], scale * reduced, angle, target, flip=bool(random.random() < 0.5))
    oval = boxes[main] if random.random() < settings.cut_out else None
    patch = _warp(picture, _mask(picture.shape[:2], oval, random), matrix, settings.size_px)
    if patch is None or _hides(patch, found, settings.hidden):
        return
    if oval is not None and random.random() < settings.figures:
        face = _moved(oval[None], landmarks[:1], matrix)[0][0]
        if not _meets(reach(face), found):
            draw_figure(canvas, face, random)
    weight = patch.mask.astype(np.float32) * np.float32(1 / 255)
    weight = weight if canvas.ndim == 2 else weight[..., None]
    below = canvas[patch.top : patch.top + len(patch.mask), patch.left : patch.left + patch.mask.shape[1]]
    below[...] = below * (1 - weight) + relight(patch.image, random) * weight + np.float32(0.5)
    for moved_box, moved_points, certain in zip(*_moved(boxes, landmarks, matrix), sure, strict=True):
        _add(found, moved_box, moved_points, bool(certain), _share(patch, moved_box), settings)


def _target(height_px: float, size_px: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Where a face's middle comes: anywhere, with an eighth of its width and of its height outside at most."""
    half = size_px / 2
    inner = np.maximum(half - KEPT_INSIDE * height_px, 0.0)
    return half + random.uniform(-1.0, 1.0, 2) * inner


def _placing(
    box: NDArray[np.float32], scale: float, angle: float, target: NDArray[np.float64], flip: bool
) -> NDArray[np.float64]:
    """The 2x3 similarity that puts the middle of `box` onto `target`; mirrored when `flip`."""
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    sign = -1.0 if flip else 1.0
    turn = np.array([[sign * cos, -sin], [sign * sin, cos]])
    middle = (box[:2] + box[2:]) / 2 - 0.5  # pixel centres
    return np.concatenate([turn, (target - turn @ middle)[:, None]], axis=1)


def _mask(size: tuple[int, int], box: NDArray[np.float32] | None, random: np.random.Generator) -> Pixels:
    """(H, W) how much of each pixel is pasted: all, or a head with a soft edge."""
    if box is None:
        return np.full(size, 255, np.uint8)
    width, height = box[2:] - box[:2]
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - 0.03 * height)  # more of the hair than of the neck
    grown = random.uniform(0.95, 1.5, 2)
    axes = (0.5 * float(width * grown[0]), 0.5 * float(height * grown[1]))
    mask = np.zeros(size, np.uint8)
    cv2.ellipse(mask, (int(middle[0]), int(middle[1])), (int(axes[0]), int(axes[1])), 0, 0, 360, (255,), -1)
    if random.random() < 0.6:  # neck and shoulders
        low = int(middle[1] + axes[1] * 0.7)
        mask[low:, max(int(middle[0] - axes[0] * random.uniform(0.6, 1.6)), 0) : int(middle[0] + axes[0] * 1.2)] = 255
    soft = max(int(random.uniform(0.01, 0.08) * float(height)), 1)
    return cv2.blur(mask, (2 * soft + 1, 2 * soft + 1)).astype(np.uint8, copy=False)


def _warp(picture: Pixels, mask: Pixels, matrix: NDArray[np.float64], side: int) -> _Patch | None:
    """Picture and mask as they lie on the canvas, only where they touch it; None when they do not."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, side).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, side).astype(int).tolist()
    if right - left < 2 or bottom - top < 2:
        return None
    moved = np.concatenate([matrix[:, :2], (matrix[:, 2] - (left, top))[:, None]], axis=1)
    size = (right - left, bottom - top)
    image = cv2.warpAffine(picture, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(mask, moved, size, flags=cv2.INTER_LINEAR, borderValue=(0,)).astype(np.uint8, copy=False)
    return _Patch(image.astype(np.uint8, copy=False), mask, left, top)


def _hides(patch: _Patch, found: _Faces, most: float) -> bool:
    """Whether a face that is there already would lose more than this share."""
    return any(_share(patch, box) > most for box in found.boxes + found.ignored)


def _meets(box: NDArray[np.float32], found: _Faces) -> bool:
    """Whether a face that is there already has anything in common with the box."""
    others = _stack(found.boxes + found.ignored, 4)
    return bool(share_inside(others, box[None]).max(initial=0.0) > 0)


def _share(patch: _Patch, box: NDArray[np.float32]) -> float:
    """The part of a box's area that the patch covers; what lies outside the canvas is not covered."""
    height, width = patch.mask.shape
    left, right = np.clip(np.rint(box[0::2]) - patch.left, 0, width).astype(int).tolist()
    top, bottom = np.clip(np.rint(box[1::2]) - patch.top, 0, height).astype(int).tolist()
    area = max(float((box[2] - box[0]) * (box[3] - box[1])), 1.0)
    return float(np.count_nonzero(patch.mask[top:bottom, left:right] > 127)) / area


def _moved(
    boxes: NDArray[np.float32], landmarks: NDArray[np.float32], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Faces on the canvas. A box becomes the one around the turned ellipse that filled it."""
    turn, shift = matrix[:, :2], matrix[:, 2]
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5) @ turn.T + shift + 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    around = np.sqrt(halves**2 @ (turn.T**2))
    points = landmarks @ turn.T + shift
    if np.linalg.det(turn) < 0:
        points = points[:, MIRRORED]
    return np.concatenate([middles - around, middles + around], axis=1).astype(np.float32), points.astype(np.float32)


def _add(
    found: _Faces,
    box: NDArray[np.float32],
    points: NDArray[np.float32],
    sure: bool,
    visible: float,
    settings: MosaicSettings,
) -> None:
    """A face to be found, or a place where either answer is fine, or nothing."""
    if visible >= settings.kept_visible and sure and box[3] - box[1] >= settings.smallest_px:
        found.boxes.append(np.clip(box, 0, settings.size_px))
        found.landmarks.append(points)
    elif visible >= 0.1:
        found.ignored.append(box)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _stack(values: list[NDArray[np.float32]], *shape: int) -> NDArray[np.float32]:
    return np.stack(values).astype(np.float32) if values else np.zeros((0, *shape), np.float32)
