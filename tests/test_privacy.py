"""What `aggregate_only` tells of faces: counts of groups on a grid of time, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from engines.spec import EMOTIONS
from stream.aggregate import Aggregator
from stream.config import AggregateConfig, Config, PrivacyConfig
from stream.events import EmotionAggregate, Event, Gap
from stream.pipeline import Pipeline
from stream.privacy import Groups, may_leave
from stream.records import CameraEnded, TrackEnd
from tests import makers
from tests.aggregate.stories import CAPTURED, at, show, sure_of
from tests.sinks.made import changed, sample, started, status
from tests.test_pipeline import LABELS, Bench, times

HAPPY, SAD = (sure_of("happy"), 1.0), (sure_of("sad"), 1.0)
UNREAD = ([1 / len(EMOTIONS)] * len(EMOTIONS), 0.0)
HZ = 10
QUICK = AggregateConfig(half_life_s=0.1, max_dt_s=0.2, hold_s=0.0, min_evidence_s=0.1, sample_s=None)


def groups(min_group: int = 3, interval_s: float = 2.0) -> Groups:
    config = PrivacyConfig(mode="aggregate_only", min_group=min_group, interval_s=interval_s)
    return Groups(config, EMOTIONS, Aggregator(QUICK, EMOTIONS))


def told(of: Groups, seen: dict[int, tuple[list[float], float]], from_s: float, to_s: float) -> list[EmotionAggregate]:
    """What ten pictures a second tell, from `from_s` until before `to_s`; nothing but aggregates may come."""
    events: list[Event] = []
    for number in range(round(from_s * HZ), round(to_s * HZ)):
        events += show(of, number / HZ, seen)
    assert all(isinstance(event, EmotionAggregate) for event in events)
    return [event for event in events if isinstance(event, EmotionAggregate)]


def end(of: Groups, at_s: float, *ended: int, state: str = "ended") -> list[Event]:
    moment = at(at_s)
    last = CameraEnded(moment.camera_id, moment.session, at_s, CAPTURED, "rtcp", state=state)
    return of.tick(last, tuple(TrackEnd(track_id, "camera_ended") for track_id in ended))


def counts(event: Event) -> dict[str, int] | None:
    """Without the zeros."""
    assert isinstance(event, EmotionAggregate)
    if event.counts is None:
        return None
    assert sum(event.counts.values()) == event.faces
    assert [*event.counts] == [*EMOTIONS, "uncertain"]
    return {emotion: count for emotion, count in event.counts.items() if count}


def test_a_group_is_counted_by_its_emotions_at_the_end_of_each_interval():
    of = groups()
    (first,) = told(of, {1: HAPPY, 2: HAPPY, 3: SAD, 4: UNREAD}, 0.0, 2.3)
    assert counts(first) == {"happy": 2, "sad": 1, "uncertain": 1}
    assert (first.faces, first.suppressed, first.interval_s, first.media_time_s) == (4, False, 2.0, 2.0)
    assert first.captured_at == CAPTURED  # of the picture at 2.0, with which it ended
    (second,) = told(of, {1: HAPPY, 2: HAPPY, 3: SAD}, 2.3, 4.1)
    assert (counts(second), second.media_time_s) == ({"happy": 2, "sad": 1, "uncertain": 1}, 4.0)  # 4 was still there
    (third,) = end(of, 5.0, 1, 2, 3)
    assert counts(third) == {"happy": 2, "sad": 1}
    assert (third.interval_s, third.media_time_s) == (1.0, 5.0)


def test_the_end_of_an_interval_is_told_as_it_was_also_by_a_later_picture():
    of = groups()
    told(of, {1: HAPPY, 2: HAPPY, 3: SAD}, 0.0, 1.0)
    (late,) = of.tick(at(7.0), ())
    assert isinstance(late, EmotionAggregate)
    assert (late.media_time_s, late.captured_at) == (2.0, CAPTURED - timedelta(seconds=5))
    (rest,) = of.tick(at(8.0), ())  # from 2.0 to 6.0 nobody looked, and nothing is told
    assert (rest.suppressed, rest.media_time_s) == (True, 8.0)


def test_a_face_counts_under_the_emotion_that_was_told_longest():
    of = groups(min_group=2)
    told(of, {1: HAPPY, 2: HAPPY}, 0.0, 0.8)
    told(of, {1: HAPPY, 2: SAD}, 0.8, 2.0)
    (event,) = end(of, 2.0, 1, 2)
    assert counts(event) == {"happy": 1, "sad": 1}


@pytest.mark.parametrize("seen", [{}, {1: HAPPY}, {1: HAPPY, 2: HAPPY}])
def test_smaller_groups_and_nobody_are_told_alike(seen):
    (event,) = told(groups(), seen, 0.0, 2.1)
    assert (event.suppressed, event.faces, event.counts) == (True, None, None)
    assert event == told(groups(), {}, 0.0, 2.1)[0]


def test_one_person_with_many_tracks_is_no_group():
    of = groups(min_group=2)
    for track_id in range(1, 6):
        told(of, {track_id: HAPPY}, track_id * 0.3, track_id * 0.3 + 0.2)
        of.tick(at(track_id * 0.3 + 0.2), (TrackEnd(track_id, "left"),))
    (event,) = of.tick(at(2.0), ())
    assert isinstance(event, EmotionAggregate)
    assert event.suppressed


def test_a_camera_that_goes_and_comes_back_within_an_interval_tells_both_parts():
    of = groups(min_group=2)
    told(of, {1: HAPPY, 2: HAPPY}, 0.0, 1.0)
    (before,) = end(of, 1.0, 1, 2, state="offline")
    (after,) = told(of, {3: SAD, 4: SAD}, 1.2, 2.1)
    assert (before.interval_s, counts(before)) == (1.0, {"happy": 2})
    assert (after.interval_s, after.media_time_s, counts(after)) == (1.0, 2.0, {"sad": 2})


def test_an_interval_without_length_is_not_told():
    of = groups(min_group=2)
    assert len(told(of, {1: HAPPY, 2: HAPPY}, 0.0, 2.1)) == 1
    assert end(of, 2.0, 1, 2) == []


def test_a_frame_that_the_analysis_raises_on_lets_nothing_of_its_faces_out():
    bench = Bench()
    config = PrivacyConfig(mode="aggregate_only", min_group=2)
    parts = replace(bench.parts, new_aggregator=lambda: Groups(config, LABELS, Aggregator(QUICK, LABELS)))
    pipeline = Pipeline(parts, bench.troubles.append)
    events = [event for part in pipeline.run([*times("a", 4), makers.frame("a", 0.8, value=253)]) for event in part]
    assert [event.type for event in events] == ["emotion.aggregate", "camera.status"]
    assert [trouble.camera_id for trouble in bench.troubles] == ["a"]


def test_only_a_list_of_types_may_leave():
    assert all(map(may_leave, (status(), Gap(**makers.moment(), reason="stream_jumped", ranges=()))))
    assert not any(map(may_leave, (sample(), changed(), started(), None)))


def test_preview_is_refused_beside_it():
    assert Config.model_validate({"privacy": {"mode": "aggregate_only"}}).web.preview == "off"
    with pytest.raises(ValueError, match=r"web\.preview: blurred shows single faces"):
        Config.model_validate({"privacy": {"mode": "aggregate_only"}, "web": {"preview": "blurred"}})
