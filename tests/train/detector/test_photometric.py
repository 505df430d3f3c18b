"""Changes of light, lens and codec: shape and type stay, the argument is only read, chance is the generator's alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from train.detector.parity import COUNT, SIDE_PX, parity_pictures
from train.detector.photometric import _blur, degrade, relight, texture

Change = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
SHAPES = [(40, 56), (40, 56, 3)]


def picture(*shape: int) -> NDArray[np.uint8]:
    """Smooth, so that blur and compression leave it recognisable."""
    ramp = np.linspace(20, 220, shape[1])[None] + np.linspace(-15, 15, shape[0])[:, None]
    return (ramp[..., None] + np.array([-5, 0, 5]) if len(shape) == 3 else ramp).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [degrade, relight])
def test_shape_and_type_stay_and_the_argument_is_only_read(change: Change, shape: tuple[int, ...]) -> None:
    image = picture(*shape)
    kept = image.copy()
    image.flags.writeable = False
    changed = 0
    for seed in range(60):
        result = change(image, np.random.default_rng(seed))
        assert result.shape == shape
        assert result.dtype == np.uint8
        changed += not np.array_equal(result, kept)
        np.testing.assert_array_equal(image, kept)
    assert changed > 30


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [degrade, relight])
def test_the_same_state_gives_the_same_change(change: Change, shape: tuple[int, ...]) -> None:
    image = picture(*shape)
    for seed in range(20):
        first, again = (change(image, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_no_blur_moves_anything() -> None:
    dot = np.zeros((41, 41), np.uint8)
    dot[20, 20] = 255
    rows, columns = np.mgrid[:41, :41]
    blurred = 0
    for seed in range(400):
        light = _blur(dot, np.random.default_rng(seed)).astype(np.float64)
        blurred += light[20, 20] < 255
        centre = (rows * light).sum() / light.sum(), (columns * light).sum() / light.sum()
        assert centre == pytest.approx((20, 20), abs=0.05)
    assert blurred > 40


def test_what_is_left_is_of_the_same_place_and_order() -> None:
    """What was to the right of something is still brighter."""
    image = picture(40, 56)
    for seed in range(60):
        columns = degrade(image, np.random.default_rng(seed)).mean(axis=0)
        assert columns[:8].mean() < columns[24:32].mean() <= columns[-8:].mean()


def test_a_grey_photo_gets_a_tint_and_a_coloured_one_keeps_its_own() -> None:
    grey = np.repeat(picture(40, 56)[..., None], 3, axis=2)
    tinted = [relight(grey, np.random.default_rng(seed)).astype(int) for seed in range(40)]
    assert sum(bool((image[..., 2] - image[..., 0]).mean() > 5) for image in tinted) > 20
    blue = grey // 4 + np.array([150, 0, 0], np.uint8)
    for seed in range(40):
        image = relight(blue, np.random.default_rng(seed)).astype(int)
        assert (image[..., 0] - image[..., 2]).mean() > 20


@pytest.mark.parametrize("colour", [False, True])
def test_textures_differ_and_repeat(colour: bool) -> None:
    made = [texture(48, colour, np.random.default_rng(seed)) for seed in range(12)]
    assert {image.shape for image in made} == {(48, 48, 3) if colour else (48, 48)}
    assert {image.dtype for image in made} == {np.dtype(np.uint8)}
    assert len({image.tobytes() for image in made}) == len(made)
    np.testing.assert_array_equal(made[5], texture(48, colour, np.random.default_rng(5)))


@pytest.mark.parametrize("color", ["luma", "bgr"])
def test_the_pictures_that_travel_with_a_detector_are_the_same_at_every_call(color: str) -> None:
    pictures = parity_pictures(color)
    assert pictures.shape == (COUNT, SIDE_PX, SIDE_PX, *([] if color == "luma" else [3]))
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, parity_pictures(color))
