"""Lettering, shapes and cloth: drawn by chance, the same for the same chance, on luma and colours."""

from __future__ import annotations

import numpy as np
import pytest

from train.detector.clutter import clutter


@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 3)])
def test_it_draws_the_same_for_the_same_chance(shape: tuple[int, ...]) -> None:
    drawn = []
    for seed in (1, 1, 2):
        canvas = np.full(shape, 90, np.uint8)
        random = np.random.default_rng(seed)
        for _ in range(6):
            clutter(canvas, random)
        assert canvas.shape == shape
        drawn.append(canvas)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert drawn[0].std() > 5


def test_small_and_thin_canvases_are_no_trouble() -> None:
    random = np.random.default_rng(0)
    for size in ((1, 1), (3, 200), (200, 3)):
        canvas = np.zeros(size, np.uint8)
        for _ in range(50):
            clutter(canvas, random)
