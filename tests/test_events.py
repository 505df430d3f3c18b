"""What leaves a worker: the bytes, what consumers may rely on, and the schema in deploy/."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream import events
from stream.events import (
    AnyEvent,
    CameraStatus,
    EmotionAggregate,
    EmotionChanged,
    EmotionSample,
    Gap,
    SeqRange,
    TimeRange,
    TrackEnded,
    TrackStarted,
)
from stream.records import Moment

SCHEMA_FILE = Path(__file__).parent.parent / "deploy" / "schema" / "emostream.event.1.json"
MOMENT: dict[str, Any] = {
    "camera_id": "lobby",
    "session": "s1",
    "seq": 7,
    "media_time_s": 2.5,
    "captured_at": datetime(2026, 11, 21, 8, tzinfo=UTC),
    "clock_source": "rtcp",
}
BOX = (0.1, 0.2, 0.3, 0.4)
STEADY: dict[str, Any] = {
    "track_id": 1,
    "emotion": "happy",
    "probabilities": {"happy": 0.75, "sad": 0.25},
    "confidence": 0.5,
    "quality": 0.875,
    "box": BOX,
}
EVENTS: list[AnyEvent] = [
    TrackStarted(**MOMENT, track_id=1, box=BOX),
    EmotionChanged(**MOMENT, **STEADY, previous="uncertain"),
    EmotionSample(**MOMENT, **STEADY),
    TrackEnded(
        **MOMENT,
        track_id=1,
        reason="left",
        duration_s=4.5,
        shares={"happy": 0.75, "uncertain": 0.25},
        dominant="happy",
        frames_seen=20,
        frames_used=18,
    ),
    EmotionAggregate(**MOMENT, interval_s=2.5, suppressed=False, faces=5, counts={"happy": 4, "uncertain": 1}),
    EmotionAggregate(**MOMENT, interval_s=2.5, suppressed=True, faces=None, counts=None),
    CameraStatus(**MOMENT, status="offline", reason="no answer", retry_in_s=2.5),
    CameraStatus(
        **MOMENT,
        status="live",
        width_px=640,
        height_px=360,
        analyse_hz=5.0,
        models={"face": "yunet", "emotion": "emotion"},
        engines={"face": "abc", "emotion": "def"},
    ),
    Gap(**MOMENT, reason="outbox_full", ranges=(SeqRange(first_seq=3, last_seq=6), SeqRange(first_seq=9, last_seq=9))),
    Gap(**MOMENT, reason="stream_jumped", ranges=(TimeRange(from_s=2.5, to_s=9.0),)),
]
IDS = [f"{event.type}-{number}" for number, event in enumerate(EVENTS)]


def changed(**values: Any) -> dict[str, Any]:
    """The JSON of an emotion.changed event, with some of its values replaced."""
    fields: dict[str, Any] = json.loads(EVENTS[1].to_json())
    return fields | values


class TestRoundTrip:
    @pytest.mark.parametrize("event", EVENTS, ids=IDS)
    def test_an_event_comes_back_equal(self, event: AnyEvent) -> None:
        again = events.parse(event.to_json())
        assert again == event
        assert type(again) is type(event)

    @pytest.mark.parametrize("event", EVENTS, ids=IDS)
    def test_its_bytes_come_back_equal(self, event: AnyEvent) -> None:
        line = event.to_json()
        again = events.parse(line.encode())
        assert again is not None
        assert again.to_json() == line
        assert "\n" not in line

    def test_every_event_begins_with_who_when_and_its_order(self) -> None:
        wanted = ["schema", "type", "camera_id", "session", "seq", "media_time_s", "captured_at", "clock_source"]
        for event in EVENTS:
            assert list(json.loads(event.to_json()))[: len(wanted)] == wanted

    def test_time_is_utc(self) -> None:
        assert json.loads(EVENTS[0].to_json())["captured_at"] == "2026-11-21T08:00:00Z"

    def test_a_file_without_a_known_start_has_no_capture_time(self) -> None:
        event = TrackStarted(**(MOMENT | {"captured_at": None}), track_id=1, box=BOX)
        assert json.loads(event.to_json())["captured_at"] is None
        assert events.parse(event.to_json()) == event


class TestStamp:
    def test_an_event_can_be_made_of_a_moment_and_of_another_event(self) -> None:
        values = {name: value for name, value in MOMENT.items() if name != "seq"}
        assert events.stamp(Moment(**values)) == values
        assert events.stamp(EVENTS[0]) == values


class TestSpeaksFrom:
    def test_an_event_speaks_for_itself_and_a_gap_for_what_it_names(self) -> None:
        assert [events.speaks_from(event) for event in EVENTS] == [7, 7, 7, 7, 7, 7, 7, 7, 3, 7]


class TestRounding:
    def test_probabilities_and_boxes_have_four_decimals(self) -> None:
        third = 1 / 3
        event = EmotionSample(
            **MOMENT | STEADY | {"probabilities": {"happy": third}, "confidence": third, "quality": 2 / 3},
        ).model_copy(update={"box": (third, third, third, 1.0)})
        fields = json.loads(event.to_json())
        assert fields["probabilities"] == {"happy": 0.3333}
        assert (fields["confidence"], fields["quality"]) == (0.3333, 0.6667)
        assert fields["box"] == [0.3333, 0.3333, 0.3333, 1.0]

    def test_seconds_have_six(self) -> None:
        event = TrackStarted(**(MOMENT | {"media_time_s": 1 / 3}), track_id=1, box=BOX)
        assert json.loads(event.to_json())["media_time_s"] == 0.333333

    def test_python_keeps_what_was_measured(self) -> None:
        assert TrackStarted(**(MOMENT | {"media_time_s": 1 / 3}), track_id=1, box=BOX).media_time_s == 1 / 3

    def test_a_long_reason_loses_its_middle(self) -> None:
        """A path may have 4,096 characters, and every status, hash and log line would repeat it."""
        reason = f"/videos/{'x' * 4000}.mp4: no such file; check the path"
        status = CameraStatus(**MOMENT, status="failed", reason=reason)
        assert status.reason is not None
        assert len(status.reason) < 400
        assert status.reason.startswith("/videos/xxx")
        assert status.reason.endswith("xxx.mp4: no such file; check the path")
        assert events.parse(status.to_json()) == status

    def test_the_largest_is_some_kilobytes(self) -> None:
        """As many labels as a model may have, each as long as it may be."""
        shares = {f"{number:0>64}": 1 / 100 for number in range(100)}
        largest = [
            EmotionChanged(**MOMENT, **{**STEADY, "probabilities": shares}, previous="x" * 64),
            TrackEnded(
                **{**MOMENT, "track_id": 2**31, "reason": "left", "duration_s": 1e6, "shares": shares},
                dominant="x" * 64, frames_seen=2**31, frames_used=2**31,
            ),
            CameraStatus(**MOMENT, status="failed", reason="\x00" * 10_000),
        ]  # fmt: skip
        assert max(len(event.to_json()) for event in largest) < 10_000

    def test_a_reason_that_no_json_can_hold_is_told_all_the_same(self) -> None:
        status = CameraStatus(**MOMENT, status="failed", reason="bad\udcff.mp4: no such file")
        told = events.parse(status.to_json())
        assert isinstance(told, CameraStatus)
        assert told.reason == "bad?.mp4: no such file"


class TestConsumersIgnoreWhatTheyDoNotKnow:
    def test_a_field(self) -> None:
        assert events.parse(json.dumps(changed(mood_ring="blue"))) == EVENTS[1]

    def test_a_type(self) -> None:
        assert events.parse(json.dumps(changed(type="gaze.changed"))) is None

    def test_a_word(self) -> None:
        ended = json.loads(next(event for event in EVENTS if isinstance(event, TrackEnded)).to_json())
        assert events.parse(json.dumps({**ended, "reason": "moved_to_another_camera"})) is None

    @pytest.mark.parametrize("schema", ["emostream.event/2", "somebody.else/1"])
    def test_a_schema(self, schema: str) -> None:
        assert events.parse(json.dumps(changed(schema=schema))) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "not json",
            "[]",
            "7",
            "null",
            json.dumps(changed(camera_id="../etc")),
            json.dumps(changed(mood_ring="x" * events.MOST_BYTES)),
            json.dumps(changed(track_id=0)),
            json.dumps(changed(seq=-1)),
            json.dumps(changed(probabilities="high")),
            json.dumps({key: value for key, value in changed().items() if key != "session"}),
        ],
    )
    def test_but_not_nonsense(self, text: str) -> None:
        with pytest.raises(ValueError, match="not an emostream event"):
            events.parse(text)


class TestSchemaFile:
    def test_it_is_current(self) -> None:
        assert SCHEMA_FILE.read_text(encoding="utf-8") == json.dumps(events.json_schema(), indent=2) + "\n", (
            "run: python -m stream.events > deploy/schema/emostream.event.1.json"
        )

    def test_it_knows_every_type(self) -> None:
        mapping = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["discriminator"]["mapping"]
        assert sorted(mapping) == sorted({event.type for event in EVENTS})

    def test_it_names_fields_as_the_events_do(self) -> None:
        definitions = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["$defs"]
        for event in EVENTS:
            assert set(json.loads(event.to_json())) <= set(definitions[type(event).__name__]["properties"])

    def test_it_forbids_no_unknown_field(self) -> None:
        assert 'additionalProperties": false' not in SCHEMA_FILE.read_text(encoding="utf-8")
