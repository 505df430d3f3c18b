"""The same answer at 5, 15 and 30 analysed frames a second: who is whose, from when, until when."""

from __future__ import annotations

import pytest

from tests.tracking.scenes import (
    CONFIG,
    HEIGHT,
    HZ,
    WIDTH,
    Missed,
    Person,
    at_random,
    every_fourth,
    filmed,
    follow,
    from_rest,
    nothing,
    standing,
    steady,
    to_and_fro,
)

pytestmark = pytest.mark.parametrize("hz", HZ)

SPEEDS = (0.0, 1.0, 3.0, 6.0)  # widths a second; the last is `max_speed_widths_s`
BESIDE = 1.5  # widths between two people who stand side by side


def crossing(offset: float, speed: float = 2.0) -> list[Person]:
    """Two people meet after two seconds and go on; `offset` is in heights of a face."""
    return [
        lambda time_s: (5 + speed * time_s, 5),
        lambda time_s: (5 + speed * (4 - time_s), 5 + offset * HEIGHT / WIDTH),
    ]


def while_in_front(people: list[Person], hz: float, overlap: float) -> Missed:
    """The second of two crossing people is hidden while the first covers this much of the face."""

    def missed(frame: int, person: int) -> bool:
        (x1, y1), (x2, y2) = (place for each in people if (place := each(frame / hz)) is not None)
        covered = max(0.0, 1 - abs(x1 - x2)) * max(0.0, 1 - abs(y1 - y2) * WIDTH / HEIGHT)
        return person == 1 and covered > overlap

    return missed


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("motion", [steady, from_rest, to_and_fro])
def test_one_face_is_one_track_from_confirm_s_on(hz, motion, speed):
    story = follow(filmed([motion(speed)], hz))
    assert story.ids == {0: [1]}
    assert story.started[1] == pytest.approx(CONFIG.confirm_s, abs=1e-6)
    assert not story.ended


@pytest.mark.parametrize(
    ("motion", "speed"),
    [(steady, speed) for speed in SPEEDS] + [(motion, speed) for motion in (from_rest, to_and_fro) for speed in (1, 3)],
)
def test_a_detector_that_misses_every_fourth_face_changes_nothing(hz, motion, speed):
    story = follow(filmed([motion(speed)], hz, missed=every_fourth))
    assert story.ids == {0: [1]}
    assert CONFIG.confirm_s - 1e-6 <= story.started[1] <= CONFIG.confirm_s + 1 / hz
    assert not story.ended


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speed", SPEEDS)
def test_missed_faces_delay_a_start_by_no_more_than_themselves(hz, speed, seed):
    missed = at_random(0.3, seed)
    story = follow(filmed([steady(speed)], hz, missed=missed, seed=seed))
    assert story.ids == {0: [1]}
    lost_frames = sum(missed(frame, 0) for frame in range(round(story.started[1] * hz)))
    assert CONFIG.confirm_s - 1e-6 <= story.started[1] <= CONFIG.confirm_s + (lost_frames + 1) / hz
    assert not story.ended


@pytest.mark.parametrize("missed", [nothing, every_fourth])
@pytest.mark.parametrize("offset", [0.3, 0.5])
def test_people_who_cross_keep_their_ids(hz, offset, missed):
    story = follow(filmed(crossing(offset), hz, 4.0, missed))
    assert story.ids == {0: [1], 1: [2]}


@pytest.mark.parametrize("speed", [1.0, 2.0, 3.0])
def test_whoever_is_hidden_while_crossing_comes_out_with_the_same_id(hz, speed):
    people = crossing(0.3, speed)
    story = follow(filmed(people, hz, 4.0, while_in_front(people, hz, overlap=0.5)))
    assert story.ids == {0: [1], 1: [2]}


@pytest.mark.parametrize("seed", range(3))
def test_people_side_by_side_never_swap(hz, seed):
    people = [standing(5), standing(5 + BESIDE), standing(5 + 2 * BESIDE)]
    story = follow(filmed(people, hz, 6.0, at_random(0.3, seed), seed))
    assert sorted(story.ids.values()) == [[1], [2], [3]]


@pytest.mark.parametrize("frames_missed", [1, 2, 3])
def test_a_newcomer_does_not_inherit_the_id_of_a_neighbour_who_is_missed(hz, frames_missed):
    arrival = round(2 * hz)
    people = [standing(5), standing(5 + BESIDE, since_s=2.0)]
    hidden = range(arrival + 1 - frames_missed, arrival + 1)
    story = follow(filmed(people, hz, missed=lambda frame, person: person == 0 and frame in hidden))
    assert story.ids == {0: [1], 1: [2]}


@pytest.mark.parametrize("pause_s", [0.0, 0.2, 0.4, 0.8])
def test_who_comes_after_somebody_left_is_somebody_else(hz, pause_s):
    people = [standing(5, until_s=2.0), standing(5 + BESIDE, since_s=2.0 + pause_s)]
    story = follow(filmed(people, hz))
    assert story.ids == {0: [1], 1: [2]}


def test_a_track_ends_lost_s_after_its_last_sight(hz):
    people = [standing(5, until_s=2.0), standing(9)]
    story = follow(filmed(people, hz))
    last_sight_s = 2.0 - 1 / hz
    assert last_sight_s + CONFIG.lost_s - 1e-6 <= story.ended.pop(1) <= last_sight_s + CONFIG.lost_s + 1 / hz
    assert not story.ended


def test_a_face_that_is_away_for_less_than_lost_s_keeps_its_id(hz):
    away = range(round(2 * hz), round(2.6 * hz))
    story = follow(filmed([standing(5)], hz, missed=lambda frame, person: frame in away))
    assert story.ids == {0: [1]}
    assert not story.ended


def test_whoever_starts_to_move_while_missed_is_held_for_a_fifth_of_a_second(hz):
    moved = from_rest(6.0, rest_s=2.0)
    hidden = [frame for frame in range(1000) if 2.0 < frame / hz < 2.2 - 1e-6]
    story = follow(filmed([moved], hz, missed=lambda frame, person: frame in hidden))
    assert story.ids == {0: [1]}


@pytest.mark.parametrize("walk", [3.0, 4.0, 5.0])
def test_whoever_walks_on_unseen_is_found_though_not_at_the_same_pace(hz, walk):
    """Stands, walks at 4 widths a second, is hidden for 0.6 s and walks at another pace meanwhile."""

    def person(time_s: float) -> tuple[float, float]:
        return 5 + 4 * min(max(0.0, time_s - 1.0), 1.0) + walk * max(0.0, time_s - 2.0), 5

    hidden = [frame for frame in range(1000) if 2.0 < frame / hz < 2.6 - 1e-6]
    story = follow(filmed([person], hz, missed=lambda frame, person: frame in hidden))
    assert story.ids == {0: [1]}


def test_a_fast_face_that_is_missed_after_its_first_sight_is_still_the_same(hz):
    hidden = [frame for frame in range(1000) if 0.0 < frame / hz < 0.4 - 1e-6]
    story = follow(filmed([steady(6.0)], hz, missed=lambda frame, person: frame in hidden))
    assert story.ids == {0: [1]}
    assert story.started[1] < 0.4 + CONFIG.confirm_s - 1e-6
