"""What leaves a worker: versioned events, schema `emostream.event/1`.

Consumers ignore fields and types they do not know; `parse` therefore answers None for a type that this version has not
heard of. The JSON Schema in `deploy/schema/` is generated from here (`python -m stream.events`).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError

from stream.records import ClockSource, EndReason, Moment

SCHEMA: Final = "emostream.event/1"
UNCERTAIN = "uncertain"
MOST_REASON = 400  # characters: it may quote a file's name or an address, and those may have thousands
MOST_BYTES = 1 << 18  # of an event as consumers take it; the largest that we make have some kilobytes
CAMERA_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def _printable(text: Any) -> Any:
    """A file's name may hold bytes that are no UTF-8: Python keeps them as surrogates, which JSON cannot hold."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


def _brief(text: Any) -> Any:
    """Without its middle, when it is long: the end says what is wrong."""
    if not isinstance(text, str) or len(text) <= MOST_REASON:
        return text
    kept = (MOST_REASON - 1) // 2
    return f"{text[:kept]}…{text[-kept:]}"


Reason = Annotated[str, BeforeValidator(_brief), BeforeValidator(_printable)]
Rounded = Annotated[float, PlainSerializer(lambda value: round(value, 4), return_type=float, when_used="json")]
Seconds = Annotated[float, PlainSerializer(lambda value: round(value, 6), return_type=float, when_used="json")]
Box = tuple[Rounded, Rounded, Rounded, Rounded]  # x1 y1 x2 y2 as fractions of the frame's width and height


class Event(BaseModel):
    """What every event says: who, when, and its place in the order."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["emostream.event/1"] = Field(default=SCHEMA, alias="schema")
    type: str
    camera_id: str = Field(pattern=CAMERA_ID_PATTERN)
    session: str = Field(description="One per camera and worker start; a reconnect keeps it")
    seq: int = Field(
        default=0, ge=0, description="Counts from 0 per camera and session, without holes; given by the outbox alone"
    )
    media_time_s: Seconds = Field(description="Seconds on the camera's own clock, from 0")
    captured_at: datetime | None = Field(description="UTC; null when it is not known (files)")
    clock_source: ClockSource

    def to_json(self) -> str:
        """One line of JSON, keys in the order of the class: the bytes that every sink stores."""
        return self.model_dump_json(by_alias=True)


class TrackStarted(Event):
    """A face has been believable for `tracking.confirm_s`."""

    type: Literal["track.started"] = "track.started"
    track_id: int = Field(ge=1, description="With camera_id and session: the identity of a face")
    box: Box


class Emotion(Event):
    """What is told of a track's steady emotion."""

    track_id: int = Field(ge=1)
    emotion: str = Field(description="One of the model's labels, or `uncertain`")
    probabilities: dict[str, Rounded] = Field(description="Smoothed over time, per label; they sum to 1")
    confidence: Rounded = Field(description="0..1: the emotion's probability, lessened while evidence is thin")
    quality: Rounded = Field(description="0..1: quality of the crops behind it (size, sharpness, score, yaw)")
    box: Box


class EmotionSample(Emotion):
    """The steady emotion of a track, every `aggregate.sample_s` while it lives."""

    type: Literal["emotion.sample"] = "emotion.sample"


class EmotionChanged(Emotion):
    """The steady emotion of a track changed (after hysteresis and hold time)."""

    type: Literal["emotion.changed"] = "emotion.changed"
    previous: str = Field(description="The emotion before; a track begins as `uncertain`")


class TrackEnded(Event):
    """A face left, or its camera ended; the summary of its life."""

    type: Literal["track.ended"] = "track.ended"
    track_id: int = Field(ge=1)
    reason: EndReason
    duration_s: Seconds = Field(description="From the frame of track.started to the last frame that showed the face")
    shares: dict[str, Rounded] = Field(description="Share of its time per steady emotion, `uncertain` included")
    dominant: str = Field(description="The emotion with the largest share; `uncertain` only if nothing else was seen")
    frames_seen: int | None = Field(ge=0, description="null with `worker_lost`: nobody knows any more")
    frames_used: int | None = Field(ge=0, description="Frames whose crop was good enough to count; null as above")


