"""Metrics of a worker, in the text that Prometheus reads.

| what | where it comes from |
|---|---|
| frames analysed, faces, stages and their batches | `around`: detector and classifier, timed in the analysis thread |
| events and tracks | `accepted` |
| from the capture of a frame to its event in Redis | `acknowledged` |
| states, skipped frames, reconnects, engines, outbox | `Control`, asked at each scrape |
| CPU of decoding, the process itself | /proc, read at each scrape |

With `privacy.mode: aggregate_only` nothing is told that counts single faces.

What has the label `camera` is told only of cameras that are there: one that was removed takes its series with it. All
other labels have few values, which are known beforehand, so the number of series is bounded by the number of cameras.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream import proc
from stream.cameras import THREAD
from stream.clocks import utc_now
from stream.config import PrivacyConfig
from stream.detectors.gaze import Area, Boxes
from stream.events import CameraStatus, TrackEnded, TrackStarted
from stream.pipeline import Parts
from stream.probe import Observer
from stream.records import Faces, Frame, Scores, Tracks
from stream.sinks.base import Accepted, HighWater

if TYPE_CHECKING:
    from stream.web.control import CameraInfo, Control

ANALYSED: Final = "analysed"  # the fate of a frame that was not skipped
STATES: Final[tuple[str, ...]] = get_args(CameraStatus.model_fields["status"].annotation)
REDIS: Final = ("redis", "unix:")  # how the names of sinks begin whose acknowledgement counts as published
FROM_FRAMES: Final = {"track.started", "emotion.changed", "emotion.sample"}  # events that follow a frame at once
PER_FACE: Final = {*FROM_FRAMES, "track.ended"}
STAGE_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128)
LATENCY_S: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(slots=True)
class _Counts:
    """What is counted of one camera. Guarded by the lock of its Metrics."""

    analysed: int = 0
    faces: int = 0  # in the last frame that was analysed
    tracks: set[tuple[str, int]] = field(default_factory=set)  # session and id of those that live
    events: Counter[str] = field(default_factory=Counter)  # type -> how many
    decode_s: dict[int, float] = field(default_factory=dict)  # thread -> CPU seconds; those that ended are kept


class Metrics:
    """Every method may be called from any thread; none but `expose` costs more than some microseconds."""

    def __init__(self, privacy: PrivacyConfig, wall: Callable[[], datetime] = utc_now) -> None:
        self._per_face = privacy.mode == "full"
        self._wall = wall
        self._control: Control | None = None
        self._counting = threading.Lock()  # guards the two below
        self._cameras: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._stored: defaultdict[str, HighWater] = defaultdict(HighWater)  # Redis sink -> what it holds
        registry = self._registry = CollectorRegistry()
        self._detect_s = Histogram(
            "emostream_detect_seconds",
            "Finding the faces in the frames of one step",
            buckets=STAGE_S,
            registry=registry,
        )
        self._classify_s = Histogram(
            "emostream_classify_seconds",
            "Cutting out and classifying the faces of one step",
            buckets=STAGE_S,
            registry=registry,
        )
        self._batch = Histogram(
            "emostream_batch_size",
            "Frames (detect) or faces (classify) of one step",
            ["stage"],
            buckets=BATCH,
            registry=registry,
        )
        self._published_s = Histogram(
            "emostream_capture_to_publish_seconds",
            "From the capture of a live camera's frame until Redis has stored its event",
            buckets=LATENCY_S,
            registry=registry,
        )
        for stage in ("detect", "classify") if self._per_face else ("detect",):
            self._batch.labels(stage)  # there from the first scrape on
        registry.register(_AtScrape(self._collect))
        ProcessCollector(registry=registry)

    def bind(self, control: Control) -> None:
        """Whom to ask at each scrape; until then nothing is told of cameras, engines and outbox."""
        self._control = control

    def around(self, parts: Parts) -> Parts:
        """The same stages, counted and timed."""
        return _Timed(self, parts).around()

    def accepted(self, batch: Sequence[Accepted]) -> None:
        """These events will be delivered, or named by a gap."""
        with self._counting:
            for event in (each.event for each in batch):
                counts = self._cameras[event.camera_id]
                if self._per_face or event.type not in PER_FACE:
                    counts.events[event.type] += 1
                if isinstance(event, TrackStarted):
                    counts.tracks.add((event.session, event.track_id))
                elif isinstance(event, TrackEnded):
                    counts.tracks.discard((event.session, event.track_id))

    def acknowledged(self, sink: str, batch: Sequence[Accepted]) -> None:
        """A sink has stored these. What a Redis is sent again after it was away counts once."""
        if not sink.startswith(REDIS):
            return
        now = self._wall()
        with self._counting:
            stored = self._stored[sink]
            new = stored.above(batch)
            stored.rise(new)
        for event in (each.event for each in new if each.event.type in FROM_FRAMES):
            if event.captured_at is not None and event.clock_source != "media":
                self._published_s.observe(max(0.0, (now - event.captured_at).total_seconds()))

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All of it, and its media type: the text of Prometheus, or of OpenMetrics where `accept` asks for that."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def found(self, frames: int, seconds: float) -> None:
        """The faces of one step were found."""
        self._detect_s.observe(seconds)
        self._batch.labels("detect").observe(frames)

    def classified(self, frames: Sequence[Frame], tracks: Sequence[Tracks], read: int, seconds: float) -> None:
        """The faces of one step were classified, `read` of them anew: its frames are analysed."""
        self._classify_s.observe(seconds)
        if self._per_face:
            self._batch.labels("classify").observe(read)
        with self._counting:
            for frame, rows in zip(frames, tracks, strict=True):
                counts = self._cameras[frame.camera_id]
                counts.analysed += 1
                counts.faces = len(rows)

    def _collect(self) -> Iterator[Metric]:
        """What is told only when somebody asks."""
        build = GaugeMetricFamily("emostream_build_info", "What runs; always 1", labels=["version", "python"])
        build.add_metric([version("emostream"), platform.python_version()], 1)
        yield build
        if self._control is None:
            return
        cameras = self._control.cameras()
        yield from self._of_cameras(cameras)
        engines = GaugeMetricFamily("emostream_engine_info", "The engine in use; always 1", labels=["task", "engine"])
        for task, engine in self._control.engines().items():
            engines.add_metric([task, engine], 1)
        yield engines
        outbox = self._control.outbox()
        yield GaugeMetricFamily(
            "emostream_outbox_events", "Events that some sink does not have yet", value=outbox.waiting
        )
        yield GaugeMetricFamily(
            "emostream_outbox_oldest_age_seconds", "For how long the oldest of them waits", value=outbox.oldest_age_s
        )

    def _of_cameras(self, cameras: Sequence[CameraInfo]) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "emostream_frames", "Frames analysed, or skipped under a named cause", labels=["camera", "fate"]
        )
        decode = CounterMetricFamily(
            "emostream_decode_cpu_seconds", "CPU of the camera's own threads: they read and decode", labels=["camera"]
        )
        faces = GaugeMetricFamily(
            "emostream_faces", "Followed faces in the last frame that was analysed", labels=["camera"]
        )
        tracks = GaugeMetricFamily("emostream_tracks", "Tracks that live", labels=["camera"])
        events = CounterMetricFamily("emostream_events", "Events that were accepted", labels=["camera", "type"])
        reconnects = CounterMetricFamily("emostream_reconnects", "How often the camera came back", labels=["camera"])
        states = GaugeMetricFamily(
            "emostream_camera_state",
            "1 for the state that the camera is in, 0 for the others",
            labels=["camera", "state"],
        )
        spent_s = _decode_s({info.name for info in cameras})
        with self._counting:
            self._forget(cameras)
            for info in cameras:
                counts = self._cameras[info.name]
                counts.decode_s.update(spent_s.get(info.name, {}))
                frames.add_metric([info.name, ANALYSED], counts.analysed)
                for cause, count in info.skipped.items():
                    frames.add_metric([info.name, cause], count)
                decode.add_metric([info.name], sum(counts.decode_s.values()))
                faces.add_metric([info.name], counts.faces if info.state == "live" else 0)
                tracks.add_metric([info.name], len(counts.tracks))
                for kind, count in counts.events.items():
                    events.add_metric([info.name, kind], count)
                reconnects.add_metric([info.name], info.reconnects)
                for state in STATES:
                    states.add_metric([info.name, state], state == info.state)
        yield from (frames, decode, events, reconnects, states)
        if self._per_face:
            yield from (faces, tracks)

    def _forget(self, cameras: Sequence[CameraInfo]) -> None:
        """What was counted of cameras that are not there any more."""
        for name in self._cameras.keys() - {info.name for info in cameras}:
            del self._cameras[name]


def router(metrics: Metrics) -> APIRouter:
    """`/metrics`."""
    routes = APIRouter(tags=["metrics"])

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def scrape(request: Request) -> Response:
        """Counters and histograms for Prometheus."""
        text, media_type = metrics.expose(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})

    return routes


class _AtScrape(Collector):
    """What prometheus-client asks for metrics."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()  # else it would be collected once while nobody is there to ask


