"""Every setting, typed, with its unit in its name and its default here and nowhere else.

`deploy/emostream.example.yaml` lists them all and a test compares it with these defaults. Each part of the program gets
*its* section, never the whole. Unknown keys and bad values fail at start with the key's full name. None means off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream.errors import ConfigError
from stream.events import CAMERA_ID_PATTERN
from stream.urls import expand, mask

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _utc(value: datetime | None) -> datetime | None:
    """The same moment in UTC, as every event tells it. Raises ValueError without a time zone."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("needs a time zone, for example 2026-11-21T08:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away from now") from None


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceConfig(Section):
    """How a camera or file is read; stands for all cameras, and each may override it under its own name."""

    analyse_hz: Annotated[float, Field(gt=0, le=240)] | None = (
        5.0  # analysed frames a second of media time; None: every
    )
    realtime: bool = False  # play files at their own speed
    start_at: Annotated[datetime | None, AfterValidator(_utc)] = None  # when a recording began; fills captured_at
    open_timeout_s: Positive = 5.0
    read_timeout_s: Positive = 5.0
    stall_s: Positive = 2.0  # a live camera without a frame for this long is `stalled`
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    max_lag_s: Positive = 0.5  # a live camera that is decoded later than this skips frames, by steps
    gap_s: Positive = 2.0  # a jump of media time larger than this is told as a `gap`
    max_frame_px: int = Field(default=8192, ge=64)  # a longer side than this is refused


class CameraConfig(Section):
    """One camera: its name, where it is, and what differs from `source` for it."""

    name: str = Field(pattern=CAMERA_ID_PATTERN)
    # file, rtsp://, http(s)://, device number, synthetic:; may hold ${VARIABLE} and ${file:PATH}
    source: str = Field(repr=False)
    settings: SourceConfig = SourceConfig()

    def __str__(self) -> str:
        return f"{self.name} ({mask(self.source)})"


class EngineConfig(Section):
    """What computes the networks."""

    # auto: the fastest that passes parity, measured once; the others: that one
    backend: Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt", "tensorrt-rtx", "fake"] = "auto"
    # auto: the int8 model beside an fp32 one where the CPU computes that faster and it was measured as good, and
    # bfloat16 where a backend chosen by `auto` is faster in it; model: as it is; bf16: in bfloat16
    precision: Literal["auto", "model", "bf16"] = "auto"
    threads: int = Field(default=1, ge=1, le=64)  # inside one call; decoding needs the other cores
    max_batch: int = Field(default=64, ge=1, le=1024)  # faces or pictures in one call; more are split
    wait: bool = False  # build what is missing before the first frame, not while a run on ONNX Runtime goes on


class DetectorConfig(Section):
    """Finding faces."""

    model: str = "face"  # name of a model, or a folder that holds one
    input_px: int = Field(default=640, ge=64, le=4096)  # the frame's longer side is reduced to this; never enlarged
    score_threshold: Fraction | None = None  # None: the model's own
    max_faces: int = Field(default=50, ge=1, le=1000)  # per frame, best scores first
    # known faces are sought where they were, in every analysed frame, new ones where something changes, at a cost of so
    # many whole pictures a second; None: everywhere in every analysed frame
    scan_hz: Positive | None = 1.0
    idle_scan_s: Positive = 2.0  # the whole picture is searched at least this often


class TrackingConfig(Section):
    """Following faces."""

    confirm_s: Positive = 0.4  # a face must have been believable this long to become a track
    lost_s: Positive = 1.0  # a track that was not seen this long has left
    max_speed_widths_s: Positive = 6.0  # the fastest face that is followed, in its own widths a second


class EmotionConfig(Section):
    """Classifying faces."""

    model: str = "emotion"  # name of a model, or a folder that holds one
    min_face_px: float = Field(default=20.0, ge=0)  # width of the box; smaller faces are tracked, not classified
    read_hz: Positive | None = 10.0  # a face is classified this often at most; None: in every analysed frame


class AggregateConfig(Section):
    """One steady emotion per track out of noisy answers; everything in seconds."""

    half_life_s: Positive = 0.6  # after this long a sample counts half
    max_dt_s: Positive = 0.4  # the longest time that one sample may stand for: one missed frame at 5 Hz
    min_quality: Fraction = 0.05  # a crop below this is seen, but not used
    hold_s: float = Field(default=0.5, ge=0)  # a new emotion must lead this long; `uncertain` a half-life longer
    margin: Fraction = 0.2  # by how much, in probability, it must lead the present one
    min_confidence: Fraction = 0.55  # from this probability on, `uncertain` gives way to an emotion
    keep_confidence: Fraction = 0.3  # from this probability downwards, an emotion gives way to `uncertain`
    min_evidence_s: Positive = 0.3  # seconds of full-quality evidence to tell an emotion, with full confidence
    sample_s: Positive | None = 1.0  # interval of emotion.sample; None: no samples


