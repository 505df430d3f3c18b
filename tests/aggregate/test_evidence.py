"""Evidence: exact cases by hand, and that it does not matter how finely the same signal was looked at."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.aggregate import Evidence
from stream.config import AggregateConfig

A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
EVEN = [1 / 3] * 3
CONFIG = AggregateConfig(half_life_s=1.0, max_dt_s=10.0)
WHOLE = 1 / math.log(2)  # the most evidence there can be, in half-lives


def fresh(seen_s: float = 0.0) -> Evidence:
    return Evidence(EVEN, quality=1.0, seen_s=seen_s)


def test_two_samples_of_one_half_life_each():
    evidence = fresh()
    evidence.add(1.0, B, 1.0, CONFIG)
    assert evidence.probabilities == B  # nothing stood against it: the first sight stands for no time
    assert evidence.weight_s == pytest.approx(WHOLE / 2)
    evidence.add(2.0, C, 0.5, CONFIG)  # the new second at half quality weighs as much as the old one faded
    assert evidence.probabilities == pytest.approx([0.0, 0.5, 0.5])
    assert evidence.weight_s == pytest.approx(WHOLE / 2)
    assert evidence.looked_s == pytest.approx(WHOLE * 3 / 4)
    assert evidence.quality == pytest.approx(2 / 3)  # (1/4 at 1.0 and 1/2 at 0.5) of 3/4


def test_a_sample_stands_for_at_most_max_dt_and_what_is_older_fades_all_the_same():
    evidence = fresh()
    evidence.add(1.0, A, 1.0, CONFIG)
    evidence.add(3.0, B, 1.0, CONFIG.model_copy(update={"max_dt_s": 1.0}))
    assert evidence.weight_s == pytest.approx(WHOLE * (1 / 8 + 1 / 2))
    assert evidence.probabilities == pytest.approx([0.2, 0.8, 0.0])


def test_a_crop_of_no_quality_only_lets_time_go_by():
    evidence = fresh()
    evidence.add(1.0, A, 1.0, CONFIG)
    evidence.add(2.0, B, 0.0, CONFIG)
    assert evidence.probabilities == A
    assert evidence.weight_s == pytest.approx(WHOLE / 4)
    assert evidence.quality == pytest.approx(1 / 3)


def test_evidence_goes_on_fading_between_samples():
    evidence = fresh()
    evidence.add(1.0, A, 1.0, CONFIG)
    assert evidence.weight_at(1.0, 1.0) == evidence.weight_s
    assert evidence.weight_at(3.0, 1.0) == pytest.approx(evidence.weight_s / 4)


def test_nothing_breaks_when_everything_has_faded():
    evidence = fresh()
    for now_s, quality in [(1.0, 0.0), (2.0, 1.0), (1e6, 0.0), (2e6, 0.0), (2e6 + 1, 1e-40), (2e6 + 2, 1.0)]:
        evidence.add(now_s, B, quality, CONFIG)
        assert sum(evidence.probabilities) == pytest.approx(1.0)
        assert 0.0 <= evidence.quality <= 1.0
    assert evidence.weight_s == pytest.approx(WHOLE / 2)


steps = st.lists(st.floats(0.01, 0.4), min_size=1, max_size=30)
chances = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda row: [x / sum(row) for x in row])


@given(steps, chances, st.floats(0.05, 1.0))
def test_a_steady_face_gives_the_same_evidence_however_often_it_is_looked_at(parts_s, probabilities, quality):
    often, once = fresh(), fresh()
    now_s = 0.0
    for part_s in parts_s:
        now_s += part_s
        often.add(now_s, probabilities, quality, CONFIG)
    once.add(now_s, probabilities, quality, CONFIG.model_copy(update={"max_dt_s": 100.0}))
    assert often.weight_s == pytest.approx(once.weight_s)
    assert often.looked_s == pytest.approx(once.looked_s)
    assert often.quality == pytest.approx(once.quality)
    assert often.probabilities == pytest.approx(probabilities)


@given(st.lists(st.tuples(st.floats(0.01, 20.0), chances, st.floats(0.0, 1.0)), max_size=50))
def test_whatever_comes_probabilities_stay_probabilities(samples):
    evidence, now_s = fresh(), 0.0
    for step_s, probabilities, quality in samples:
        now_s += step_s
        evidence.add(now_s, probabilities, quality, CONFIG)
        assert sum(evidence.probabilities) == pytest.approx(1.0)
        assert min(evidence.probabilities) >= 0.0
        assert 0.0 <= evidence.quality <= 1.0
        assert 0.0 <= evidence.weight_s <= evidence.looked_s + 1e-12 <= WHOLE + 1e-9
