"""The arithmetic of reports, on answers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engines.probabilities import softmax
from train.metrics import BINS, agreement, calibration_error, ensemble, fit_temperature, reliability, report

LABELS = ("a", "b", "c")


def test_confusion_recall_and_macro_f1() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 0, 1, 1, 1, 0])
    made = report(np.eye(3, dtype=np.float32)[answers], truth, LABELS, temperature=1.0)

    assert made.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert made.accuracy == pytest.approx(4 / 6)
    assert made.recall.tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    assert made.macro_f1 == pytest.approx((2 * 2 / 6 + 2 * 2 / 5 + 0) / 3)
    assert "66.67%" in made.as_text()


def test_precision_is_the_right_share_of_each_answer() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 0, 1, 1, 1, 0])
    made = report(np.eye(3, dtype=np.float32)[answers], truth, LABELS, temperature=1.0)

    assert made.precision.tolist() == pytest.approx([2 / 3, 2 / 3, 0.0])  # c was never answered
    assert made.f1.tolist() == pytest.approx([2 / 3, 4 / 5, 0.0])
    assert made.as_dict()["precision"] == {"a": 0.6667, "b": 0.6667, "c": 0.0}
    assert made.confusion_text().splitlines()[-1].split() == ["precision", "66.7%", "66.7%", "0.0%"]


def test_a_class_that_never_comes_has_recall_0_and_no_warning() -> None:
    made = report(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), LABELS, temperature=1.0)
    assert made.as_dict()["recall"] == {"a": 1.0, "b": 1.0, "c": 0.0}


def test_pictures_without_an_answer_are_wrong_and_classes_without_pictures_do_not_count() -> None:
    missed = np.array([1, 0, 0])
    made = report(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.array([0, 1, 1]), LABELS, 1.0, missed)
    assert made.images.tolist() == [2, 2, 0]
    assert made.accuracy == pytest.approx(3 / 4)
    assert made.recall.tolist() == [0.5, 1.0, 0.0]
    assert made.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert made.as_dict()["missed"] == 1
    assert "4 images, 1 without a face that was found" in made.as_text()


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_network_that_is_too_sure_or_too_shy(sharpness: float) -> None:
    random = np.random.default_rng(3)
    honest = random.normal(0.0, 2.0, (4000, 3)).astype(np.float32)
    truth = np.array([random.choice(3, p=row) for row in softmax(honest)])
    assert fit_temperature(honest * np.float32(sharpness), truth) == pytest.approx(sharpness, rel=0.1)


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    probabilities = np.tile([0.8, 0.1, 0.1], (10, 1))
    truth = np.array([0] * 6 + [1] * 4)
    assert calibration_error(probabilities, truth) == pytest.approx(0.2)


def test_reliability_counts_each_answer_in_the_bin_of_its_confidence() -> None:
    probabilities = np.array([[1.0, 0.0, 0.0], [0.5, 0.4, 0.1], [0.5, 0.1, 0.4]])
    made = reliability(probabilities, np.array([0, 0, 2]))
    half = int(0.5 * BINS)
    assert made.images.tolist() == [2 if at == half else int(at == BINS - 1) for at in range(BINS)]
    assert made.confidence[[half, -1]].tolist() == [0.5, 1.0]
    assert made.accuracy[[half, -1]].tolist() == [0.5, 1.0]
    assert made.error == 0.0


def test_an_ensemble_of_equal_members_is_the_member() -> None:
    logits = np.random.default_rng(5).normal(0.0, 3.0, (20, 3)).astype(np.float32)
    joined = ensemble([logits, logits], [2.0, 2.0])
    assert joined.dtype == np.float32
    np.testing.assert_allclose(softmax(joined), softmax(logits / 2), atol=1e-6)


def test_an_ensemble_is_the_mean_of_probabilities_each_at_its_temperature() -> None:
    first, second = np.log([[0.9, 0.1]]), 3 * np.log([[0.2, 0.8]])
    joined = ensemble([first.astype(np.float32), second.astype(np.float32)], [1.0, 3.0])
    np.testing.assert_allclose(np.exp(joined), [[0.55, 0.45]], atol=1e-6)


def test_a_certain_no_of_all_members_stays_finite() -> None:
    logits = np.array([[0.0, -2000.0]], np.float32)
    assert ensemble([logits, logits], [1.0, 1.0]).tolist() == [[0.0, -2000.0]]


def test_agreement_counts_only_images_on_which_people_agree() -> None:
    votes = np.array([[6, 4, 0], [5, 5, 0], [0, 0, 3], [0, 200, 100]], np.uint8)
    answers = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    found = agreement(answers, votes, np.array([True, False, True, True]))
    assert (found.images, found.right) == (3, 2)  # the third was voted c and answered b
    assert found.accuracy == pytest.approx(2 / 3)


def test_without_votes_there_is_nothing_to_agree_with() -> None:
    found = agreement(np.eye(3, dtype=np.float32), np.zeros((3, 3), np.uint8), None)
    assert (found.images, found.accuracy) == (0, 0.0)
