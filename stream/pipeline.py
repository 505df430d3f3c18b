"""The journey of a frame on one screen: inputs -> faces -> tracks -> scores -> events. No thread, socket or clock.

One camera's trouble stays with that camera: an exception on its data ends its tracks, tells `failed`, and whatever it
still sends is ignored. Only an engine that cannot work at all is let through to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from engines.errors import EngineError, EngineMismatch
from stream.classify import Reads
from stream.detectors.attention import find
from stream.detectors.base import Detector
from stream.detectors.gaze import Gaze
from stream.events import CameraStatus, Event, Gap, TimeRange, stamp
from stream.records import CameraEnded, CameraState, Faces, Frame, Input, Moment, Scores, Tick, TrackEnd, Tracks
from stream.tracking import Tracker

Result = TypeVar("Result")


class FaceClassifier(Protocol):
    """What the pipeline asks of `stream.classify.Classifier`."""

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]: ...


class Teller(Protocol):
    """What the pipeline asks of `stream.aggregate.Aggregator`, or of `stream.privacy.Groups` in its place."""

    def update(self, moment: Moment, tracks: Tracks, scores: Scores, frame_size_px: tuple[int, int]) -> list[Event]: ...
    def tick(self, moment: Moment, ended: tuple[TrackEnd, ...]) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a camera was quarantined."""

    camera_id: str
    frame_index: int | None  # of the frame that made the analysis raise
    error: Exception


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline is made of; the factories are called once per camera."""

    detector: Detector
    classifier: FaceClassifier
    new_gaze: Callable[[], Gaze]
    new_tracker: Callable[[], Tracker]
    new_reads: Callable[[], Reads]
    new_aggregator: Callable[[], Teller]
    best_batch: int  # frames per step: how the detector's engine likes to be fed
    models: Mapping[str, str]  # task -> model name, told with `live`
    engines: Mapping[str, str]  # task -> engine fingerprint, told with `live`


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the stages found in one frame."""

    interrupted: tuple[TrackEnd, ...]  # tracks that ended because time is not continuous before this frame
    tracks: Tracks
    scores: Scores


@dataclass(slots=True)
class _Camera:
    gaze: Gaze
    tracker: Tracker
    reads: Reads
    aggregator: Teller


