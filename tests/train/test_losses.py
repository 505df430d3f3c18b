"""Losses against examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from train.losses import CenterLoss, balanced_weights, cross_entropy, oversampled  # noqa: E402

LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])  # probabilities 1/4, 3/4 and 1/2, 1/2


def test_cross_entropy_of_hard_and_soft_targets() -> None:
    hard = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert cross_entropy(LOGITS, hard).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    soft = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    expected = (0.5 * math.log(4) + 0.5 * math.log(4 / 3) + math.log(2)) / 2
    assert cross_entropy(LOGITS, soft).item() == pytest.approx(expected)


def test_weights_of_classes_change_the_direction_not_the_size() -> None:
    hard = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    weighted = cross_entropy(LOGITS, hard, torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx((math.log(4 / 3) + 3 * math.log(2)) / 4)
    assert torch.nn.CrossEntropyLoss(torch.tensor([3.0, 1.0]))(LOGITS, torch.tensor([1, 0])).item() == pytest.approx(
        weighted.item()
    )


def test_rare_classes_weigh_more() -> None:
    assert balanced_weights(np.array([0, 0, 0, 2]), 3).tolist() == pytest.approx([0.5, 0.0, 1.5])


def test_oversampling_makes_every_class_as_frequent_as_the_most_frequent() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    rows = oversampled(labels, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [4, 4, 4]
    assert set(rows.tolist()) == set(range(7))  # nothing is left out


def test_the_center_loss_of_two_classes_by_hand() -> None:
    """Wen et al. 2016, equations 2 and 4: centre 0 at (1, 0) with two embeddings, centre 1 at (0, 0) with one."""
    loss = CenterLoss(3, 2, rate=0.5)
    loss.centers[0] = torch.tensor([1.0, 0.0])
    embeddings = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    labels = torch.tensor([0, 0, 1])
    assert loss(embeddings, labels).item() == pytest.approx(0.5 * (4.0 + 4.0 + 16.0) / 3)
    loss.follow(embeddings, labels)
    # class 0: sum of differences (0, 2) + (2, 0) = (2, 2), by 1 + 2; class 1: (0, 4), by 1 + 1; class 2: untouched
    expected = [[1.0 + 0.5 * 2 / 3, 0.5 * 2 / 3], [0.0, 0.5 * 4 / 2], [0.0, 0.0]]
    np.testing.assert_allclose(loss.centers.numpy(), expected, rtol=1e-6)


def test_centers_are_kept_with_the_run_and_are_no_parameters() -> None:
    loss = CenterLoss(3, 2, rate=0.5)
    assert list(loss.state_dict()) == ["centers"]
    assert list(loss.parameters()) == []
