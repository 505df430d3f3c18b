"""Whatever a camera sends, the tracker's story holds together and is the same the second time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.records import Faces, Tracks
from stream.tracking import Tracker
from tests.tracking.scenes import CONFIG, faces_at


@dataclass(frozen=True)
class Step:
    """What happens next to a camera: a frame with faces at these places, or a tick (None), or time begins anew."""

    after_s: float
    places: tuple[tuple[float, float], ...] | None
    restarts: bool


# Few places close together, so that faces are missed, swapped, doubled and jump further than any rule allows.
PLACES = st.tuples(st.sampled_from([5.0, 5.1, 5.9, 6.5, 8.0, 30.0]), st.sampled_from([5.0, 5.4]))
STEPS = st.builds(
    Step,
    after_s=st.sampled_from([0.001, 1 / 30, 0.2, 0.2, 0.2, 0.9, 1.0, 3.0]),
    places=st.none() | st.lists(PLACES, max_size=4).map(tuple),
    restarts=st.sampled_from([False] * 9 + [True]),
)


def told(tracker: Tracker, steps: list[Step]) -> list[tuple[Faces, Tracks]]:
    """What the tracker answers; ends that no frame told stand in a Tracks without rows."""
    answers = []
    time_s = 0.0
    for step in steps:
        if step.restarts:
            answers.append((Faces(), Tracks(ended=tracker.end("restarted"))))
            time_s = 0.0
        time_s += step.after_s
        if step.places is None:
            answers.append((Faces(), Tracks(ended=tracker.tick(time_s))))
        else:
            faces = faces_at(dict(enumerate(step.places)))
            answers.append((faces, tracker.update(time_s, faces)))
    return answers


def plain(tracks: Tracks) -> tuple[object, ...]:
    faces = tracks.faces
    bits = (faces.boxes.tobytes(), faces.landmarks.tobytes(), faces.scores.tobytes())
    return tracks.ids, tracks.started, tracks.ended, bits


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_the_story_of_every_track_is_whole(steps):
    living: set[int] = set()
    begun = 0
    tracker = Tracker(CONFIG)
    for faces, tracks in told(tracker, steps):
        assert list(tracks.ids) == sorted(set(tracks.ids))
        assert tracks.started == tuple(range(begun + 1, begun + 1 + len(tracks.started)))
        assert set(tracks.started) <= set(tracks.ids)
        begun += len(tracks.started)
        living |= set(tracks.started)
        assert set(tracks.ids) <= living
        ended = [end.track_id for end in tracks.ended]
        assert ended == sorted(set(ended))
        assert set(ended) <= living - set(tracks.ids)
        living -= set(ended)
        assert_rows_of(faces, tracks.faces)
    assert [end.track_id for end in tracker.end("camera_ended")] == sorted(living)


def assert_rows_of(faces: Faces, rows: Faces) -> None:
    """Each row is one of the frame's detections, none twice. `faces_at` numbers them in the landmarks."""
    numbers = rows.landmarks[:, 0, 0].astype(int)
    assert len(set(numbers)) == len(numbers)
    np.testing.assert_array_equal(rows.boxes, faces.boxes[numbers])


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, max_size=30), st.lists(STEPS, max_size=30))
def test_the_same_input_gives_the_same_bits_whatever_others_do(steps, other_steps):
    first = [plain(tracks) for _, tracks in told(Tracker(CONFIG), steps)]
    told(Tracker(CONFIG), other_steps)
    assert [plain(tracks) for _, tracks in told(Tracker(CONFIG), steps)] == first