class RedisConfig(Section):
    """Where events go. Without a URL, `run` starts a private Redis."""

    # redis:, rediss:, unix: or redis+sentinel:; may hold ${VARIABLE} and ${file:PATH}
    url: str | None = Field(default=None, repr=False)
    maxlen: int = Field(default=100_000, ge=100)  # entries kept per camera, about
    timeout_s: Positive = 5.0  # connect, and each command
    lease_s: Positive = 10.0  # a camera belongs to the worker that renewed its lease this recently


class OutboxConfig(Section):
    """Events between their acceptance and their acknowledgement by every sink."""

    path: Path | None = None  # file on disk, one for each worker; None: in the state folder of the user
    max_events: int = Field(default=200_000, ge=1_000)
    max_age_s: Positive = 86_400.0  # what waited longer than this is given up
    retain_s: float = Field(default=60.0, ge=0)  # kept after a sink has them: a Redis may lose its last seconds


class RunConfig(Section):
    """The worker itself."""

    out: Path | None = None  # also write events to this JSON Lines file
    private_redis: Path | None = None  # folder of its data; None: in the state folder of the user
    # keep the private Redis this long after the last file; None: as the terminal suggests
    hold_s: float | None = Field(default=None, ge=0)
    drain_s: Positive = 10.0  # a stop finishes within this


class WebConfig(Section):
    """The live page, the API, health and metrics, all served at one address."""

    address: str | None = None  # HOST:PORT, port 0 takes a free one; None: no page
    # demanded of whoever asks, and needed unless the address is loopback; may hold ${VARIABLE} and ${file:PATH}
    token: str | None = Field(default=None, repr=False)
    preview: Literal["off", "boxes", "blurred", "full"] = "off"  # on the page; off: no pixel leaves
    preview_hz: Positive = 5.0  # pictures a second of a camera that somebody watches


class PrivacyConfig(Section):
    """What may leave the process."""

    mode: Literal["full", "aggregate_only"] = "full"  # aggregate_only: counts of groups, nothing of single faces
    purpose: str | None = None  # what this is for, shown to whoever looks
    interval_s: Positive = 10.0  # one count per camera and so many seconds
    min_group: int = Field(default=5, ge=2)  # faces in one picture; of smaller groups no number is told


class Config(Section):
    """The whole configuration of a worker."""

    cameras: tuple[CameraConfig, ...] = ()
    source: SourceConfig = SourceConfig()
    engine: EngineConfig = EngineConfig()
    detector: DetectorConfig = DetectorConfig()
    tracking: TrackingConfig = TrackingConfig()
    emotion: EmotionConfig = EmotionConfig()
    aggregate: AggregateConfig = AggregateConfig()
    redis: RedisConfig = RedisConfig()
    outbox: OutboxConfig = OutboxConfig()
    run: RunConfig = RunConfig()
    web: WebConfig = WebConfig()
    privacy: PrivacyConfig = PrivacyConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Config:
        names = [camera.name for camera in self.cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the camera name {name!r} is used twice; give each camera its own, as NAME=SOURCE")
        return self

    @model_validator(mode="after")
    def _groups_have_no_pictures(self) -> Config:
        if self.privacy.mode == "aggregate_only" and self.web.preview != "off":
            raise ValueError(
                f"web.preview: {self.web.preview} shows single faces, and privacy.mode aggregate_only lets out nothing "
                "of them; set it to off"
            )
        return self


def load(path: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration from a YAML file (or only defaults) with `overrides` (nested, same keys) laid over it.

    Each camera's `settings` are laid over `source`; `${VARIABLE}` and `${file:PATH}` in addresses are filled in.
    Raises ConfigError with one sentence that names the file and the key.
    """
    values = _merge(_read(path), overrides)
    where = f"{path}: " if path else ""
    try:
        shared = values.get("source") or {}
        cameras = values.get("cameras")
        if isinstance(cameras, list) and isinstance(shared, dict):
            values["cameras"] = [_complete(camera, shared, environment) for camera in cameras]
        if isinstance(values.get("redis"), dict) and isinstance(values["redis"].get("url"), str):
            values["redis"]["url"] = expand(values["redis"]["url"], environment)
        if isinstance(values.get("web"), dict) and isinstance(values["web"].get("token"), str):
            values["web"]["token"] = expand(values["web"]["token"], environment)
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(where + sentence(error)) from None


def sentence(error: ValidationError) -> str:
    """The first problem of a validation as one sentence with the key's full name, and no value that may be secret."""
    first = error.errors(include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; deploy/emostream.example.yaml lists every setting"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: this is not YAML") from None
    except (ValueError, ArithmeticError, LookupError, AttributeError):  # PyYAML lets through what its types raise
        raise ConfigError(f"{path}: holds a date or number that does not exist, such as a 13th month") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings as `key: value`, got a {type(values).__name__}")
    return values


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _complete(camera: Any, shared: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """A camera entry with the shared source settings below its own; anything else is left for the validation."""
    if not isinstance(camera, dict):
        return camera
    own = camera.get("settings") or {}
    completed = {**camera, "settings": _merge(shared, own) if isinstance(own, dict) else own}
    if isinstance(camera.get("source"), str):
        completed["source"] = expand(camera["source"], environment)
    return completed