class EmotionAggregate(Event):
    """With `privacy.mode: aggregate_only`, in the place of all events of single faces: counts of a group, per interval.

    `media_time_s` and `captured_at` are those of its end.
    """

    type: Literal["emotion.aggregate"] = "emotion.aggregate"
    interval_s: Seconds = Field(
        description="Its length: `privacy.interval_s`, less where the camera ended or came back within it"
    )
    suppressed: bool = Field(
        description="Never were `privacy.min_group` faces in one picture; perhaps nobody was: faces and counts are null"
    )
    faces: int | None = Field(ge=0, description="Tracks that were seen; a person who went away and returned has two")
    counts: dict[str, int] | None = Field(
        description="The same by dominant steady emotion, per label and `uncertain`; they sum to `faces`"
    )


class CameraStatus(Event):
    """The state of a camera changed; in band with its other events."""

    type: Literal["camera.status"] = "camera.status"
    status: Literal["connecting", "live", "stalled", "offline", "ended", "failed"]
    reason: Reason | None = None
    retry_in_s: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    analyse_hz: float | None = Field(default=None, description="With `live`: null means every frame")
    models: dict[str, str] | None = Field(default=None, description="With `live`: task -> model name")
    engines: dict[str, str] | None = Field(default=None, description="With `live`: task -> engine fingerprint")


class SeqRange(BaseModel):
    """Events given up: their seq, both ends included."""

    model_config = ConfigDict(frozen=True)
    first_seq: int = Field(ge=0)
    last_seq: int = Field(ge=0)


class TimeRange(BaseModel):
    """Media time that was never seen."""

    model_config = ConfigDict(frozen=True)
    from_s: Seconds
    to_s: Seconds


class Gap(Event):
    """Events were given up, or the stream jumped: it stands in the place of what it names.

    A gap of events carries the last seq that it names: every seq is delivered, or named by exactly one gap.
    """

    type: Literal["gap"] = "gap"
    reason: Literal["stream_jumped", "outbox_full", "unreadable", "trimmed", "withheld"]
    ranges: tuple[SeqRange | TimeRange, ...]


def speaks_from(event: Event) -> int:
    """The first seq that an event stands for: its own, or the first that it names if events were given up for it."""
    if isinstance(event, Gap):
        return min([event.seq, *(named.first_seq for named in event.ranges if isinstance(named, SeqRange))])
    return event.seq


def stamp(moment: Moment | Event) -> dict[str, Any]:
    """The fields that every event begins with, as keywords; without `seq`, which the outbox gives."""
    return {
        "camera_id": moment.camera_id,
        "session": moment.session,
        "media_time_s": moment.media_time_s,
        "captured_at": moment.captured_at,
        "clock_source": moment.clock_source,
    }


AnyEvent = TrackStarted | EmotionSample | EmotionChanged | TrackEnded | EmotionAggregate | CameraStatus | Gap
_ANY: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])


def parse(text: str | bytes) -> AnyEvent | None:
    """The event in one line of JSON, or None for a type, schema or word (of a status, a reason) that is not known here.

    Raises ValueError when the text is not an event at all, or larger than any.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"not an emostream event: {len(text)} bytes, the largest have {MOST_BYTES}")
    try:
        return _ANY.validate_json(text)
    except ValidationError as error:
        if {str(part["type"]) for part in error.errors()} <= {"union_tag_invalid", "literal_error"}:
            return None
        raise ValueError(f"not an emostream event: {error.errors()[0]['msg']}") from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of everything that `parse` takes, as consumers see it."""
    schema = _ANY.json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
