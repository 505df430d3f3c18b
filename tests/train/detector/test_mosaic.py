"""Training pictures: what they say of a face is what can be seen in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.train.detector.synthetic import PLACES, dotted, labels_of, material
from train.detector.mosaic import Material, MosaicSettings, Sample, compose, degraded
from train.detector.teacher import Labels, joined

PLAIN = MosaicSettings(size_px=192, smallest_px=20, largest_px=150, most=1, empty=0.0, cut_out=0.0)
SEEDS = range(60)


def samples(settings: MosaicSettings, pictures: Material | None = None) -> list[Sample]:
    """One training picture for each seed."""
    pictures = pictures or material()
    return [compose(pictures, settings, np.random.default_rng(seed)) for seed in SEEDS]


def inside(points: NDArray[np.float32], side: int) -> NDArray[np.bool_]:
    """Which points lie in the picture, not on its edge."""
    return ((points > 1) & (points < side - 2)).all(axis=-1)


def levels(sample: Sample, points: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The pixels at these places."""
    x, y = np.rint(points).astype(int).T
    return sample.image[y, x]


def between(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places in the face that are dark: between the eyes, and from each eye to its corner of the mouth."""
    pairs = [(0, 1), (0, 3), (1, 4)]
    return np.stack([(points[one] + points[other]) / 2 for one, other in pairs])


def test_one_face_fills_a_close_up() -> None:
    heights = []
    for sample in samples(replace(PLAIN, most=12, close_up=1.0, rotate_deg=0.0)):
        assert len(sample.boxes) + len(sample.ignored) <= 1
        heights += [box[3] - box[1] for box in sample.boxes]
    assert len(heights) > len(SEEDS) / 2
    assert min(heights) > 0.7 * PLAIN.largest_px / 2  # an edge may have cut a quarter off
    assert max(heights) > 0.9 * PLAIN.largest_px


@pytest.mark.parametrize("color", ["luma", "bgr"])
def test_landmarks_lie_on_the_face_that_was_pasted(color: str) -> None:
    looked_at, tilts = 0, []
    for sample in samples(PLAIN, material(color)):
        for points in sample.landmarks:
            dark_places = between(points)
            if not (inside(points, 192).all() and inside(dark_places, 192).all()):
                continue
            bright, dark = levels(sample, points), levels(sample, dark_places)
            assert bright.min() > 40 + dark.max()
            looked_at += 1
            tilts.append(float(np.arctan2(points[1, 1] - points[0, 1], points[1, 0] - points[0, 0])))
    assert looked_at > 20
    assert min(tilts) < -0.1 < 0.1 < max(tilts)  # they are turned both ways


def test_landmarks_are_where_the_dots_are_to_a_part_of_a_pixel() -> None:
    """Also for photos that were made smaller while they were decoded."""
    offsets: dict[bool, list[NDArray[np.floating]]] = {True: [], False: []}
    for sample in samples(PLAIN):
        for box, points in zip(sample.boxes, sample.landmarks, strict=True):
            reach = int((box[3] - box[1]) * 0.12)
            if reach >= 3 and ((points > reach + 1) & (points < 190 - reach)).all():
                for point in points:
                    offsets[bool(box[3] - box[1] < 60)].append(centre_of_light(sample.image, point, reach) - point)
    for measured in offsets.values():
        assert len(measured) >= 20
        assert np.abs(np.mean(measured, axis=0)).max() < 0.1
        assert np.abs(measured).max() < 1.0


def centre_of_light(image: NDArray[np.uint8], point: NDArray[np.float32], reach: int) -> NDArray[np.floating]:
    """x, y of the middle of what is bright around a place."""
    x, y = np.rint(point).astype(int).tolist()
    part = image[y - reach : y + reach + 1, x - reach : x + reach + 1].astype(np.float64)
    light = np.clip(part - part.min() - 0.3 * (part.max() - part.min()), 0, None)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum() + (x - reach, y - reach)


def test_the_left_eye_stays_left_when_a_face_is_mirrored() -> None:
    brighter = set()
    for sample in samples(PLAIN):
        for points in sample.landmarks:
            assert points[0, 0] < points[1, 0]
            assert points[3, 0] < points[4, 0]
            if inside(points, 192).all():
                left, right = levels(sample, points[:2]).tolist()
                if abs(left - right) > 15:
                    brighter.add("left" if left > right else "right")
    assert brighter == {"left", "right"}


def test_the_box_is_around_the_landmarks_as_in_the_photo() -> None:
    upright = replace(PLAIN, rotate_deg=0.0)
    for sample in samples(upright):
        for box, points in zip(sample.boxes, sample.landmarks, strict=True):
            if box.min() > 0 and box.max() < 192:  # not cut off
                places = (points + 0.5 - box[:2]) / (box[2:] - box[:2])
                mirrored = (PLACES * [-1, 1] + [1, 0])[[1, 0, 2, 4, 3]]
                assert min(np.abs(places - PLACES).max(), np.abs(places - mirrored).max()) < 0.01


def test_boxes_stay_in_the_picture_and_are_of_the_sizes_asked_for() -> None:
    crowded = replace(PLAIN, most=24, largest_px=60.0, rotate_deg=0.0)
    boxes = np.concatenate([sample.boxes for sample in samples(crowded)])
    assert len(boxes) > 2 * len(SEEDS)
    assert 0 <= boxes.min() <= boxes.max() <= 192
    heights = boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, 2] > boxes[:, 0]).all()
    assert heights.max() <= 60.01
    whole = ((boxes > 0) & (boxes < 192)).all(axis=1)
    assert heights[whole].min() >= 19.99


def test_faces_hide_each_other_no_more_than_they_may() -> None:
    crowded = replace(PLAIN, most=24, largest_px=60.0, hidden=0.0)
    seen = total = 0
    for sample in samples(crowded):
        for points in sample.landmarks:
            there = points[inside(points, 192)]
            seen += int((levels(sample, there) > 60).sum())
            total += len(there)
    assert total > 500
    assert seen > 0.99 * total


def test_a_face_that_is_mostly_cut_off_is_neither_taught_nor_held_against_anyone() -> None:
    settings = replace(PLAIN, rotate_deg=0.0, kept_visible=0.95, close_up=1.0)
    ignored = np.concatenate([sample.ignored for sample in samples(settings)])
    assert len(ignored) > 3
    assert ignored.min() >= 0
    assert ignored.max() <= 192
    assert ((ignored == 0) | (ignored == 192)).any(axis=1).all()  # each ends where the picture does


def test_a_face_that_is_lost_in_the_dark_is_not_taught() -> None:
    sample = next(sample for sample in samples(PLAIN) if len(sample.boxes))
    dark = replace(sample, image=np.full_like(sample.image, 7))
    lost = degraded(dark, np.random.default_rng(4))
    assert len(lost.boxes) == len(lost.landmarks) == 0
    assert len(lost.ignored) == len(sample.ignored) + len(sample.boxes)


def test_a_figure_stands_around_its_face_and_hides_no_other() -> None:
    figured = replace(PLAIN, most=12, largest_px=60.0, cut_out=1.0, figures=1.0, hidden=0.0)
    changed = seen = total = 0
    for plain, drawn in zip(samples(replace(figured, figures=0.0)), samples(figured), strict=True):
        changed += int(not np.array_equal(plain.image, drawn.image))
        for points in drawn.landmarks:
            there = points[inside(points, 192)]
            seen += int((levels(drawn, there) > 60).sum())
            total += len(there)
    assert changed > 5
    assert total > 100
    assert seen > 0.97 * total


def test_a_face_that_the_teacher_doubts_is_neither_taught_nor_held_against_anyone() -> None:
    side = 240
    sure, doubt = np.float32([20, 60, 100, 160]), np.float32([130, 60, 210, 160])
    both = joined([labels_of([sure]), labels_of([doubt], score=0.4)])
    labels = Labels(np.array([0, 2]), both.boxes, both.landmarks, both.scores)
    picture = np.maximum(dotted(side, sure), dotted(side, doubt))[..., 0]

    def read(number: int, reduced: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(picture[::reduced, ::reduced])

    pictures = Material(read, labels, labels.sure(), np.array([0], np.intp), np.zeros(0, np.intp))
    small = replace(PLAIN, size_px=256, largest_px=60.0)
    found = samples(small, pictures)
    assert all(len(sample.boxes) <= 1 for sample in found)
    with_both = [sample for sample in found if len(sample.boxes) == 1 and len(sample.ignored) == 1]
    assert len(with_both) > 20


def test_a_face_too_small_to_be_told_is_not_taught() -> None:
    for sample in samples(replace(PLAIN, smallest_px=10.0, largest_px=30.0, most=24)):
        assert all(box[3] - box[1] >= 9.99 for box in sample.boxes if box.min() > 0 and box.max() < 192)


@pytest.mark.parametrize("color", ["luma", "bgr"])
def test_the_same_state_gives_the_same_picture(color: str) -> None:
    settings = MosaicSettings(size_px=128, largest_px=60.0)
    pictures = material(color)
    for seed in range(8):
        first, again = (compose(pictures, settings, np.random.default_rng(seed)) for _ in range(2))
        for name in Sample.__slots__:
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert first.image.shape == ((128, 128) if color == "luma" else (128, 128, 3))
        assert first.image.dtype == np.uint8
        assert first.boxes.dtype == first.landmarks.dtype == first.ignored.dtype == np.float32
        assert first.landmarks.shape == (len(first.boxes), 5, 2)


def test_pictures_without_a_face_have_none() -> None:
    for sample in samples(MosaicSettings(size_px=64, largest_px=50.0, empty=1.0)):
        assert sample.image.shape == (64, 64)
        assert (sample.boxes.shape, sample.landmarks.shape, sample.ignored.shape) == ((0, 4), (0, 5, 2), (0, 4))


def test_empty_pictures_become_backgrounds() -> None:
    one = material()

    def read(number: int, reduced: int) -> NDArray[np.uint8]:
        return one.read(number, reduced) if number == 0 else np.full((100, 150), 77, np.uint8)

    labels = Labels(np.array([0, 1, 1]), one.labels.boxes, one.labels.landmarks, one.labels.scores)
    pictures = Material(read, labels, one.sure, one.faces, np.array([1], np.intp))
    plain = samples(MosaicSettings(size_px=128, empty=1.0), pictures)
    share = np.mean([bool((sample.image == 77).all()) for sample in plain])
    assert 0.4 < share < 0.9