class _Timed(Observer):
    """A detector is asked several times in a step: its seconds are told together, when the classifier has its turn."""

    def __init__(self, metrics: Metrics, parts: Parts) -> None:
        super().__init__(parts)
        self._metrics = metrics
        self._frames, self._seconds = 0, 0.0  # of this step so far

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        with self._detecting():
            found = super().follow(frames, expected)
        self._frames += len(frames)
        return found

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        with self._detecting():
            return super().search(frames, areas)

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        if self._frames:
            self._metrics.found(self._frames, self._seconds)
            self._frames, self._seconds = 0, 0.0
        began_s = time.perf_counter()
        scores = super().classify(frames, tracks, due)
        self._metrics.classified(frames, tracks, sum(map(sum, due)), time.perf_counter() - began_s)
        return scores

    @contextmanager
    def _detecting(self) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - began_s


def _decode_s(cameras: Collection[str]) -> dict[str, dict[int, float]]:
    """Camera -> thread -> CPU seconds, of the cameras' threads that run now.

    Not a histogram of seconds per picture: a decoder that works with slices on several threads, or that returns nothing
    for one packet and two pictures for the next, has no seconds of its own for a picture.
    """
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for number, spent_s in proc.thread_cpu_s().items():
        name = names.get(number, "")
        if name.startswith(THREAD):
            camera = name.removeprefix(THREAD)
            if camera not in cameras:  # a thread that took over has its number behind the name
                camera = camera.rpartition("-")[0]
            found[camera][number] = spent_s
    return found
