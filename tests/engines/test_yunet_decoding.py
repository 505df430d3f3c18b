"""Twelve outputs -> candidates: cells, strides and order, on outputs that are written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engines.base import Outputs
from engines.decoding.base import Candidates
from engines.decoding.yunet import YUNET, decode
from engines.errors import EngineMismatch

SIZE = (64, 96)  # height, width
COLUMNS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def nothing() -> Outputs:
    """What the network gives for an empty picture, without B."""
    outputs = {}
    for name in YUNET.outputs:
        kind, stride = name.split("_")
        cells = (SIZE[0] // int(stride)) * (SIZE[1] // int(stride))
        outputs[name] = np.zeros((cells, COLUMNS[kind]), np.float32)
    return outputs


def put(outputs: Outputs, stride: int, row: int, column: int, cls: float, obj: float) -> int:
    """A candidate in one cell, whose number it returns."""
    cell = row * (SIZE[1] // stride) + column
    outputs[f"cls_{stride}"][cell], outputs[f"obj_{stride}"][cell] = cls, obj
    return cell


def read(outputs: Outputs, size: tuple[int, int], score_threshold: float) -> Candidates:
    """As of a single image."""
    candidates, images = decode({name: values[None] for name, values in outputs.items()}, size, score_threshold)
    assert images.tolist() == [0] * len(candidates)
    return candidates


def test_an_empty_answer_has_no_candidates() -> None:
    candidates = read(nothing(), SIZE, 0.5)
    assert (candidates.boxes.shape, candidates.landmarks.shape, candidates.scores.shape) == ((0, 4), (0, 5, 2), (0,))
    assert {candidates.boxes.dtype, candidates.landmarks.dtype, candidates.scores.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("stride", "row", "column"), [(8, 5, 10), (16, 3, 1), (32, 1, 2)])
def test_a_cell_tells_a_box_and_five_points(stride: int, row: int, column: int) -> None:
    outputs = nothing()
    cell = put(outputs, stride, row, column, 0.9, 0.4)
    outputs[f"bbox_{stride}"][cell] = [0.5, -0.25, math.log(2), math.log(3)]
    points = [[0.1, 0.2], [0.9, 0.2], [0.5, 0.5], [0.2, 0.8], [0.8, -1.5]]
    outputs[f"kps_{stride}"][cell] = np.ravel(points)
    candidates = read(outputs, SIZE, 0.5)
    x, y = (column + 0.5) * stride, (row - 0.25) * stride
    wanted = [x - stride, y - 1.5 * stride, x + stride, y + 1.5 * stride]
    np.testing.assert_allclose(candidates.boxes, [wanted], rtol=1e-5)
    corner = np.array([column, row])
    np.testing.assert_allclose(candidates.landmarks, [(np.array(points) + corner) * stride], rtol=1e-5)
    np.testing.assert_allclose(candidates.scores, [0.6], rtol=1e-6)


def test_the_score_is_the_root_of_the_product_within_0_and_1() -> None:
    outputs = nothing()
    put(outputs, 8, 0, 0, 1.5, 1.2)
    put(outputs, 8, 0, 1, -1.0, -1.0)
    put(outputs, 16, 0, 0, 0.64, 1.0)
    put(outputs, 32, 0, 0, 0.6, 0.6)
    assert read(outputs, SIZE, 0.5).scores.tolist() == pytest.approx([1.0, 0.8, 0.6])
    assert read(outputs, SIZE, 0.7).scores.tolist() == pytest.approx([1.0, 0.8])


def test_a_threshold_of_0_keeps_every_cell() -> None:
    assert len(read(nothing(), SIZE, 0.0)) == 8 * 12 + 4 * 6 + 2 * 3


def test_an_absurd_size_overflows_nothing() -> None:
    outputs = nothing()
    cell = put(outputs, 32, 0, 0, 1.0, 1.0)
    outputs["bbox_32"][cell] = [0.0, 0.0, 500.0, 500.0]
    assert np.isfinite(read(outputs, SIZE, 0.5).boxes).all()


def test_a_score_that_is_not_a_number_is_no_candidate() -> None:
    outputs = nothing()
    put(outputs, 8, 1, 1, math.nan, 1.0)
    assert len(read(outputs, SIZE, 0.5)) == 0


def test_outputs_of_another_size_are_a_mismatch() -> None:
    with pytest.raises(EngineMismatch, match=r"cls_8: expected 16 x 12 cells"):
        read(nothing(), (128, 96), 0.5)


def test_images_of_a_batch_are_read_each_for_itself() -> None:
    first, second = nothing(), nothing()
    put(first, 8, 0, 1, 0.9, 0.9)
    put(first, 32, 1, 2, 0.8, 0.8)
    put(second, 8, 5, 10, 0.7, 0.7)
    alone = [read(outputs, SIZE, 0.5) for outputs in (first, second)]
    batch = {name: np.stack([first[name], second[name], second[name]]) for name in first}
    together, images = decode(batch, SIZE, 0.5)
    assert images.tolist() == [0, 1, 2, 0]  # stride after stride
    for number, expected in ((0, alone[0]), (1, alone[1]), (2, alone[1])):
        found = together[images == number]
        assert found.boxes.tobytes() == expected.boxes.tobytes()
        assert found.landmarks.tobytes() == expected.landmarks.tobytes()
        assert found.scores.tobytes() == expected.scores.tobytes()
