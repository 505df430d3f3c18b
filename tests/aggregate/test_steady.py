"""The emotion that is told: who leads, for how long, and what it takes to be taken back."""

from __future__ import annotations

import pytest

from stream.aggregate import THIN_AGAIN, Change, Evidence, Steady
from stream.config import AggregateConfig

CONFIG = AggregateConfig(hold_s=0.4)
LABELS = ("happy", "sad", "neutral")
TOLD_FROM, KEPT_TO = CONFIG.min_confidence, CONFIG.keep_confidence
DOUBT_S = CONFIG.hold_s + CONFIG.half_life_s
TRIFLE = 1e-6


def look(steady: Steady, now_s: float, happy: float, sad: float, weight_s: float = 0.8) -> str | None:
    """The emotion before, if this evidence changes it."""
    change = steady.consider(Evidence([happy, sad, 1.0 - happy - sad], 1.0, now_s, weight_s, 0.8), CONFIG)
    return change and change.before


def happy_face() -> Steady:
    """A face that has been told happy by time 0."""
    steady = Steady(LABELS)
    look(steady, -1.0, 0.9, 0.05)
    assert look(steady, 0.0, 0.9, 0.05) == "uncertain"
    assert steady.emotion == "happy"
    return steady


def test_an_emotion_is_told_when_it_has_led_for_hold_s():
    steady = Steady(LABELS)
    assert look(steady, 5.0, 0.9, 0.05) is None
    assert look(steady, 5.2, 0.9, 0.05) is None
    assert look(steady, 5.2 + 0.2, 0.9, 0.05) == "uncertain"  # 0.2 + 0.2 is less than 0.4 in binary
    assert look(steady, 5.6, 0.9, 0.05) is None
    assert steady.emotion == "happy"


def test_a_lead_that_is_lost_begins_anew():
    steady = happy_face()
    assert look(steady, 0.2, 0.1, 0.8) is None
    assert look(steady, 0.4, 0.6, 0.3) is None
    assert look(steady, 0.6, 0.1, 0.8) is None
    assert look(steady, 0.8, 0.1, 0.8) is None
    assert look(steady, 1.0, 0.1, 0.8) == "happy"
    assert steady.emotion == "sad"


def test_two_leaders_in_turn_do_not_add_up():
    steady = happy_face()
    for now_s, sad in [(0.2, 0.8), (0.4, 0.0), (0.6, 0.8), (0.8, 0.0), (1.0, 0.8)]:
        assert look(steady, now_s, 0.1, sad) is None


@pytest.mark.parametrize(
    ("happy", "sad", "told"),
    [(0.4, 0.4 + CONFIG.margin - TRIFLE, "happy"), (0.4, 0.4 + CONFIG.margin + TRIFLE, "sad")],
)
def test_another_emotion_must_lead_by_the_margin(happy, sad, told):
    steady = happy_face()
    look(steady, 0.2, happy, sad)
    look(steady, 0.7, happy, sad)
    assert steady.emotion == told


def test_an_emotion_is_told_from_one_probability_and_kept_to_a_lower_one():
    even = (1 - TOLD_FROM) / 2
    for top, told in [(TOLD_FROM - TRIFLE, "uncertain"), (TOLD_FROM + TRIFLE, "happy")]:
        steady = Steady(LABELS)
        look(steady, 0.0, top, even)
        look(steady, 5.0, top, even)
        assert steady.emotion == told
    # with three labels one of them has a third at least, so five show where doubt takes over
    five = ("happy", "sad", "neutral", "fear", "angry")
    for top, told in [(KEPT_TO + TRIFLE, "happy"), (KEPT_TO - TRIFLE, "uncertain")]:
        steady = Steady(five, "happy", "happy")
        row = [top, *[(1 - top) / 4] * 4]
        for now_s in (0.0, DOUBT_S):
            steady.consider(Evidence(row, 1.0, now_s, 0.8, 0.8), CONFIG)
        assert steady.emotion == told


def test_doubt_between_two_emotions_is_not_told_if_it_is_short():
    split = [KEPT_TO - 0.01, *[(1 - KEPT_TO + 0.01) / 4] * 4]
    sad = [0.1, 0.6, 0.1, 0.1, 0.1]
    steady = Steady(("happy", "sad", "neutral", "fear", "angry"), "happy", "happy")
    story = [(0.0, split), (DOUBT_S - 0.02, split), (DOUBT_S, sad), (DOUBT_S + CONFIG.hold_s, sad)]
    changes = [steady.consider(Evidence(row, 1.0, now_s, 0.8, 0.8), CONFIG) for now_s, row in story]
    assert [change and change.before for change in changes] == [None, None, None, "happy"]
    assert steady.emotion == "sad"


def test_thin_evidence_tells_nothing_and_much_thinner_evidence_takes_it_back():
    steady = Steady(LABELS)
    for now_s in (0.0, 5.0):
        assert look(steady, now_s, 0.9, 0.05, CONFIG.min_evidence_s - TRIFLE) is None
    assert look(steady, 6.0, 0.9, 0.05, CONFIG.min_evidence_s) is None
    assert look(steady, 6.4, 0.9, 0.05, CONFIG.min_evidence_s) == "uncertain"
    for now_s in (7.0, 9.0):
        assert look(steady, now_s, 0.9, 0.05, THIN_AGAIN * CONFIG.min_evidence_s + TRIFLE) is None
    assert look(steady, 10.0, 0.9, 0.05, THIN_AGAIN * CONFIG.min_evidence_s - TRIFLE) is None
    assert look(steady, 10.0 + DOUBT_S, 0.9, 0.05, 0.0) == "happy"
    assert steady.emotion == "uncertain"


def test_without_hold_a_lead_is_told_at_once():
    steady = Steady(LABELS)
    config = AggregateConfig(hold_s=0.0)
    assert steady.consider(Evidence([0.9, 0.05, 0.05], 1.0, 0.0, 0.8, 0.8), config) == Change("uncertain", 0.0)


def test_a_lead_begins_between_two_samples_where_the_line_between_them_says():
    """From 0.4 behind to 0.6 ahead in 1.1 s: ahead by the margin of 0.2 after 0.66 s, and proved 0.4 s later."""
    steady = happy_face()
    look(steady, 1.0, 0.6, 0.2)
    change = steady.consider(Evidence([0.2, 0.8, 0.0], 1.0, 2.1, 0.8, 0.8), CONFIG)
    assert change == Change("happy", pytest.approx(1.66 + CONFIG.hold_s))


def test_enough_evidence_also_comes_between_two_samples():
    steady = Steady(LABELS)
    look(steady, 0.0, 0.9, 0.05, weight_s=0.0)
    change = steady.consider(Evidence([0.9, 0.05, 0.05], 1.0, 1.0, 2 * CONFIG.min_evidence_s, 0.8), CONFIG)
    assert change == Change("uncertain", pytest.approx(0.5 + CONFIG.hold_s))
