"""What the live page is told: only what changed, for whoever comes back whenever; alerts; what is kept is bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from stream.events import EmotionChanged, TrackEnded
from stream.records import Frame
from stream.web.view import MOST_ALERTS, MOST_EVENTS, SILENT_S, LiveView
from tests.makers import frame
from tests.web.crowd import START, accepted, arrival, moment, sample, stamp, started, status


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def view() -> LiveView:
    return LiveView(now=lambda: START)


def one_face(view: LiveView) -> int:
    """A camera with a face and one point of its timeline; the revision after it."""
    view.observe(accepted(status("lobby", "live"), started("lobby", 1), sample("lobby", 1, "happy", 0.81234, 1.0)))
    return int(view.snapshot()["id"])


class TestUpdates:
    def test_a_new_viewer_gets_everything(self, view: LiveView) -> None:
        one_face(view)
        told = view.snapshot()
        assert told["fresh"]
        assert told["names"] == ["lobby"]
        assert told["cameras"]["lobby"]["state"] == "live"
        assert told["cameras"]["lobby"]["tracks"] == {"1": ["happy", 0.81, [[1.0, "happy", 0.81]]]}
        json.dumps(told)

    def test_nothing_new_is_nothing(self, view: LiveView) -> None:
        assert view.updates(one_face(view)) is None

    def test_only_new_points_and_changed_cameras_come(self, view: LiveView) -> None:
        view.observe(accepted(status("door", "live")))
        after = one_face(view)
        view.observe(accepted(sample("lobby", 1, "sad", 0.6, 2.0)))
        told = view.updates(after)
        assert told is not None
        assert not told["fresh"]
        assert set(told["cameras"]) == {"lobby"}
        assert told["names"] == ["door", "lobby"]
        assert told["cameras"]["lobby"]["tracks"] == {"1": ["sad", 0.6, [[2.0, "sad", 0.6]]]}

    def test_whoever_was_away_for_long_gets_all_of_it_once(self, view: LiveView) -> None:
        """Two viewers, one that asks each time and one that comes back late, end with the same timelines."""
        after = late = one_face(view)
        seen = []
        for second in range(2, 300):
            view.observe(accepted(sample("lobby", 1, "sad", 0.6, float(second))))
            told = view.updates(after)
            assert told is not None
            after = told["id"]
            seen += told["cameras"]["lobby"]["tracks"]["1"][2]
        told = view.updates(late)
        assert told is not None
        points = told["cameras"]["lobby"]["tracks"]["1"][2]
        assert points == seen[-61:]  # a minute, both ends
        assert points[0][0] == 239.0

    @pytest.mark.parametrize("never", [-1, 10_000])
    def test_a_revision_that_never_was_gets_everything(self, view: LiveView, never: int) -> None:
        one_face(view)
        told = view.updates(never)
        assert told is not None
        assert told["fresh"]

    def test_a_face_that_left_is_gone_and_counted(self, view: LiveView) -> None:
        after = one_face(view)
        left = {"track_id": 1, "reason": "left", "duration_s": 1.0, "shares": {}, "dominant": "happy"}
        view.observe(
            accepted(TrackEnded.model_validate({**stamp("lobby", 3.0), **left, "frames_seen": 5, "frames_used": 5}))
        )
        told = view.updates(after)
        assert told is not None
        assert told["cameras"]["lobby"]["tracks"] == {}
        assert told["cameras"]["lobby"]["ended"] == 1
        assert view.tracks() == []

    def test_a_removed_camera_is_no_longer_named(self, view: LiveView) -> None:
        after = one_face(view)
        view.observe(accepted(status("lobby", "ended", 2.0, reason="removed")))
        told = view.updates(after)
        assert told is not None
        assert told["names"] == []

    def test_an_ended_recording_stays(self, view: LiveView) -> None:
        one_face(view)
        view.observe(accepted(status("lobby", "ended", 2.0)))
        assert view.snapshot()["cameras"]["lobby"]["state"] == "ended"

    def test_an_ended_recording_that_is_removed_is_gone(self, view: LiveView) -> None:
        view.observe(accepted(status("lobby", "failed", reason="gone"), status("door", "live")))
        after = int(view.snapshot()["id"])
        view.forget("lobby")
        view.forget("door")  # runs still: it goes with its last event
        view.forget("nobody")
        told = view.updates(after)
        assert told is not None
        assert told["names"] == ["door"]
        assert told["alerts"][0]["over"] is not None

    def test_a_new_session_begins_anew(self, view: LiveView) -> None:
        one_face(view)
        again = status("lobby", "live").model_copy(update={"session": "another"})
        view.observe(accepted(again))
        assert view.snapshot()["cameras"]["lobby"]["tracks"] == {}


class TestFigures:
    def test_rate_and_latency(self) -> None:
        clock = Clock()
        view = LiveView(monotonic=clock, now=lambda: START + timedelta(seconds=0.25))
        view.observe(accepted(status("cam1", "live")))
        for index in range(11):
            view.analysed(_arrived(frame("cam1", index / 5, index=index)))
            clock.s += 0.2
        told = view.snapshot()["cameras"]["cam1"]
        assert told["fps"] == pytest.approx(5.0, abs=0.1)
        assert told["latency_s"] == 0.25
        clock.s += SILENT_S
        assert view.snapshot()["cameras"]["cam1"]["fps"] == 0.0

    def test_a_recording_has_no_latency(self, view: LiveView) -> None:
        view.observe(accepted(status("cam1", "live")))
        view.analysed(frame("cam1"))
        assert view.snapshot()["cameras"]["cam1"]["latency_s"] is None

    def test_frames_of_a_camera_that_nobody_told_of_are_no_error(self, view: LiveView) -> None:
        view.analysed(frame("cam1"))
        assert view.snapshot()["names"] == []


class TestAlerts:
    def told(self, view: LiveView) -> list[tuple[str, str, bool]]:
        return [(each["level"], each["text"], each["over"] is not None) for each in view.snapshot()["alerts"]]

    def test_a_camera_that_is_away_and_comes_back(self, view: LiveView) -> None:
        view.observe(accepted(status("lobby", "offline", reason="refused: rtsp://user:secret@host/")))
        ((level, text, over),) = self.told(view)
        assert (level, over) == ("bad", False)
        assert text.startswith("camera lobby is offline: refused")
        assert "secret" not in json.dumps(view.snapshot())
        view.observe(accepted(status("lobby", "connecting")))
        assert not self.told(view)[0][2]  # to try is not to succeed
        view.observe(accepted(status("lobby", "live")))
        assert self.told(view)[0][2]

    def test_a_sink_that_is_away_and_comes_back(self, view: LiveView) -> None:
        after = one_face(view)
        view.trouble("redis", "redis: connection refused")
        view.trouble("redis", "redis: still refused")
        assert self.told(view) == [("bad", "redis: still refused", False)]
        told = view.updates(after)
        assert told is not None
        view.recovered("redis")
        assert self.told(view) == [("bad", "redis: still refused", True)]
        assert view.updates(told["id"]) is not None

    def test_an_engine_that_takes_over(self, view: LiveView) -> None:
        view.engines({"face": "a", "emotion": "b"})
        assert self.told(view) == []
        view.engines({"face": "a", "emotion": "c"})
        assert self.told(view) == [("info", "c takes over from b", True)]

    def test_old_ones_that_are_over_are_forgotten(self, view: LiveView) -> None:
        view.trouble("stays", "away")
        for number in range(2 * MOST_ALERTS):
            view.trouble(f"sink{number}", "away")
            view.recovered(f"sink{number}")
        told = self.told(view)
        assert len(told) == MOST_ALERTS
        assert ("bad", "stays: away", False) in told


class TestApi:
    def test_events_are_read_on_from_an_id(self, view: LiveView) -> None:
        view.observe(moment(2, 3, 1.0))
        first = view.events(0, 4)
        assert [event["id"] for event in first] == [1, 2, 3, 4]
        assert [event["id"] for event in view.events(4, 100)] == [5, 6]
        assert first[0]["type"] == "emotion.sample"
        assert first[0]["camera_id"] == "camera-01"
        assert view.events(6, 100) == []

    def test_only_the_last_events_are_kept(self, view: LiveView) -> None:
        for _ in range(0, MOST_EVENTS + 100, 100):
            view.observe(moment(10, 10, 1.0))
        kept = view.events(0, 10 * MOST_EVENTS)
        assert len(kept) == MOST_EVENTS
        assert kept[0]["id"] > 1

    def test_tracks(self, view: LiveView) -> None:
        view.observe(arrival(2, 2))
        changed = {"track_id": 2, "emotion": "sad", "previous": "uncertain", "confidence": 0.7, "probabilities": {}}
        told = {**stamp("camera-02", 4.5), **changed, "quality": 0.5, "box": (0, 0, 1, 1)}
        view.observe(accepted(EmotionChanged.model_validate(told)))
        tracks = view.tracks()
        assert [(track["camera_id"], track["track_id"]) for track in tracks] == [
            ("camera-01", 1),
            ("camera-01", 2),
            ("camera-02", 1),
            ("camera-02", 2),
        ]
        assert tracks[-1] | {"session": ""} == {
            "camera_id": "camera-02",
            "session": "",
            "track_id": 2,
            "emotion": "sad",
            "confidence": 0.7,
            "quality": 0.5,
            "box": [0, 0, 1, 1],
            "age_s": 4.5,
        }


def _arrived(made: Frame) -> Frame:
    return replace(made, captured_at=START, clock_source="arrival")
