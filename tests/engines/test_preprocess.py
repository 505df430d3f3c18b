"""Pixels -> batches and crops: right to the bit or the half pixel, and nobody's image is written to."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.preprocess import align, expand_range, similarity, to_batch
from engines.spec import ModelSpec
from tests.engines.networks import emotion_spec, face_spec

SIDE = 48
TEMPLATE = np.array(((15.3, 18.9), (31.9, 18.0), (23.7, 27.9), (17.4, 35.8), (31.4, 35.1)), np.float32)
RANDOM = np.random.default_rng(7)


def crop_spec(**other: Any) -> ModelSpec:
    return emotion_spec(input_shape=(1, SIDE, SIDE), template=tuple(map(tuple, TEMPLATE.tolist())), **other)


def placed(scale: float, degrees: float, centre: tuple[float, float]) -> NDArray[np.float32]:
    """The template's landmarks, turned, enlarged, and with their mean at `centre`."""
    turn = math.radians(degrees)
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    middle = TEMPLATE - TEMPLATE.mean(axis=0)
    return (middle @ rotation.T + centre).astype(np.float32)


def dots(points: NDArray[np.float32], radius: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A black picture with a soft white dot at each point: exact to a fraction of a pixel."""
    rows, columns = np.indices(size)
    picture = np.zeros(size)
    for x, y in points:
        picture += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def centroid(crop: NDArray[np.uint8], near: NDArray[np.float32], reach: int = 5) -> NDArray[np.float64]:
    """Where the light around a point has its centre."""
    x, y = np.rint(near).astype(int)
    left, top = max(x - reach, 0), max(y - reach, 0)
    window = crop[top : y + reach + 1, left : x + reach + 1].astype(float)
    rows, columns = np.indices(window.shape)
    total = window.sum()
    return np.array([left + (columns * window).sum() / total, top + (rows * window).sum() / total])


class TestBatch:
    def test_bytes_stay_bytes_where_the_network_takes_0_to_255(self) -> None:
        images = [RANDOM.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(3)]
        batch = to_batch(images, face_spec())
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        np.testing.assert_array_equal(batch, np.stack(images).transpose(0, 3, 1, 2))

    def test_mean_and_std_are_of_values_from_0_to_1_per_channel(self) -> None:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        image = RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        wanted = ((image / 255.0 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(to_batch([image], face_spec(mean=mean, std=std))[0], wanted, atol=1e-5)

    def test_luma_has_one_channel(self) -> None:
        image = np.arange(256, dtype=np.uint8).reshape(16, 16)
        batch = to_batch([image, image[::-1]], emotion_spec())
        assert batch.shape == (2, 1, 16, 16)
        np.testing.assert_allclose(batch[0, 0], image / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(batch[1, 0], batch[0, 0, ::-1])

    def test_an_image_gets_the_same_numbers_in_any_company(self) -> None:
        images = [RANDOM.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(9)]
        for image, row in zip(images, to_batch(images, emotion_spec()), strict=True):
            assert to_batch([image], emotion_spec())[0].tobytes() == row.tobytes()

    def test_images_are_only_read(self) -> None:
        image = RANDOM.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        image.flags.writeable = False
        before = image.tobytes()
        to_batch([image], face_spec())[...] = 0
        assert image.tobytes() == before

    def test_views_are_as_good(self) -> None:
        wide = RANDOM.integers(0, 256, (64, 200, 3), dtype=np.uint8)
        for view in (wide[:32, 8:72], wide[::-2, 64:0:-1], wide[:64, :32, ::-1], np.rot90(wide[:64, :64])):
            copy = np.ascontiguousarray(view)
            np.testing.assert_array_equal(to_batch([view], face_spec()), to_batch([copy], face_spec()))

    def test_images_of_other_channels_or_sizes_are_refused(self) -> None:
        grey, colour = np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match="zip"):
            to_batch([grey], face_spec())
        with pytest.raises(ValueError, match="broadcast"):
            to_batch([colour, colour[:16]], face_spec())


class TestSimilarity:
    @given(
        scale=st.floats(0.05, 50),
        degrees=st.floats(-180, 180),
        x=st.floats(-1e4, 1e4),
        y=st.floats(-1e4, 1e4),
    )
    def test_it_undoes_what_was_done(self, scale: float, degrees: float, x: float, y: float) -> None:
        points = placed(scale, degrees, (x, y))
        matrix = similarity(points, TEMPLATE)
        mapped = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
        # float32 keeps a point at 10,000 px only to 1e-3 of a pixel
        np.testing.assert_allclose(mapped, TEMPLATE, atol=2e-3 / scale + 1e-4)
        assert math.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / scale, rel=1e-2)

    def test_it_is_the_least_squares_answer(self) -> None:
        for seed in range(20):
            noisy = placed(3.0, 25.0, (200, 150)) + np.random.default_rng(seed).normal(0, 4, (5, 2)).astype(np.float32)
            # the same as a linear problem: x' = a x - b y + c, y' = b x + a y + d
            x, y = noisy[:, 0].astype(float), noisy[:, 1].astype(float)
            ones, zeros = np.ones(5), np.zeros(5)
            rows = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
            (a, b, c, d), *_ = np.linalg.lstsq(rows, TEMPLATE.T.ravel().astype(float))
            np.testing.assert_allclose(similarity(noisy, TEMPLATE), [[a, -b, c], [b, a, d]], atol=1e-8)

    def test_opencv_finds_the_same_where_it_drops_no_point(self) -> None:
        noisy = placed(4.0, -30.0, (300, 200)) + RANDOM.normal(0, 1, (5, 2)).astype(np.float32)
        wanted, inliers = cv2.estimateAffinePartial2D(noisy, TEMPLATE, ransacReprojThreshold=100.0, refineIters=50)
        assert inliers.all()
        np.testing.assert_allclose(similarity(noisy, TEMPLATE), wanted, atol=1e-3)

    def test_a_mirrored_face_is_turned_but_never_mirrored(self) -> None:
        mirrored = placed(2.0, 0.0, (100, 100)) * np.array([-1, 1], np.float32)
        matrix = similarity(mirrored, TEMPLATE)
        assert np.linalg.det(matrix[:, :2]) > 0

    @pytest.mark.parametrize("value", [100.0, math.nan, math.inf])
    def test_landmarks_without_a_face_are_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="landmarks"):
            similarity(np.full((5, 2), value, np.float32), TEMPLATE)


class TestAlign:
    @pytest.mark.parametrize("degrees", [0.0, 17.0, -40.0, 90.0, 180.0])
    @pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.9, 2.1, 3.0, 5.5, 8.0, 12.0])
    def test_landmarks_come_to_lie_on_the_template(self, scale: float, degrees: float) -> None:
        points = placed(scale, degrees, (330.3, 310.8))
        crop = align(dots(points, max(scale, 1.0) * 1.2, (620, 660)), points, crop_spec())
        assert crop.shape == (SIDE, SIDE)
        assert crop.dtype == np.uint8
        for target in TEMPLATE:
            # where a face is enlarged, its dots grow out of the window that is looked at
            assert np.abs(centroid(crop, target) - target).max() < (0.15 if scale >= 0.9 else 0.5)

    @pytest.mark.parametrize("scale", [2.1, 3.0, 4.0, 6.3, 11.0])
    def test_a_fine_checkerboard_becomes_grey_not_stripes(self, scale: float) -> None:
        rows, columns = np.indices((700, 700))
        board = (((rows + columns) % 2) * 255).astype(np.uint8)
        crop = align(board, placed(scale, 8.0, (350, 350)), crop_spec())
        assert np.abs(crop.astype(int) - 127.5).max() < 40
        assert crop.std() < 10

    def test_a_crop_keeps_the_mean_of_what_it_shows(self) -> None:
        noise = RANDOM.integers(0, 256, (800, 800), dtype=np.uint8)
        crop = align(noise, placed(10.0, 20.0, (400, 400)), crop_spec())
        assert abs(crop.mean() - 127.5) < 2
        assert crop.std() < 20  # of 74: a hundred pixels went into each

    def test_outside_the_image_the_border_goes_on(self) -> None:
        for scale in (1.0, 4.0):
            picture = np.full((400, 400), 200, np.uint8)
            crop = align(picture, placed(scale, 0.0, (0.0, 0.0)), crop_spec())
            assert (crop == 200).all()

    @pytest.mark.parametrize("centre", [(-5000.0, 10.0), (90000.0, 90000.0), (50.0, -300.0)])
    @pytest.mark.parametrize("scale", [0.3, 1.0, 7.0, 500.0])
    def test_a_face_far_outside_is_cut_out_of_the_border(self, scale: float, centre: tuple[float, float]) -> None:
        picture = RANDOM.integers(0, 256, (60, 80), dtype=np.uint8)
        assert align(picture, placed(scale, 0.0, centre), crop_spec()).shape == (SIDE, SIDE)

    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
    def test_an_image_smaller_than_a_block_is_no_trouble(self, size: tuple[int, int]) -> None:
        crop = align(np.full(size, 77, np.uint8), placed(9.0, 30.0, (3.0, 3.0)), crop_spec())
        assert (crop == 77).all()

    def test_colour_is_cut_like_luma(self) -> None:
        points = placed(3.0, 12.0, (200, 200))
        colour = RANDOM.integers(0, 256, (400, 400, 3), dtype=np.uint8)
        crop = align(colour, points, crop_spec())
        for channel in range(3):
            np.testing.assert_array_equal(crop[..., channel], align(colour[..., channel], points, crop_spec()))

    @pytest.mark.parametrize("scale", [1.0, 5.0])
    def test_the_image_is_only_read(self, scale: float) -> None:
        stored = RANDOM.integers(0, 256, (400, 448), dtype=np.uint8)
        luma = stored[:, :400]  # as a decoder gives it: a view into padded lines
        luma.flags.writeable = False
        before = stored.tobytes()
        crop = align(luma, placed(scale, 0.0, (200, 200)), crop_spec())
        crop[...] = 0
        assert stored.tobytes() == before

    def test_landmarks_that_coincide_are_refused(self) -> None:
        with pytest.raises(ValueError, match="coincide"):
            align(np.zeros((50, 50), np.uint8), np.full((5, 2), 20, np.float32), crop_spec())


class TestRange:
    def test_limited_range_is_stretched_rounded_and_clipped(self) -> None:
        values = np.arange(256, dtype=np.uint8).reshape(16, 16)
        expanded = expand_range(values).ravel().astype(int)
        assert (expanded[0], expanded[16], expanded[235], expanded[255]) == (0, 0, 255, 255)
        wanted = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255)
        np.testing.assert_array_equal(expanded, wanted)
        assert (np.diff(expanded) >= 0).all()

    def test_the_crop_is_only_read(self) -> None:
        crop = np.full((4, 4), 100, np.uint8)
        crop.flags.writeable = False
        assert (expand_range(crop) == 98).all()
        assert (crop == 100).all()
