"""The arithmetic of reports, on answers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.metrics import calibration_error, fit_temperature, report, softmax

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


def test_a_class_that_never_comes_has_recall_0_and_no_warning() -> None:
    made = report(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]), LABELS, temperature=1.0)
    assert made.as_dict()["recall"] == {"a": 1.0, "b": 1.0, "c": 0.0}


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