class Pipeline:
    """Owns every tracker and aggregator and uses the engines; all by one thread."""

    def __init__(self, parts: Parts, on_trouble: Callable[[Trouble], None]) -> None:
        self._parts = parts
        self._on_trouble = on_trouble
        self._cameras: dict[str, _Camera] = {}
        self._quarantined: set[str] = set()

    def swap(self, parts: Parts) -> None:
        """Other engines from the next batch on; every track goes on. They are told with the next `live`."""
        self._parts = parts

    def run(self, inputs: Sequence[Input]) -> Iterator[list[Event]]:
        """`step` over as many frames at once as the detector likes, so that nobody waits for others' frames."""
        for part in _split(inputs, self._parts.best_batch):
            yield self.step(part)

    def step(self, inputs: Sequence[Input]) -> list[Event]:
        """The events of these inputs, in their order. A camera's frame comes before any other item of that camera."""
        frames = [item for item in inputs if isinstance(item, Frame) and item.camera_id not in self._quarantined]
        seen = dict(zip((frame.camera_id for frame in frames), self._analyse(frames), strict=True))
        events: list[Event] = []
        for item in inputs:
            if item.camera_id not in self._quarantined:
                found = _attempt(self._events, item, seen.get(item.camera_id))
                events += self._quarantine(item, found) if isinstance(found, Exception) else found
            if isinstance(item, CameraEnded) and item.state != "offline":  # its last word; its name may come again
                self._cameras.pop(item.camera_id, None)
                self._quarantined.discard(item.camera_id)
        return events

    def _analyse(self, frames: Sequence[Frame]) -> list[_Seen | Exception]:
        """Each stage over all frames together. A frame's own failure takes its place and goes no further."""
        results: list[_Seen | Exception] = [KeyError("not analysed")] * len(frames)
        followed: list[tuple[int, Frame, tuple[TrackEnd, ...], Tracks]] = []
        for number, (frame, faces) in enumerate(zip(frames, _isolate(self._find, frames), strict=True)):
            tracked = faces if isinstance(faces, Exception) else _attempt(self._track, frame, faces)
            if isinstance(tracked, Exception):
                results[number] = tracked
            else:
                followed.append((number, frame, *tracked))
        seen, tracks_of = [item[1] for item in followed], [item[3] for item in followed]
        due = [
            self._camera(frame.camera_id).reads.due(frame.media_time_s, tracks)
            for frame, tracks in zip(seen, tracks_of, strict=True)
        ]
        scores = _isolate(self._parts.classifier.classify, seen, tracks_of, due)
        for (number, _, interrupted, tracks), scored in zip(followed, scores, strict=True):
            results[number] = scored if isinstance(scored, Exception) else _Seen(interrupted, tracks, scored)
        return results

    def _find(self, frames: Sequence[Frame]) -> list[Faces]:
        cameras = [self._camera(frame.camera_id) for frame in frames]
        expected = [camera.tracker.expected() for camera in cameras]
        return find(self._parts.detector, frames, [camera.gaze for camera in cameras], expected)

    def _track(self, frame: Frame, faces: Faces) -> tuple[tuple[TrackEnd, ...], Tracks]:
        tracker = self._camera(frame.camera_id).tracker
        interrupted = tracker.end("restarted") if frame.discontinuity else ()
        return interrupted, tracker.update(frame.media_time_s, faces)

    def _events(self, item: Input, seen: _Seen | Exception | None) -> list[Event]:
        camera = self._camera(item.camera_id)
        match item:
            case Frame():
                if not isinstance(seen, _Seen):
                    raise seen or KeyError(item.camera_id)
                size = (item.letterbox.width_px, item.letterbox.height_px)
                told = camera.aggregator.tick(item, seen.interrupted) if seen.interrupted else []
                return [*_gap(item), *told, *camera.aggregator.update(item, seen.tracks, seen.scores, size)]
            case Tick():
                return camera.aggregator.tick(item, camera.tracker.tick(item.media_time_s))
            case CameraState():
                return [self._status(item)]
            case CameraEnded():
                return self._ended(item)

    def _ended(self, item: CameraEnded) -> list[Event]:
        camera = self._camera(item.camera_id)
        ended: list[Event] = list(camera.aggregator.tick(item, camera.tracker.end("camera_ended")))
        status = CameraStatus(**stamp(item), status=item.state, reason=item.reason, retry_in_s=item.retry_in_s)
        return [*ended, status]

    def _status(self, item: CameraState) -> CameraStatus:
        if item.state != "live":
            return CameraStatus(**stamp(item), status=item.state, reason=item.reason)
        return CameraStatus(
            **stamp(item),
            status="live",
            width_px=item.width_px,
            height_px=item.height_px,
            analyse_hz=item.analyse_hz,
            models=dict(self._parts.models),
            engines=dict(self._parts.engines),
        )

    def _quarantine(self, item: Input, error: Exception) -> list[Event]:
        """The last events of a camera whose data made the analysis raise."""
        self._quarantined.add(item.camera_id)
        self._on_trouble(Trouble(item.camera_id, item.index if isinstance(item, Frame) else None, error))
        why = f"the analysis failed on this camera's data ({type(error).__name__}); the log names the frame"
        last = CameraEnded(**stamp(item), state="failed", reason=why)
        told = _attempt(self._ended, last)  # its tracker or aggregator may be what is broken
        if isinstance(told, Exception):
            return [CameraStatus(**stamp(item), status="failed", reason=why)]
        return told

    def _camera(self, camera_id: str) -> _Camera:
        camera = self._cameras.get(camera_id)
        if camera is None:
            parts = self._parts
            camera = _Camera(parts.new_gaze(), parts.new_tracker(), parts.new_reads(), parts.new_aggregator())
            self._cameras[camera_id] = camera
        return camera


def _split(inputs: Sequence[Input], most_frames: int) -> Iterator[list[Input]]:
    """Cut where a frame would follow another item of its camera, or where a part holds its most frames.

    Within a part the stages see the frames first, so a frame must not overtake what came before it.
    """
    part: list[Input] = []
    frames = 0
    for item in inputs:
        if isinstance(item, Frame):
            if frames == most_frames or any(before.camera_id == item.camera_id for before in part):
                yield part
                part, frames = [], 0
            frames += 1
        part.append(item)
    if part:
        yield part


def _isolate(call: Callable[..., Sequence[Result]], *columns: Sequence[Any]) -> list[Result | Exception]:
    """`call(*columns)`, or row by row if it raises, so that a row's failure is its own."""
    if not columns[0]:
        return []
    whole = _attempt(call, *columns)
    if not isinstance(whole, Exception):
        return list(whole)
    rows = [_attempt(call, *([value] for value in row)) for row in zip(*columns, strict=True)]
    return [row if isinstance(row, Exception) else row[0] for row in rows]


def _attempt(call: Callable[..., Result], *arguments: Any) -> Result | Exception:
    """The result, or the exception it raised. An engine that cannot work is nobody's data and is let through."""
    try:
        return call(*arguments)
    except Exception as error:
        if isinstance(error, EngineError) and not isinstance(error, EngineMismatch):
            raise
        return error


def _gap(frame: Frame) -> list[Event]:
    if frame.skipped_s <= 0:
        return []
    jumped = TimeRange(from_s=frame.media_time_s - frame.skipped_s, to_s=frame.media_time_s)
    return [Gap(**stamp(frame), reason="stream_jumped", ranges=(jumped,))]
