"""The rules one by one: belief, endings, restarts, rows, and what a tracker must not depend on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from stream.records import Faces, TrackEnd
from stream.tracking import Tracker
from tests.tracking.scenes import CONFIG, HZ, Story, faces_at, filmed, follow, standing, steady, to_and_fro

ONE = {0: (5.0, 5.0)}
TWO = {0: (5.0, 5.0), 1: (9.0, 5.0)}


def tracked(people: dict[int, tuple[float, float]], until_s: float = 1.0) -> Tracker:
    """A tracker that has just seen these people for this long, five times a second."""
    tracker = Tracker(CONFIG)
    for frame in range(round(until_s * 5) + 1):
        tracker.update(frame / 5, faces_at(people))
    return tracker


@pytest.mark.parametrize("hz", HZ)
@pytest.mark.parametrize("seed", range(3))
def test_a_flicker_is_no_face_and_uses_up_no_id(hz, seed):
    lots = np.random.default_rng(seed).random(1000) < 0.15
    flicker = follow(filmed([standing(5), standing(9, since_s=1.0)], hz, 10.0, lambda f, p: p == 0 and not lots[f]))
    assert flicker.ids == {1: [1]}
    assert not flicker.ended


def test_a_candidate_that_vanishes_leaves_no_trace():
    tracker = Tracker(CONFIG)
    told = [tracker.update(frame / 5, faces_at(ONE if frame < 2 else {})) for frame in range(10)]
    assert all(not tracks.ids and not tracks.started and not tracks.ended for tracks in told)
    assert tracker.end("camera_ended") == ()


@pytest.mark.parametrize("hz", HZ)
def test_two_sights_far_apart_in_time_are_not_belief(hz):
    tracker = Tracker(CONFIG)
    assert not tracker.update(0.0, faces_at(ONE)).started
    assert not tracker.update(CONFIG.confirm_s, faces_at(ONE)).started


def test_an_unsure_detector_starts_tracks_too():
    faces = faces_at(ONE)
    unsure = Faces(faces.boxes, faces.landmarks, np.full(1, 0.3, np.float32))
    tracker = Tracker(CONFIG)
    assert [tracker.update(time_s, unsure).ids for time_s in (0.0, 0.2, 0.4)] == [(), (), (1,)]


def test_rows_are_the_detections_of_confirmed_tracks_by_id():
    tracker = tracked({1: (9.0, 5.0)})
    for time_s in (1.2, 1.4, 1.6):
        tracker.update(time_s, faces_at(TWO))
    faces = faces_at({0: (5.1, 5.0), 2: (30.0, 5.0), 1: (9.1, 5.0)})
    tracks = tracker.update(1.8, faces)
    assert tracks.ids == (1, 2)
    for name in ("boxes", "landmarks", "scores"):
        rows = getattr(tracks.faces, name)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, getattr(faces, name)[[2, 0]])


def test_a_frame_without_faces_has_tracks_without_rows():
    tracks = tracked(ONE).update(1.2, Faces())
    assert (tracks.ids, tracks.started, tracks.ended) == ((), (), ())
    assert tracks.faces.boxes.shape == (0, 4)
    assert tracks.faces.landmarks.shape == (0, 5, 2)
    assert tracks.faces.scores.shape == (0,)


def test_a_tick_ends_what_nobody_has_seen_for_lost_s():
    tracker = tracked(TWO)
    assert tracker.tick(1.0 + 0.9 * CONFIG.lost_s) == ()
    assert tracker.tick(1.0 + CONFIG.lost_s) == (TrackEnd(1, "left"), TrackEnd(2, "left"))
    assert tracker.tick(9.0) == ()


def test_time_may_begin_again_after_an_end_and_ids_go_on_counting():
    tracker = tracked(TWO)
    assert tracker.end("restarted") == (TrackEnd(1, "restarted"), TrackEnd(2, "restarted"))
    assert tracker.end("restarted") == ()
    told = [tracker.update(time_s, faces_at(TWO)) for time_s in (0.0, 0.2, 0.4)]
    assert [tracks.started for tracks in told] == [(), (), (3, 4)]


def test_time_that_does_not_grow_is_refused():
    tracker = tracked(ONE)
    for time_s in (1.0, 0.5):
        with pytest.raises(ValueError, match="time must grow from frame to frame"):
            tracker.update(time_s, faces_at(ONE))


def test_a_hole_in_the_video_does_not_end_who_is_still_there():
    tracks = tracked(ONE).update(1.0 + 1.5 * CONFIG.lost_s, faces_at(ONE))
    assert (tracks.ids, tracks.ended) == ((1,), ())


@pytest.mark.parametrize("motion", [steady, to_and_fro])
def test_one_analysis_a_second_follows_too(motion):
    story = follow(filmed([motion(3.0), standing(60)], 1.0, 10.0))
    assert story.ids == {0: [1], 1: [2]}
    assert not story.ended


def test_a_face_of_another_size_is_another_face():
    tracker = tracked(ONE)
    near = faces_at(ONE)
    centre = near.boxes[:, [0, 1, 0, 1]] / 2 + near.boxes[:, [2, 3, 2, 3]] / 2
    far = Faces((centre + (near.boxes - centre) / 3).astype(np.float32), near.landmarks, near.scores)
    assert tracker.update(1.2, far).ids == ()


def test_a_face_found_twice_stays_with_its_track():
    tracker = tracked(ONE)
    tracker.update(1.2, faces_at({0: (5.0, 5.0), 1: (5.12, 5.0)}))
    assert tracker.update(1.4, faces_at({1: (5.1, 5.0)})).ids == (1,)


def test_a_box_cut_to_nothing_at_the_frames_edge_is_no_trouble():
    tracker = tracked(ONE)
    tracker.update(1.2, Faces(np.array([[0, 10, 0, 90]], np.float32), *_carried(1)))
    assert tracker.update(1.4, faces_at(ONE)).ids == (1,)


def _carried(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 5, 2), np.float32), np.ones(count, np.float32)


def test_cameras_do_not_influence_each_other():
    first = list(filmed([to_and_fro(3.0), standing(5)], 15))
    second = list(filmed([standing(7), steady(2.0), standing(3)], 15, seed=1))
    alone = [follow(iter(first)), follow(iter(second))]
    trackers, together = [Tracker(CONFIG), Tracker(CONFIG)], [Story(), Story()]
    for frames in zip(first, second, strict=True):
        for tracker, story, (time_s, faces) in zip(trackers, together, frames, strict=True):
            story.take(time_s, tracker.update(time_s, faces))
    assert together == alone


def test_settings_are_obeyed():
    config = CONFIG.model_copy(update={"confirm_s": 1.0, "lost_s": 2.0})
    tracker, story = Tracker(config), Story()
    for time_s, faces in filmed([standing(5, until_s=2.0)], 5):
        story.take(time_s, tracker.update(time_s, faces))
    assert story.started == {1: 1.0}
    assert story.ended == {1: pytest.approx(3.8)}


def test_a_slower_limit_lets_go_of_fast_faces():
    slow = CONFIG.model_copy(update={"max_speed_widths_s": 2.0})
    assert follow(filmed([steady(6.0)], 5), Tracker(slow)).ids == {}
    assert follow(filmed([steady(1.5)], 5), Tracker(slow)).ids == {0: [1]}


def test_nobody_goes_further_unseen_than_the_fastest_could():
    slow = CONFIG.model_copy(update={"max_speed_widths_s": 2.0})
    for jump, ids in ((1.2, (1,)), (1.9, ())):
        tracker = Tracker(slow)
        for time_s, faces in filmed([steady(2.0)], 5, 1.0):
            tracker.update(time_s, faces)
        assert tracker.update(1.6, faces_at({0: (7.0 + jump, 5.0)})).ids == ids


def test_importing_the_module_loads_nothing_heavy():
    script = "import sys, stream.tracking; print([m for m in ('scipy', 'trackers', 'supervision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
