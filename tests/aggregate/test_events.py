"""The events of a face's life: which, when, in what order, and what they say."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from engines.spec import EMOTIONS
from stream.aggregate import Aggregator, Evidence, Steady
from stream.config import AggregateConfig
from stream.events import UNCERTAIN, EmotionChanged, EmotionSample, Event, TrackEnded, TrackStarted, parse
from stream.records import Scores, TrackEnd, Tracks
from tests.aggregate.stories import CAPTURED, SIZE_PX, at, faces, show, signal, sure_of, tell

CONFIG = AggregateConfig(half_life_s=0.5, max_dt_s=0.5, hold_s=0.5, min_evidence_s=0.3)
HAPPY, SAD = (sure_of("happy", 0.7), 1.0), (sure_of("sad", 0.7), 1.0)
UNREAD = ([1 / len(EMOTIONS)] * len(EMOTIONS), 0.0)


def kinds(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.type, event.track_id) for event in events if hasattr(event, "track_id")]


@pytest.fixture
def aggregator() -> Aggregator:
    return Aggregator(CONFIG, EMOTIONS)


def test_a_life_by_hand(aggregator):
    (started,) = show(aggregator, 10.0, {1: HAPPY})
    assert isinstance(started, TrackStarted)
    assert started.box == pytest.approx((0.1, 0.1, 0.3, 0.6))
    assert (started.camera_id, started.session, started.media_time_s) == ("lobby", "s-1", 10.0)
    assert (started.captured_at, started.clock_source) == (CAPTURED, "rtcp")

    assert show(aggregator, 10.5, {1: HAPPY}) == []  # 0.36 s of evidence: happy leads from now on
    changed, sample = show(aggregator, 11.0, {1: HAPPY})
    assert isinstance(changed, EmotionChanged)
    assert isinstance(sample, EmotionSample)
    assert (changed.emotion, changed.previous) == ("happy", UNCERTAIN)
    assert list(changed.probabilities) == list(EMOTIONS)
    assert changed.probabilities["happy"] == pytest.approx(0.7)
    assert changed.confidence == pytest.approx(0.7)
    assert changed.quality == 1.0

    assert show(aggregator, 11.5, {1: SAD}) == []  # 4/7 of the weight: a lead of 0.09
    (ended,) = aggregator.tick(at(11.9), (TrackEnd(1, "left"),))
    assert isinstance(ended, TrackEnded)
    assert (ended.media_time_s, ended.reason, ended.duration_s) == (11.9, "left", 1.5)
    assert ended.shares == pytest.approx({**dict.fromkeys(EMOTIONS, 0.0), UNCERTAIN: 2 / 3, "happy": 1 / 3})
    assert (ended.dominant, ended.frames_seen, ended.frames_used) == ("happy", 4, 4)


def test_order_is_started_then_emotions_by_track_then_ends(aggregator):
    show(aggregator, 0.0, {2: HAPPY, 5: HAPPY, 7: HAPPY})
    show(aggregator, 0.5, {2: HAPPY, 5: HAPPY, 7: HAPPY})
    events = show(aggregator, 1.0, {1: SAD, 2: HAPPY, 9: SAD, 5: HAPPY}, ended=(TrackEnd(7, "left"),))
    assert kinds(events) == [
        ("track.started", 1),
        ("track.started", 9),
        ("emotion.changed", 2),
        ("emotion.sample", 2),
        ("emotion.changed", 5),
        ("emotion.sample", 5),
        ("track.ended", 7),
    ]


def test_samples_lie_on_a_grid_from_the_start_of_the_track(aggregator):
    times = [0.4 + 0.2 * number for number in range(26)]
    told = [
        event.media_time_s for t in times for event in show(aggregator, t, {1: HAPPY}) if event.type[-6:] == "sample"
    ]
    assert told == pytest.approx([1.4, 2.4, 3.4, 4.4, 5.4])


def test_a_late_sample_does_not_move_the_grid(aggregator):
    show(aggregator, 0.0, {1: HAPPY})
    told = [t for t in (0.9, 1.7, 1.99, 2.0, 2.4, 3.0) for _ in aggregator.tick(at(t), ())]
    assert told == [1.7, 2.0, 3.0]


def test_of_several_points_missed_only_one_sample_is_made_up(aggregator):
    show(aggregator, 0.0, {1: HAPPY})
    assert kinds(aggregator.tick(at(7.3), ())) == [("emotion.sample", 1)]
    assert aggregator.tick(at(7.9), ()) == []
    assert kinds(aggregator.tick(at(8.0), ())) == [("emotion.sample", 1)]


def test_a_tick_ahead_of_the_next_frame_takes_its_sample(aggregator):
    show(aggregator, 0.0, {1: HAPPY})
    assert kinds(aggregator.tick(at(1.02), ())) == [("emotion.sample", 1)]
    assert show(aggregator, 0.98, {1: HAPPY}) == []
    assert show(aggregator, 1.04, {1: HAPPY}) == []


def test_no_samples_when_they_are_off():
    aggregator = Aggregator(CONFIG.model_copy(update={"sample_s": None}), EMOTIONS)
    show(aggregator, 0.0, {1: HAPPY})
    assert aggregator.tick(at(50.0), ()) == []


def test_a_face_out_of_sight_is_sampled_with_what_is_known_and_less_and_less_confidence(aggregator):
    for t in (0.0, 0.5, 1.0):
        show(aggregator, t, {1: HAPPY})
    (first,) = aggregator.tick(at(2.0), ())
    (second,) = aggregator.tick(at(3.0), ())
    assert first.emotion == second.emotion == "happy"
    assert first.probabilities == second.probabilities
    assert second.confidence == pytest.approx(first.confidence / 4)  # two half-lives, thin all the while
    assert first.box == pytest.approx((0.1, 0.1, 0.3, 0.6))


@pytest.mark.parametrize("min_quality", [0.0, 0.05])
def test_a_face_that_cannot_be_read_is_seen_and_not_used(min_quality):
    aggregator = Aggregator(CONFIG.model_copy(update={"min_quality": min_quality}), EMOTIONS)
    events = [event for number in range(13) for event in show(aggregator, number / 4, {1: UNREAD})]
    assert kinds(events)[1:] == [("emotion.sample", 1)] * 3
    for event in events[1:]:
        assert event.emotion == UNCERTAIN
        assert event.confidence == event.quality == 0.0
        assert sum(event.probabilities.values()) == pytest.approx(1.0)
    (ended,) = aggregator.tick(at(4.0), (TrackEnd(1, "left"),))
    assert (ended.frames_seen, ended.frames_used, ended.dominant) == (13, 0, UNCERTAIN)
    assert ended.shares[UNCERTAIN] == 1.0


def test_a_crop_below_min_quality_is_not_used():
    aggregator = Aggregator(CONFIG.model_copy(update={"min_quality": 0.2, "sample_s": None}), EMOTIONS)
    for number in range(20):
        assert len(show(aggregator, number / 4, {1: (HAPPY[0], 0.19)})) == (number == 0)
    (ended,) = aggregator.tick(at(6.0), (TrackEnd(1, "left"),))
    assert (ended.frames_seen, ended.frames_used) == (20, 0)


def test_a_turned_away_face_becomes_uncertain(aggregator):
    for number in range(5):
        show(aggregator, number / 4, {1: HAPPY})
    events = [event for number in range(5, 20) for event in show(aggregator, number / 4, {1: UNREAD})]
    (changed,) = (event for event in events if isinstance(event, EmotionChanged))
    assert (changed.previous, changed.emotion) == ("happy", UNCERTAIN)
    assert changed.confidence < 0.2


class TestFramesInWhichNobodyLooked:
    """Seen at 10 Hz and read at 2: the five rows in between carry nonsense, which must not count."""

    NONSENSE = (sure_of("angry"), 1.0)

    def told(self, config: AggregateConfig, moods: list[tuple[list[float], float]]) -> list[Event]:
        """A face is read at 0 s, 0.5 s, ... and seen in between, too, and 0.3 s longer."""
        aggregator, events = Aggregator(config, EMOTIONS), list[Event]()
        for number, mood in enumerate(moods):
            for part in range(5 if number < len(moods) - 1 else 4):
                shown = self.NONSENSE if part else mood
                events += show(aggregator, 0.5 * number + 0.1 * part, {1: shown}, read=not part)
        return events + aggregator.tick(at(90.0), (TrackEnd(1, "left"),))

    def only_the_read(self, config: AggregateConfig, moods: list[tuple[list[float], float]]) -> list[Event]:
        aggregator, events = Aggregator(config, EMOTIONS), list[Event]()
        for number, mood in enumerate(moods):
            events += show(aggregator, 0.5 * number, {1: mood})
        return events + aggregator.tick(at(90.0), (TrackEnd(1, "left"),))

    @pytest.mark.parametrize("moods", [[HAPPY] * 8, [HAPPY] * 6 + [SAD] * 8, [HAPPY, UNREAD] * 5, [UNREAD] * 4])
    def test_changes_are_those_of_the_frames_that_were_read(self, moods):
        told, expected = ([e for e in run(CONFIG, moods) if isinstance(e, EmotionChanged)] for run in (
            self.told, self.only_the_read
        ))  # fmt: skip
        assert [change.model_dump() for change in told] == [change.model_dump() for change in expected]

    def test_all_frames_are_seen_and_only_those_that_were_read_are_used(self):
        ended = self.told(CONFIG, [HAPPY] * 4 + [UNREAD])[-1]
        assert (ended.frames_seen, ended.frames_used) == (4 * 5 + 4, 4)
        assert ended.duration_s == pytest.approx(2.3)
        assert math.fsum(ended.shares.values()) == pytest.approx(1.0)

    @pytest.mark.parametrize("hold_s", [0.15, 0.3, 0.45])
    def test_time_has_the_emotion_that_was_proved_in_it(self, hold_s):
        """A proof between two reads comes out with the second; the frames since then were told as the old emotion."""
        config = CONFIG.model_copy(update={"hold_s": hold_s})
        moods = [HAPPY] * 8 + [SAD] * 8
        evidence, steady, proved_s = Evidence(UNREAD[0], 1.0, 0.0), Steady(EMOTIONS), []
        for number, (probabilities, quality) in enumerate(moods[1:], 1):
            evidence.add(0.5 * number, probabilities, quality, config)
            if (change := steady.consider(evidence, config)) is not None:
                proved_s.append(change.since_s)
        happy_s, sad_s = proved_s
        assert max(-happy_s % 0.5, -sad_s % 0.5) > 0.1  # at least one lies between two reads
        ended = self.told(config, moods)[-1]
        seconds = {emotion: share * ended.duration_s for emotion, share in ended.shares.items() if share}
        assert seconds == pytest.approx({UNCERTAIN: happy_s, "happy": sad_s - happy_s, "sad": 7.8 - sad_s})

    def test_the_box_is_that_of_the_last_frame_whether_read_or_not(self):
        aggregator = Aggregator(CONFIG, EMOTIONS)
        show(aggregator, 0.0, {1: HAPPY})
        score = Scores(np.zeros((1, len(EMOTIONS)), np.float32), np.zeros(1, np.float32), np.zeros(1, np.bool_))
        moved = Tracks((1,), faces(1, (100, 50, 120, 80)))
        (sample,) = aggregator.update(at(1.0), moved, score, SIZE_PX)
        assert sample.box == pytest.approx((0.5, 0.5, 0.6, 0.8))


def test_time_between_the_last_sight_and_the_end_does_not_count(aggregator):
    show(aggregator, 0.0, {1: HAPPY})
    show(aggregator, 0.5, {1: HAPPY})
    ended = aggregator.tick(at(9.0), (TrackEnd(1, "camera_ended"),))[-1]
    assert (ended.duration_s, ended.reason) == (0.5, "camera_ended")
    assert math.fsum(ended.shares.values()) == 1.0


def test_a_face_seen_once_has_no_time_and_is_uncertain(aggregator):
    show(aggregator, 3.0, {1: HAPPY})
    (ended,) = aggregator.tick(at(4.0), (TrackEnd(1, "left"),))
    assert (ended.duration_s, ended.dominant, ended.shares[UNCERTAIN]) == (0.0, UNCERTAIN, 1.0)
    assert sum(ended.shares.values()) == 1.0


def test_an_end_is_told_once_and_only_of_faces_that_began(aggregator):
    show(aggregator, 0.0, {1: HAPPY})
    assert kinds(aggregator.tick(at(0.1), (TrackEnd(1, "restarted"), TrackEnd(2, "restarted")))) == [("track.ended", 1)]
    assert aggregator.tick(at(9.0), (TrackEnd(1, "left"),)) == []
    assert show(aggregator, 10.0, {}) == []


def test_boxes_are_fractions_of_the_frame_that_showed_them(aggregator):
    told = signal([("happy", 0.1)])
    scores = Scores(told.probabilities[:1], told.quality[:1], np.ones(1, np.bool_))
    (started,) = aggregator.update(at(0.0), Tracks((1,), faces(1, (0, 0, 1920, 540))), scores, (1920, 1080))
    assert started.box == (0.0, 0.0, 1.0, 0.5)


def test_every_event_survives_its_own_json():
    told = tell(signal([("happy", 3), ("sad", 3)], noise=1.0, seed=4), range(0, 360, 4), AggregateConfig())
    assert {event.type for event in told.events} == {
        "track.started",
        "emotion.changed",
        "emotion.sample",
        "track.ended",
    }
    for event in told.events:
        again = parse(event.to_json())
        assert again is not None
        assert again.to_json() == event.to_json()


def test_the_arrays_it_is_given_are_left_alone(aggregator):
    told = signal([("happy", 1)])
    scores = Scores(told.probabilities[:1], told.quality[:1], np.ones(1, np.bool_))
    tracks = Tracks((1,), faces(1))
    for array in (scores.probabilities, scores.quality, scores.read, tracks.faces.boxes):
        array.flags.writeable = False
    for number in range(10):
        aggregator.update(at(number / 5), tracks, scores, SIZE_PX)


def test_cheap_beside_what_it_weighs(aggregator):
    """A face costs the network about 0.4 ms a frame; its update took 0.02 ms when this was written."""
    start = time.thread_time()
    for number in range(1000):
        show(aggregator, number / 30, {1: HAPPY, 2: SAD, 3: UNREAD})
    assert (time.thread_time() - start) / 3000 < 0.0002
