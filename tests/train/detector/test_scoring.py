"""How agreement is counted: every number here can be found with a pencil."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.decoding.base import Candidates
from train.detector.boxes import area, iou
from train.detector.scoring import Tally, landmark_error, sizes

FACE, OTHER, FAR = (0.0, 0.0, 20.0, 20.0), (100.0, 0.0, 140.0, 40.0), (300.0, 300.0, 360.0, 380.0)
NONE = np.zeros((0, 4), np.float32)
POINTS = np.array([[5, 5], [15, 5], [10, 10], [6, 15], [14, 15]], np.float32)  # eyes 10 px apart


def boxes(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def faces(*rows: tuple[tuple[float, ...], float], shift: float = 0.0) -> Candidates:
    """Boxes with their scores; landmarks all lie `shift` pixels to the right of where they belong."""
    landmarks = np.tile(POINTS + np.float32([shift, 0]), (len(rows), 1, 1)).astype(np.float32)
    return Candidates(boxes(*[row for row, _ in rows]), landmarks, np.array([s for _, s in rows], np.float32))


def tally(found: Candidates, wanted: Candidates, doubtful: NDArray[np.float32] = NONE) -> Tally:
    result = Tally()
    result.add(found, wanted, doubtful)
    return result


def test_overlap_of_boxes_by_hand() -> None:
    found = iou(boxes((0, 0, 2, 2), (10, 10, 12, 12)), boxes((0, 0, 4, 2), (1, 1, 3, 3), (0, 0, 2, 2)))
    np.testing.assert_allclose(found, [[1 / 2, 1 / 7, 1], [0, 0, 0]], rtol=1e-6)
    assert iou(NONE, boxes(FACE)).shape == (0, 1)
    assert iou(boxes(FACE), NONE).shape == (1, 0)


def test_a_box_that_is_inside_out_has_no_area() -> None:
    assert area(boxes((0, 0, 3, 4), (3, 4, 0, 0), (5, 0, 1, 9))).tolist() == [12, 0, 0]
    assert iou(boxes((3, 4, 0, 0)), boxes((3, 4, 0, 0))).tolist() == [[0]]


def test_the_size_of_a_face_is_its_longer_side() -> None:
    assert sizes(boxes((0, 0, 3, 4), (0, 0, 9, 1))).tolist() == [4, 9]
    assert sizes(NONE).tolist() == []


def test_what_is_found_missed_and_made_up_is_counted() -> None:
    seen = tally(faces((FACE, 0.9), (FAR, 0.8)), faces((FACE, 1.0), (OTHER, 1.0)))
    assert seen.recall(0.5) == 0.5
    assert seen.precision(0.5) == 0.5
    assert seen.precision(0.85) == 1.0
    assert seen.recall(0.95) == 0.0
    assert seen.count() == 2


def test_a_second_answer_for_one_face_is_wrong() -> None:
    near = (2.0, 0.0, 22.0, 20.0)
    seen = tally(faces((near, 0.7), (FACE, 0.9)), faces((FACE, 1.0)))
    assert seen.found_true == [True, False]
    assert seen.found_scores == pytest.approx([0.9, 0.7])
    assert seen.wanted_scores == pytest.approx([0.9])


def test_the_best_score_chooses_first_and_takes_what_it_overlaps_most() -> None:
    left, right = (0.0, 0.0, 20.0, 20.0), (6.0, 0.0, 26.0, 20.0)
    # the better answer lies on the right face and touches the left one enough as well
    seen = tally(faces(((1.0, 0.0, 21.0, 20.0), 0.6), ((5.0, 0.0, 25.0, 20.0), 0.9)), faces((left, 1.0), (right, 1.0)))
    assert seen.found_true == [True, True]
    assert seen.wanted_scores == pytest.approx([0.6, 0.9])


def test_less_than_half_of_an_overlap_is_another_face() -> None:
    assert tally(faces(((0.0, 0.0, 20.0, 10.5), 0.9)), faces((FACE, 1.0))).recall(0.5) == 1.0
    assert tally(faces(((0.0, 0.0, 20.0, 9.5), 0.9)), faces((FACE, 1.0))).recall(0.5) == 0.0


def test_answers_on_a_doubtful_face_count_neither_way() -> None:
    seen = tally(faces((FACE, 0.9), (FAR, 0.8)), faces((FACE, 1.0)), boxes(FAR))
    assert seen.found_scores == pytest.approx([0.9])
    assert (seen.recall(0.5), seen.precision(0.5), seen.count()) == (1.0, 1.0, 1)


def test_a_wanted_face_on_a_doubtful_place_still_counts() -> None:
    seen = tally(faces((FACE, 0.9)), faces((FACE, 1.0)), boxes(FACE))
    assert seen.found_true == [True]
    assert seen.recall(0.5) == 1.0


def test_sizes_are_told_apart_by_the_wanted_face_and_by_the_answer() -> None:
    seen = tally(faces((FACE, 0.9), (FAR, 0.8)), faces((FACE, 1.0), (OTHER, 1.0)))
    assert [seen.count(*size) for size in ((12, 24), (24, 48), (48, math.inf))] == [1, 1, 0]
    assert seen.recall(0.5, 12, 24) == 1.0
    assert seen.recall(0.5, 24, 48) == 0.0
    assert seen.precision(0.5, 12, 24) == 1.0
    assert seen.precision(0.5, 48) == 0.0


def test_where_nothing_was_wanted_or_found_there_is_no_number() -> None:
    nobody = tally(faces(), faces())
    assert all(math.isnan(value) for value in (nobody.recall(0.5), nobody.precision(0.5), nobody.error(0.5)))
    assert nobody.average_precision() == 0.0
    assert nobody.threshold_for(0.9) == 1.0
    missed = tally(faces(), faces((FACE, 1.0)))
    assert missed.recall(0.5) == 0.0
    assert math.isnan(missed.precision(0.5))
    assert math.isnan(missed.error(0.5))


def test_landmarks_are_off_by_parts_of_the_eyes_distance() -> None:
    assert landmark_error(POINTS, POINTS) == 0.0
    assert landmark_error(POINTS + np.float32([3, 4]), POINTS) == pytest.approx(0.5)
    one = POINTS.copy()
    one[3] += 10
    assert landmark_error(one, POINTS) == pytest.approx(math.sqrt(200) / 5 / 10)
    together = np.zeros((5, 2), np.float32)
    assert math.isfinite(landmark_error(POINTS, together))


def test_landmarks_of_faces_that_were_missed_do_not_count() -> None:
    seen = tally(faces((FACE, 0.9), shift=2.0), faces((FACE, 1.0), (OTHER, 1.0)))
    assert seen.error(0.5) == pytest.approx(0.2)
    assert seen.middle_error(0.5) == pytest.approx(0.2)


def test_the_middle_error_is_not_that_of_the_worst() -> None:
    tally = Tally(wanted_sizes=[50.0] * 4, wanted_scores=[0.9, 0.9, 0.9, 0.2], wanted_errors=[0.1, 0.1, 1.0, 9.0])
    assert tally.error(0.5) == pytest.approx(0.4)
    assert tally.middle_error(0.5) == pytest.approx(0.1)
    assert math.isnan(tally.middle_error(0.95))


def four_answers() -> Tally:
    """Right, right, wrong, right, in this order of scores; four faces are wanted, one of them is never found."""
    rows = [(100.0 * number, 0.0, 100.0 * number + 20, 20.0) for number in range(5)]
    found = faces((rows[0], 0.9), (rows[1], 0.8), (FAR, 0.7), (rows[2], 0.6))
    return tally(found, faces(*[(row, 1.0) for row in rows[:4]]))


def test_average_precision_by_hand() -> None:
    # precision 1 up to a recall of 2/4, then 3/4 up to 3/4
    assert four_answers().average_precision() == pytest.approx(1 / 4 + 1 / 4 + 1 / 4 * 3 / 4)


def test_the_threshold_is_the_lowest_that_is_precise_enough() -> None:
    seen = four_answers()
    assert seen.threshold_for(1.0) == pytest.approx(0.8)
    assert seen.threshold_for(0.75) == pytest.approx(0.6)
    assert seen.threshold_for(0.7) == pytest.approx(0.6)
    assert tally(faces((FAR, 0.9)), faces((FACE, 1.0))).threshold_for(0.98) == 1.0


def test_pictures_are_counted_together() -> None:
    seen = Tally()
    for score in (0.9, 0.4):
        seen.add(faces((FACE, score)), faces((FACE, 1.0)), NONE)
    assert seen.count() == 2
    assert seen.recall(0.5) == 0.5
    assert seen.recall(0.3) == 1.0
